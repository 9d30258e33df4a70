"""How fast samplers of a trained model mix, and after how many sweeps their samples are recognised as digits.

Chains start far apart: at noise, all black, all white, and at training images. The run of each sampler is saved every
20 seconds, so that a stopped command resumes.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, UInt8
from tqdm import tqdm

from jaxgen import data, evaluation, gibbs, runs
from jaxgen.errors import UserError
from jaxgen.potts.evaluate import noise
from jaxgen.potts.keys import mixing_keys
from jaxgen.potts.likelihood.log_likelihood import base_biases
from jaxgen.potts.likelihood.tempering import parallel_tempering
from jaxgen.potts.statistics import principal_component
from jaxgen.potts.studies.colour_scans import BLOCKED_COLUMNS, in_four_colours, scan_rows
from jaxgen.potts.studies.restored import CHECKPOINTS, Restored
from jaxgen.potts.studies.trajectory import Mixing, mixing_rows, observe, observe_sweeps, run_stages
from jaxgen.runs import option, seed_option

_STAGE = 25
_LOOKS = 40  # of each spacing, even and geometric
_CONFIDENT = 0.9
_SAVE_SECONDS = 20.0
_FIRST, _TEMPERING = "block Gibbs", "parallel tempering"


@dataclasses.dataclass(frozen=True)
class ConvergenceConfig:
    """The settings of a study of mixing."""

    seed: int = seed_option("seed of starts and sweeps", group="chains")
    chains: int = option(32, "chains from each of the four starts", group="chains", low=2, high=1_000_000)
    sweeps: int = option(20_000, "sweeps of every chain, in stages of 25", group="chains", low=50, high=10**9)
    slow_chains: int = option(
        8, "chains per start of sequential scan and tempering, which are slow", group="chains", low=2, high=1_000_000
    )
    slow_sweeps: int = option(8000, "sweeps of these", group="chains", low=50, high=10**9)
    columns: bool = option(False, "also measure blocked columns, which are slow; for 4 or 8 neighbours", group="chains")
    replicas: int = option(16, "replicas of parallel tempering", group="tempering", low=2, high=1024)
    digit: int | None = option(None, "class to sample, for a model with labels", group="run", low=0, high=9)
    checkpoint: str = option("last", "which checkpoint to restore", group="run", choices=CHECKPOINTS)


class Sampler(NamedTuple):
    """A sampler of the study.

    Attributes:
        observed: `(stage, x) -> (x, observables, acceptance of swaps)`, one stage of sweeps.
        plain: `(stage, x) -> x`, the same stage without observables.
        x: states before the first stage.
        sweeps: number of sweeps of the whole run.
    """

    observed: Callable[[int, Array], tuple[Array, Array, Array]]
    plain: Callable[[int, Array], Array]
    x: UInt8[Array, "..."]
    sweeps: int


class Outcome(NamedTuple):
    """The run of a sampler: its observables, pairs (sweeps, share of readable chains) per start, mean acceptance."""

    mixing: Mixing
    shares: dict[str, list[tuple[int, float]]]
    acceptance: np.ndarray


def measure(config: ConvergenceConfig, workdir: Path) -> runs.Report:
    """Run the samplers from dispersed starts, compare them and draw the figure."""
    from jaxgen.potts.figures.convergence import convergence_figure  # here, so that the library does without plots

    run = Restored.of(workdir, config.checkpoint)
    y = run.chosen_class(config.digit)
    params, own = run.models()[y], run.images(y)
    starts = dispersed(config, run, own)
    read = reader(run, y)
    pieces = runs.Pieces(workdir / ".convergence", run.identity(config))
    chosen = samplers(config, run, params, own, starts)
    outcomes = {}
    for number, (name, sampler) in enumerate(chosen.items(), 1):
        title = f"[{number}/{len(chosen)}] {name}"
        outcomes[name] = drive(title, name, sampler, list(starts), read if name == _FIRST else None, pieces)
    mixing = {name: outcome.mixing for name, outcome in outcomes.items()}
    scans = {name: of_scan for name, of_scan in mixing.items() if name != _TEMPERING}
    shares, real = outcomes[_FIRST].shares, read(own)
    figure = workdir / "figures" / "convergence.png"
    convergence_figure(figure, mixing, shares, real)
    rows = mixing_rows(mixing, shares, real, outcomes[_TEMPERING].acceptance) + scan_rows(scans)
    seconds = pieces.seconds
    pieces.clear()
    return runs.Report(f"mixing, {run.title}", "Potts energy-based model", rows, [figure], seconds=seconds)


def dispersed(config: ConvergenceConfig, run: Restored, own: UInt8[Array, "n H W"]) -> dict[str, Array]:
    """Return starting states far from each other, `chains` of each kind."""
    shape = (config.chains, *own.shape[1:])
    return {
        "noise": noise(mixing_keys(config.seed)[0], run.single_model, config.chains),
        "black": jnp.zeros(shape, jnp.uint8),
        "white": jnp.full(shape, run.task.model.levels - 1, jnp.uint8),
        "data": jnp.asarray(own)[jnp.arange(config.chains) % len(own)],
    }


def reader(run: Restored, y: int | None) -> Callable[[Array], float]:
    """Return a function of states: the share that the accuracy network assigns confidently to a trained class.

    UserError for a model of images of one's own, for which there is no such network.
    """
    config = run.task.config
    selected = run.task.classes if y is None else [y]
    if config.images:
        raise UserError("workdir has a model of images of your own, which no network reads; allowed: --dataset")
    reference = evaluation.load_reference(config.dataset, config.levels, data_dir=config.data_dir or None)

    def read(states: Array) -> float:
        images = data.decode(np.asarray(states), config.levels)
        logits = evaluation.apply_network("accuracy", reference.params["accuracy"], images)[0]
        return float((scipy.special.softmax(logits, axis=1)[:, selected].max(1) >= _CONFIDENT).mean())

    return read


def samplers(
    config: ConvergenceConfig, run: Restored, params: dict, own: UInt8[Array, "n H W"], starts: Mapping[str, Array]
) -> dict[str, Sampler]:
    """Return the samplers by name; block Gibbs sampling comes first."""
    lattice, direction = run.task.model.lattice, jnp.asarray(principal_component(own))
    x = jnp.concatenate(list(starts.values()))
    few = jnp.concatenate([part[: config.slow_chains] for part in starts.values()])
    scan = functools.partial(gibbs_sampler, config, run.task.config.beta, direction)
    chosen = {
        _FIRST: scan(lattice, params, "lattice", x, config.sweeps),
        "sequential scan": scan(lattice, params, "sequential", few, config.slow_sweeps),
        _TEMPERING: tempering_sampler(config, run, params, base_biases(params, own), direction, few),
    }
    if lattice.n_colours == 2:
        chosen["four colours"] = scan(*in_four_colours(lattice, params), "lattice", x, config.sweeps)
    if config.columns:
        chosen[BLOCKED_COLUMNS] = scan(lattice, params, "columns", few, config.slow_sweeps)
    return chosen


def gibbs_sampler(
    config: ConvergenceConfig,
    beta: float,
    direction: Array,
    lattice: gibbs.Lattice,
    params: dict,
    engine: str,
    x: UInt8[Array, "n H W"],
    sweeps: int,
) -> Sampler:
    """Return a sampler whose stages are Gibbs sweeps of one engine."""
    key = mixing_keys(config.seed)[1]
    options = {"engine": engine, "beta": beta}

    def observed(stage: int, x: Array):
        key_stage = jax.random.fold_in(key, stage)
        return *observe_sweeps(key_stage, lattice, params, direction, x, _STAGE, **options), np.zeros(0)

    def plain(stage: int, x: Array) -> Array:
        return gibbs.sample(jax.random.fold_in(key, stage), lattice, params, x, _STAGE, **options)[0]

    return Sampler(observed, plain, x, sweeps)


def tempering_sampler(
    config: ConvergenceConfig, run: Restored, params: dict, base: Array, direction: Array, few: UInt8[Array, "n H W"]
) -> Sampler:
    """Return parallel tempering, observed at t = 1."""
    key, lattice = mixing_keys(config.seed)[2], run.task.model.lattice
    t = jnp.linspace(0, 1, config.replicas)
    cold_observables = jax.jit(jax.vmap(lambda x: observe(lattice, params, direction, x), out_axes=1))

    def rounds(stage: int, x: Array):
        key_stage = jax.random.fold_in(key, stage)
        return parallel_tempering(key_stage, lattice, params, base, x, t, _STAGE, beta=run.task.config.beta)

    def observed(stage: int, x: Array):
        x, info = rounds(stage, x)
        return x, cold_observables(info.cold), info.acceptance

    return Sampler(
        observed, lambda stage, x: rounds(stage, x)[0], jnp.stack([few] * config.replicas), config.slow_sweeps
    )


def drive(
    title: str,
    name: str,
    sampler: Sampler,
    starts: list[str],
    read: Callable[[Array], float] | None,
    pieces: runs.Pieces,
) -> Outcome:
    """Run all stages of a sampler with a progress bar, continuing what an earlier start of the command saved.

    With `read`, the share of readable chains of each start is measured at some of the stages.
    """
    count = sampler.sweeps // _STAGE
    looks = {*np.geomspace(1, count, _LOOKS).astype(int).tolist(), *np.linspace(1, count, _LOOKS).astype(int).tolist()}
    saved: dict[str, Any] = pieces.load(name) or {
        "x": np.asarray(sampler.x), "observed": [], "acceptance": [], "sweeps": [], "shares": []
    }  # fmt: skip
    before, acceptance = list(saved["observed"]), list(saved["acceptance"])
    seen, shares = list(saved["sweeps"]), list(saved["shares"])

    def shares_of(x: Array) -> list[float]:
        return [read(part) for part in np.split(np.asarray(x), len(starts))]

    if read is not None and not seen:
        seen, shares = [0], [shares_of(sampler.x)]
    clock = time.perf_counter()
    with tqdm(total=count * _STAGE, initial=len(before) * _STAGE, desc=title, unit="sweep") as bar:

        def observed_stage(stage: int, x: Array):
            x, values, taken = sampler.observed(stage, x)
            acceptance.append(np.asarray(taken))
            return x, values

        def look(done: int, x: Array, observed: list) -> None:
            nonlocal clock
            if read is not None and done in looks:
                seen.append(done * _STAGE)
                shares.append(shares_of(x))
            if time.perf_counter() - clock > _SAVE_SECONDS or done == count:
                state = {"x": x, "observed": observed, "acceptance": acceptance, "sweeps": seen, "shares": shares}
                pieces.save(name, {key: np.asarray(value) for key, value in state.items()})
                clock = time.perf_counter()
            bar.update(_STAGE)

        mixing = run_stages(observed_stage, sampler.plain, jnp.asarray(saved["x"]), count, look, before)
    by_start = [[(int(s), float(share[i])) for s, share in zip(seen, shares, strict=True)] for i in range(len(starts))]
    return Outcome(mixing, dict(zip(starts, by_start, strict=True)), np.mean(acceptance, axis=0))
