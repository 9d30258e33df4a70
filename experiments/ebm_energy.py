"""What a sample of a trained Potts energy-based model costs in operations, bytes and joules, here and on hardware.

  python -m experiments.ebm_energy --workdir=runs/digit3

Operations and bytes are the compiler's account of the sampler, beside a count by hand. Joules are read from NVML (GPU)
or RAPL (CPU) where they can be, else CPU time is multiplied by --core_watts. The projection to thermodynamic hardware
rests on published constants alone; read-out and loading stand apart. energy.json holds the numbers, with their sources;
figures/energy.png shows them beside the claim of a factor of 10,000.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from jaxgen import gibbs, potts, runs
from jaxgen.potts.oracles.naive_sampler import naive_sample
from jaxgen.potts.studies.energy_report import Baseline, EnergyStudy, energy_figure, energy_rows, published_baselines
from jaxgen.potts.studies.joules import find_meter, measure_joules
from jaxgen.potts.studies.operations import compiled_work, counted_by_hand
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class EnergyConfig:
    seed: int = seed_option("seed of starts and sweeps", group="measurement")
    sweeps: int = option(50, "sweeps a sample", group="measurement", low=1, high=10**9)
    chains: int = option(256, "chains of the compiled engines", group="measurement", low=16, high=1_000_000)
    seconds: float = option(3.0, "time over which each engine is measured", group="measurement", low=0.0, high=86_400.0)
    core_watts: float = option(
        3.75,
        "watts a busy core, where no counter can be read; the default is an EPYC 9654's 360 W / 96 cores",
        group="measurement",
        low=0.01,
        high=1000.0,
    )
    checkpoint: str = option("last", "which one to restore", group="run", choices=("last", "best"))


# engine of gibbs.sample: (name of the baseline, sweeps of one timed call)
ENGINES = {
    "lattice": ("lattice engine", 50),
    "thrml": ("THRML engine", 2),
    "sequential": ("compiled sequential scan", 2),
}


def run(config: EnergyConfig, workdir: Path) -> None:
    """Restore, count, measure, project, write."""
    start = time.perf_counter()
    runs.configure()
    task, state = potts.restore_run(workdir, config.checkpoint)
    lattice, beta = task.model.lattice, task.config.beta
    params = {name: state.params[name] for name in ("bias", "coupling")}  # a label only adds to the biases
    levels = gibbs.n_levels(params)
    work = compiled_work(lattice, params, config.chains, beta)
    countable = not gibbs.is_tied(params) and levels <= 4
    by_hand = counted_by_hand(lattice, params, config.chains) if countable else None
    meter = find_meter(config.core_watts)
    measured = [
        baseline(config, lattice.n_sites, name, updates, meter, call)
        for name, updates, call in tqdm(samplers(config, task, params), desc="measuring", unit="engine")
    ]
    published = published_baselines(lattice, levels, config.sweeps)
    study = EnergyStudy(lattice, levels, config.sweeps, measured + published)
    rows = energy_rows(study, work, by_hand, config.chains)
    figure = workdir / "figures" / "energy.png"
    energy_figure(figure, study, f"{task.title}, {levels} levels, {runs.device_name()}")
    runs.write_record(
        workdir / "energy.json",
        title=f"joules, {task.title}, training seed {task.config.seed}",
        family="Potts energy-based model",
        rows=rows,
        config=config,
        wall_time_s=time.perf_counter() - start,
    )
    print(*rows, sep="\n")
    print(f"{workdir / 'energy.json'}\n{figure}")


def samplers(config: EnergyConfig, task: potts.PottsTask, params: dict) -> list[tuple[str, int, Callable]]:
    """(name, site updates of a call, call) of every engine and of the naive sampler."""
    lattice, beta = task.model.lattice, task.config.beta
    model = dataclasses.replace(task.model, n_classes=0)
    x = potts.noise(jax.random.key(config.seed), model, config.chains)

    def calls(engine: str, sweeps: int) -> Callable:
        def call(number: int):
            key = jax.random.fold_in(jax.random.key(config.seed), number)
            return jax.block_until_ready(gibbs.sample(key, lattice, params, x, sweeps, engine=engine, beta=beta)[0])

        return call

    def naive(number: int):
        return naive_sample(config.seed + number, lattice, params, np.asarray(x[:1]), 1, beta)

    found = [
        (f"{name}, {config.chains} chains", config.chains * sweeps * lattice.n_sites, calls(engine, sweeps))
        for engine, (name, sweeps) in ENGINES.items()
    ]
    return [*found, ("naive Python, one chain", lattice.n_sites, naive)]


def baseline(config: EnergyConfig, sites: int, name: str, updates: int, meter, call: Callable) -> Baseline:
    """One engine, measured; a sample is config.sweeps sweeps of `sites` sites."""
    spent = measure_joules(meter, call, config.seconds)
    each = spent.joules / (spent.calls * updates)
    rate = spent.calls * updates / spent.seconds
    note = f"{meter.source}; {rate * 1e-9:.3g} updates/ns over {spent.seconds:.2g} s, {each:.3g} J an update"
    kind = "energy counter" if meter.measured else "time x stated power"
    return Baseline(name, each * config.sweeps * sites, kind, note)


if __name__ == "__main__":
    runs.main(EnergyConfig, run)
