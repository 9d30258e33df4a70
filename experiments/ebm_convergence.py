"""How fast a trained Potts energy-based model mixes, and when its samples can be read.

  python -m experiments.ebm_convergence --workdir=runs/digit3

Chains start far apart: at noise, all black, all white, and at training images. figures/convergence.png shows energies,
autocorrelation, and the share of chains that a classifier reads as a class of the training set, by sweep.
convergence.json holds the numbers of block Gibbs, of a sequential scan and of parallel tempering, timed in one run;
where two colours suffice, of four colours too, as the same model with idle diagonals; with --columns, of sweeps that
draw every second column at once.
"""

import dataclasses
import functools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from tqdm import tqdm

from jaxgen import data, evaluation, gibbs, potts, runs
from jaxgen.errors import UserError
from jaxgen.potts.config import classes
from jaxgen.potts.figures.convergence import convergence_figure
from jaxgen.potts.likelihood.annealed_importance import class_params
from jaxgen.potts.likelihood.log_likelihood import base_biases
from jaxgen.potts.statistics import principal_component
from jaxgen.potts.studies.colour_scans import BLOCKED_COLUMNS, in_four_colours, scan_rows
from jaxgen.potts.studies.trajectory import (
    Mixing,
    mixing_rows,
    observe_sweeps,
    run_stages,
)
from jaxgen.runs import option, seed_option

_STAGE = 25
_LOOKS = 40  # of each spacing, even and geometric
_CONFIDENT = 0.9


@dataclasses.dataclass(frozen=True)
class ConvergenceConfig:
    seed: int = seed_option("seed of starts and sweeps", group="chains")
    chains: int = option(32, "chains from each of the four starts", group="chains", low=2, high=1_000_000)
    sweeps: int = option(20_000, "sweeps of every chain, in stages of 25", group="chains", low=50, high=10**9)
    slow_chains: int = option(
        8, "of these, those of sequential scan and tempering, which are slow", group="chains", low=2, high=1_000_000
    )
    slow_sweeps: int = option(8000, "their sweeps", group="chains", low=50, high=10**9)
    columns: bool = option(False, "also blocked columns, slow too, for 4 or 8 neighbours", group="chains")
    replicas: int = option(16, "replicas of parallel tempering", group="tempering", low=2, high=1024)
    digit: int | None = option(None, "class, for a model with labels", group="run", low=0, high=9)
    checkpoint: str = option("last", "which one to restore", group="run", choices=("last", "best"))


def run(config: ConvergenceConfig, workdir: Path) -> None:
    """Restore, run the samplers, write the record and the figure."""
    start = time.perf_counter()
    runs.configure()
    task, state = potts.restore_run(workdir, config.checkpoint)
    params, own = chosen_class(config, task, state.params)
    starts = dispersed(config, task, own)
    x = jnp.concatenate(list(starts.values()))
    direction = jnp.asarray(principal_component(own))
    read = reader(config, task)
    shares = {name: [] for name in starts}

    def look(done: int, x) -> None:
        for name, part in zip(starts, np.split(np.asarray(x), len(starts)), strict=True):
            shares[name].append((done, read(part)))

    look(0, x)
    taken = []
    few = jnp.concatenate([part[: config.slow_chains] for part in starts.values()])
    lattice, beta = task.model.lattice, task.config.beta
    stages = functools.partial(gibbs_stages, config, beta, direction)
    samplers = {
        "block Gibbs": (stages(lattice, params, "lattice"), x, config.sweeps, look),
        "sequential scan": (stages(lattice, params, "sequential"), few, config.slow_sweeps),
        "parallel tempering": (
            tempering_stages(config, task, params, base_biases(params, own), direction, taken),
            jnp.stack([few] * config.replicas),
            config.slow_sweeps,
        ),
    }
    if lattice.n_colours == 2:
        samplers["four colours"] = (stages(*in_four_colours(lattice, params), "lattice"), x, config.sweeps)
    if config.columns:
        samplers[BLOCKED_COLUMNS] = (stages(lattice, params, "columns"), few, config.slow_sweeps)
    found = {name: drive(name, *sampler) for name, sampler in samplers.items()}
    scans = {name: mixing for name, mixing in found.items() if name != "parallel tempering"}
    figure = workdir / "figures" / "convergence.png"
    real = read(own)
    convergence_figure(figure, found, shares, real)
    rows = mixing_rows(found, shares, real, np.mean(taken, axis=0)) + scan_rows(scans)
    runs.write_record(
        workdir / "convergence.json",
        title=f"mixing, {task.title}, training seed {task.config.seed}",
        family="Potts energy-based model",
        rows=rows,
        config=config,
        wall_time_s=time.perf_counter() - start,
    )
    print(*rows, sep="\n")
    print(f"{workdir / 'convergence.json'}\n{figure}")


