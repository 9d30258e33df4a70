"""Simulated annealing of planted spin glasses: how long to the ground state, beside THRML in the same run.

    time to solution = (seconds per annealing / chains) max(1, ln 0.01 / ln(1 - p))

p is the share of the chains of an annealing that end in a ground state; the time is that after which one has been
found with a probability of 99 % (Ronnow et al. 2014). Both samplers follow the same schedule and are timed after
compilation, in turn, instance by instance.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from tqdm import tqdm

from jaxgen import gibbs, runs
from jaxgen.potts.studies.ground_states.planted import Planted, chimera, plant_loops
from jaxgen.runs import option, seed_option
from jaxgen.training.keys import seed_key

_RUNS = 3  # annealings of an instance; the median time counts, after one that is not timed
_LENGTHS = (0.1, 0.3, 1, 3)  # of the annealings whose success is compared, in --sweeps
_STAGES = 50  # inverse temperatures of an annealing


@dataclasses.dataclass(frozen=True)
class GroundStateConfig:
    """The spin glasses and their annealing."""

    seed: int = seed_option("seed of the instances and of the annealings", group="study")
    side: int = option(8, "cells per side of the Chimera graph, 8 spins each", group="instances", low=2, high=64)
    loops: float = option(0.25, "frustrated loops per spin", group="instances", low=0.01, high=10.0)
    instances: int = option(5, "number of instances", group="instances", low=1, high=1000)
    chains: int = option(256, "chains annealed side by side", group="annealing", low=1, high=1_000_000)
    sweeps: int = option(
        1000, "sweeps per annealing, rounded down to a multiple of 50", group="annealing", low=50, high=10**8
    )
    first_beta: float = option(0.1, "inverse temperature of the first sweep", group="annealing", low=0.0, high=100.0)
    last_beta: float = option(3.0, "inverse temperature of the last sweep", group="annealing", low=0.0, high=100.0)
    thrml: bool = option(True, "whether THRML anneals too", group="annealing")


class Annealed(NamedTuple):
    """Final energies of an instance's chains over all timed annealings, and the seconds of each annealing."""

    energies: Float[np.ndarray, "chains"]
    seconds: float


