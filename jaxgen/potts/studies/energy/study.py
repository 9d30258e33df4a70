"""Operations, bytes and joules of a sample of a trained model, here and on thermodynamic hardware.

Operations and bytes are counted by the compiler and by hand. The joules of the engines are measured or follow from a
stated power; those of the hardware are projected from published constants (`studies.energy.thermodynamic`).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jaxgen import gibbs, runs
from jaxgen.potts.evaluate import noise
from jaxgen.potts.oracles.naive_sampler import naive_sample
from jaxgen.potts.studies.energy.joules import Meter, find_meter, measure_joules
from jaxgen.potts.studies.energy.operations import compiled_work, counted_by_hand
from jaxgen.potts.studies.energy.report import Baseline, EnergyStudy, energy_rows, published_baselines
from jaxgen.potts.studies.restored import CHECKPOINTS, Restored
from jaxgen.runs import option, seed_option
from jaxgen.training.keys import seed_key

# engine of gibbs.sample: (name of the baseline, sweeps per timed call)
ENGINES = {
    "lattice": ("lattice engine", 50),
    "thrml": ("THRML engine", 2),
    "sequential": ("compiled sequential scan", 2),
}


@dataclasses.dataclass(frozen=True)
class EnergyConfig:
    """The settings of a measurement of energy."""

    seed: int = seed_option("seed of starts and sweeps", group="measurement")
    sweeps: int = option(50, "sweeps per sample", group="measurement", low=1, high=10**9)
    chains: int = option(256, "chains of the compiled engines", group="measurement", low=16, high=1_000_000)
    seconds: float = option(
        3.0, "seconds over which each engine is measured", group="measurement", low=0.0, high=86_400.0
    )
    core_watts: float = option(
        3.75,
        "watts per busy core where no counter can be read; the default is 360 W / 96 cores of an EPYC 9654",
        group="measurement",
        low=0.01,
        high=1000.0,
    )
    checkpoint: str = option("last", "which checkpoint to restore", group="run", choices=CHECKPOINTS)


class TimedCall(NamedTuple):
    """A call to be measured: its name, the number of site updates it does, and a function of the number of the call."""

    name: str
    updates: int
    call: Callable[[int], object]


def measure(config: EnergyConfig, workdir: Path) -> runs.Report:
    """Count, measure and project, and draw the figure."""
    from jaxgen.potts.figures.energy import energy_figure  # here, so that the library does without plots

    run = Restored.of(workdir, config.checkpoint)
    lattice, beta = run.task.model.lattice, run.task.config.beta
    params = {name: run.state.params[name] for name in ("bias", "coupling")}  # a label only adds to the biases
    levels = gibbs.n_levels(params)
    work = compiled_work(lattice, params, config.chains, beta)
    countable = not gibbs.is_tied(params) and levels <= 4
    by_hand = counted_by_hand(lattice, params, config.chains) if countable else None
    meter = find_meter(config.core_watts)
    calls = timed_calls(config, run, params)
    measured = [baseline(config, lattice.n_sites, call, meter) for call in tqdm(calls, desc="measuring", unit="engine")]
    published = published_baselines(lattice, levels, config.sweeps)
    study = EnergyStudy(lattice, levels, config.sweeps, measured + published)
    figure = workdir / "figures" / "energy.png"
    energy_figure(figure, study, f"{run.task.title}, {levels} levels, {runs.device_name()}")
    rows = energy_rows(study, work, by_hand, config.chains)
    return runs.Report(f"energy per sample, {run.title}", "Potts energy-based model", rows, [figure])


def timed_calls(config: EnergyConfig, run: Restored, params: dict) -> list[TimedCall]:
    """Return a timed call of every engine and of the naive sampler."""
    lattice, beta, key = run.task.model.lattice, run.task.config.beta, seed_key(config.seed)
    x = noise(key, run.single_model, config.chains)

    def calls(engine: str, sweeps: int) -> Callable[[int], object]:
        def call(number: int) -> object:
            key_call = jax.random.fold_in(key, number)
            return jax.block_until_ready(
                gibbs.sample(key_call, lattice, params, x, sweeps, engine=engine, beta=beta)[0]
            )

        return call

    def naive(number: int) -> object:
        return naive_sample(config.seed + number, lattice, params, np.asarray(x[:1]), 1, beta)

    compiled = [
        TimedCall(f"{name}, {config.chains} chains", config.chains * sweeps * lattice.n_sites, calls(engine, sweeps))
        for engine, (name, sweeps) in ENGINES.items()
    ]
    return [*compiled, TimedCall("naive Python, one chain", lattice.n_sites, naive)]


def baseline(config: EnergyConfig, sites: int, timed: TimedCall, meter: Meter) -> Baseline:
    """Measure one engine; a sample is config.sweeps sweeps of `sites` sites."""
    spent = measure_joules(meter, timed.call, config.seconds)
    joules = spent.joules / (spent.calls * timed.updates)
    rate = spent.calls * timed.updates / spent.seconds
    note = f"{meter.source}; {rate * 1e-9:.3g} updates/ns over {spent.seconds:.2g} s, {joules:.3g} J per update"
    kind = "energy counter" if meter.measured else "time x stated power"
    return Baseline(timed.name, joules * config.sweeps * sites, kind, note)