def chosen_class(config: ConvergenceConfig, task: potts.PottsTask, params: dict):
    """Parameters of a model without labels, and its training images."""
    if task.train_label is None:
        if config.digit is not None:
            raise UserError(f"digit is {config.digit}, but the model was trained without labels; allowed: none")
        return {name: params[name] for name in ("bias", "coupling")}, task.train
    if config.digit not in classes(task.config):
        raise UserError(f"digit is {config.digit}; allowed for a model with labels: {classes(task.config)}")
    return class_params(params, config.digit), task.train[np.asarray(task.train_label) == config.digit]


def dispersed(config: ConvergenceConfig, task: potts.PottsTask, own) -> dict:
    """Starts far from each other, `chains` of each."""
    shape = (config.chains, *own.shape[1:])
    model = dataclasses.replace(task.model, n_classes=0)
    return {
        "noise": potts.noise(jax.random.key(config.seed), model, config.chains),
        "black": jnp.zeros(shape, jnp.uint8),
        "white": jnp.full(shape, task.model.levels - 1, jnp.uint8),
        "data": jnp.asarray(own)[jnp.arange(config.chains) % len(own)],
    }


def reader(config: ConvergenceConfig, task: potts.PottsTask):
    """A function of states: the share that the accuracy network reads, confidently, as a class of the training set."""
    kept = classes(task.config) if config.digit is None else [config.digit]
    levels = task.config.levels
    reference = evaluation.load_reference(task.config.dataset, levels, data_dir=task.config.data_dir or None)

    def read(states) -> float:
        images = data.decode(np.asarray(states), levels)
        logits = evaluation.apply_network("accuracy", reference.params["accuracy"], images)[0]
        return float((scipy.special.softmax(logits, axis=1)[:, kept].max(1) >= _CONFIDENT).mean())

    return read


def gibbs_stages(config: ConvergenceConfig, beta: float, direction, lattice: gibbs.Lattice, params: dict, engine: str):
    """A stage of Gibbs sweeps with its observables, and one without."""
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    options = {"engine": engine, "beta": beta}

    def observed(stage: int, x):
        key_stage = jax.random.fold_in(key, stage)
        return observe_sweeps(key_stage, lattice, params, direction, x, _STAGE, **options)

    def plain(stage: int, x):
        return gibbs.sample(jax.random.fold_in(key, stage), lattice, params, x, _STAGE, **options)[0]

    return observed, plain


def tempering_stages(config: ConvergenceConfig, task: potts.PottsTask, params: dict, base, direction, taken: list):
    """A stage of rounds of parallel tempering with the observables at t = 1, whose acceptance `taken` gains; and one
    without."""
    key = jax.random.fold_in(jax.random.key(config.seed), 2)
    lattice = task.model.lattice
    t = jnp.linspace(0, 1, config.replicas)
    observe = jax.jit(jax.vmap(lambda x: observe(lattice, params, direction, x), out_axes=1))

    def rounds(stage: int, x):
        key_stage = jax.random.fold_in(key, stage)
        return potts.parallel_tempering(key_stage, lattice, params, base, x, t, _STAGE, beta=task.config.beta)

    def observed(stage: int, x):
        x, info = rounds(stage, x)
        taken.append(np.asarray(info.acceptance))
        return x, observe(info.cold)

    return observed, lambda stage, x: rounds(stage, x)[0]


def drive(name: str, stages, x, sweeps: int, look=lambda done, x: None) -> Mixing:
    """All stages of one sampler, with a progress bar."""
    count = sweeps // _STAGE
    looks = {*np.geomspace(1, count, _LOOKS).astype(int).tolist(), *np.linspace(1, count, _LOOKS).astype(int).tolist()}
    with tqdm(total=count * _STAGE, desc=name, unit="sweep") as bar:

        def after(done: int, x) -> None:
            if done in looks:
                look(done * _STAGE, x)
            bar.update(_STAGE)

        return run_stages(*stages, x, count, after)


if __name__ == "__main__":
    runs.main(ConvergenceConfig, run)