def prepare(config: GroundStateConfig) -> runs.Job:
    """Plant the instances; return the job that anneals them."""
    rng = np.random.default_rng(config.seed)
    graph = chimera(config.side)
    n_loops = max(1, round(config.loops * graph.n_sites))
    instances = [plant_loops(rng, graph, n_loops) for _ in range(config.instances)]

    def job(folder: runs.RunFolder) -> runs.Report:
        from jaxgen.potts.figures.ground_states import ground_state_figure  # so that the library does without plots

        samplers = {"jaxgen": by_jaxgen, "THRML": by_thrml} if config.thrml else {"jaxgen": by_jaxgen}
        rows = [runs.Row("spins", graph.n_sites), runs.Row("couplings", graph.n_edges)]
        annealers = {name: sampler(graph, config.sweeps) for name, sampler in samplers.items()}
        found: dict[str, list[Annealed]] = {name: [] for name in samplers}
        for planted in tqdm(instances, desc="annealing", unit="instance"):
            for name, run in annealers.items():
                found[name].append(annealed(run, config, planted))
        for name in samplers:
            rows += _rows(name, found[name], instances, config.chains)
        if config.thrml:
            ratios = [b.seconds / a.seconds for a, b in zip(found["jaxgen"], found["THRML"], strict=True)]
            rows.append(runs.Row("THRML: time over jaxgen's", float(np.median(ratios)), note=_range(ratios)))
        lengths = np.unique([_STAGES * max(1, int(config.sweeps * part) // _STAGES) for part in _LENGTHS])
        success = success_by_length(config, instances, lengths)
        for length, shares in zip(lengths, success, strict=True):
            rows.append(runs.Row(f"chains in a ground state after {length} sweeps", shares.mean(), note=_range(shares)))
        figure = folder.path / "figures" / "ground_state.png"
        sweeps, energies = trajectory(config, instances[0])
        ground_state_figure(figure, (sweeps, energies - instances[0].energy), (lengths, success), graph.n_sites)
        return runs.Report(
            f"ground states of spin glasses, {config.instances} planted instances on a Chimera graph",
            "Potts energy-based model",
            rows,
            [figure],
        )

    return job


# Annealing. A run is a function (key, params, x, betas) -> final levels (chains, sites).

Run = Callable[[PRNGKeyArray, dict, Array, Array], UInt8[Array, "chains n"]]


def schedule(config: GroundStateConfig) -> Float[np.ndarray, "stages"]:
    """Return the inverse temperatures, in equal steps."""
    return np.linspace(config.first_beta, config.last_beta, _STAGES).astype(np.float32)


def by_jaxgen(graph: gibbs.Graph, sweeps: int) -> Run:
    """Return annealing by `gibbs.anneal`."""
    return lambda key, params, x, betas: gibbs.anneal(key, graph, params, x, betas, sweeps // len(betas))


def by_thrml(graph: gibbs.Graph, sweeps: int) -> Run:
    """Return annealing by THRML alone: one program per inverse temperature, with scaled weights, a block per colour."""
    from thrml import SamplingSchedule, sample_states  # the only user of THRML's loop here

    def chain(key, params, start, betas):
        def stage(states, numbered):
            number, beta = numbered
            program, _ = gibbs.to_thrml(graph, jax.tree.map(lambda leaf: beta * leaf, params))
            blocks = program.gibbs_spec.free_blocks
            plan = SamplingSchedule(n_warmup=sweeps // len(betas), n_samples=1, steps_per_sample=0)
            drawn = sample_states(jax.random.fold_in(key, number), program, plan, states, [], blocks)
            return [state[0] for state in drawn], None

        blocks = [np.flatnonzero(graph.colouring == colour) for colour in range(graph.n_colours)]
        states = [start[block].astype(bool) for block in blocks]
        states, _ = jax.lax.scan(stage, states, (jnp.arange(len(betas)), betas))
        return jnp.concatenate(states)[np.argsort(np.concatenate(blocks))].astype(jnp.uint8)

    @jax.jit
    def run(key, params, x, betas):
        return jax.vmap(chain, (0, None, 0, None))(jax.random.split(key, len(x)), params, x, betas)

    return run


def annealed(run: Run, config: GroundStateConfig, planted: Planted) -> Annealed:
    """Anneal one instance several times, from uniform states."""
    shape, energies, seconds = (config.chains, planted.graph.n_sites), [], []
    params = jax.tree.map(jnp.asarray, planted.params)
    for repeat in range(_RUNS + 1):
        key_start, key_sweeps = jax.random.split(jax.random.fold_in(seed_key(config.seed), repeat))
        x = jax.random.randint(key_start, shape, 0, 2, jnp.uint8)
        begin = time.perf_counter()
        x = jax.block_until_ready(run(key_sweeps, params, x, jnp.asarray(schedule(config))))
        if repeat:  # the first call compiles
            seconds.append(time.perf_counter() - begin)
            energies.append(np.asarray(gibbs.graph_energy(planted.graph, params, x)))
    return Annealed(np.concatenate(energies), float(np.median(seconds)))


def success_by_length(
    config: GroundStateConfig, instances: list[Planted], lengths: np.ndarray
) -> Float[np.ndarray, "lengths instances"]:
    """Return the share of the chains that end in a ground state, for annealings of several lengths."""
    shares = np.zeros((len(lengths), len(instances)))
    for row, length in enumerate(tqdm(lengths, desc="lengths", unit="length")):
        run = by_jaxgen(instances[0].graph, int(length))
        for column, planted in enumerate(instances):
            shares[row, column] = _share(annealed(run, config, planted), planted)
    return shares


def trajectory(config: GroundStateConfig, planted: Planted) -> tuple[np.ndarray, Float[np.ndarray, "stages chains"]]:
    """Return the energies of all chains during one annealing, and after how many sweeps they were taken."""
    params, sweeps = jax.tree.map(jnp.asarray, planted.params), config.sweeps // _STAGES
    key_start, key_sweeps = jax.random.split(seed_key(config.seed))
    x = jax.random.randint(key_start, (config.chains, planted.graph.n_sites), 0, 2, jnp.uint8)
    energies = [gibbs.graph_energy(planted.graph, params, x)]
    for stage, beta in enumerate(schedule(config)):
        key_stage = jax.random.fold_in(key_sweeps, stage)
        x = gibbs.anneal(key_stage, planted.graph, params, x, beta[None], sweeps)
        energies.append(gibbs.graph_energy(planted.graph, params, x))
    return sweeps * np.arange(len(energies)), np.stack(energies)


def time_to_solution(seconds: float, chains: int, share: float) -> float:
    """Return the seconds until a ground state has been found with a probability of 99 %; inf if none was found."""
    if share == 0:
        return float("inf")
    return seconds / chains * (max(1.0, np.log(0.01) / np.log1p(-share)) if share < 1 else 1.0)


def _share(result: Annealed, planted: Planted) -> float:
    return float((result.energies == planted.energy).mean())


def _rows(name: str, found: list[Annealed], instances: list[Planted], chains: int) -> list[runs.Row]:
    shares = [_share(result, planted) for result, planted in zip(found, instances, strict=True)]
    lowest = [result.energies.min() - planted.energy for result, planted in zip(found, instances, strict=True)]
    times = [time_to_solution(result.seconds, chains, share) for result, share in zip(found, shares, strict=True)]
    seconds = [result.seconds for result in found]
    return [
        runs.Row(f"{name}: lowest energy found above the planted one", float(max(lowest)), note="the worst instance"),
        runs.Row(f"{name}: chains in a ground state", float(np.mean(shares)), note=_range(shares)),
        runs.Row(f"{name}: time of an annealing of all chains", float(np.median(seconds)), "s", note=_range(seconds)),
        runs.Row(f"{name}: time to solution", float(np.median(times)), "s", note=_range(times)),
    ]


def _range(values) -> str:
    return f"instances: {min(values):.3g} to {max(values):.3g}"
