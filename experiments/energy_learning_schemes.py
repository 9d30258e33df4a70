"""Does every scheme solve XOR, read without labels from a cold start? Ten networks each, side by side.

  python -m experiments.energy_learning_schemes --workdir=runs/xor_schemes

The run folder then holds a run folder a scheme and result.json with the number of networks without a wrong answer.
"""

import dataclasses
import time
from pathlib import Path

from experiments import energy_learning as experiment
from jaxgen import energy_learning, runs
from jaxgen.runs import option, seed_option

# Where inference is gradient descent it needs small steps, and the held output small updates of the weights.
PREDICTIVE = {"energy": "predictive_coding", "step_size": 0.1, "nudged_sweeps": 50, "learning_rate": 0.005}


@dataclasses.dataclass(frozen=True)
class SchemesConfig:
    """All schemes in one setting."""

    seed: int = seed_option("seed of parameters", group="run")
    seeds: int = option(10, "networks a scheme", group="run", low=1, high=1000)
    widths: str = option("8", "units of the hidden layers, separated by commas", group="model")
    epochs: int = option(1000, "updates with all four examples", group="optimiser", low=1, high=1_000_000)
    learning_rate: float = option(0.02, "Adam step size of Hopfield energies", group="optimiser", low=0.0, high=10.0)


def run(config: SchemesConfig, workdir: Path) -> None:
    """Train and read every scheme."""
    start = time.perf_counter()
    runs.configure()
    rows = []
    for name, scheme in energy_learning.SCHEMES.items():
        setting = energy_learning.EnergyLearningConfig(
            seed=config.seed, seeds=config.seeds, widths=config.widths, scheme=name, epochs=config.epochs,
            learning_rate=config.learning_rate, schedule="cosine", eval_every=100,
        )  # fmt: skip
        if energy_learning.Hopfield not in scheme.energies:
            setting = dataclasses.replace(setting, **PREDICTIVE)
        task = energy_learning.EnergyTask.load(setting)
        with runs.RunFolder.open(workdir / name, setting) as folder:
            found = {row.quantity: row for row in experiment.train(task, folder)}
        solved = found["networks that solve it label-free, cold start"]
        cost = found["label-free cost, cold start"].value
        rows.append(runs.Row(f"{name}, {setting.energy}", solved.value, "", solved.target, f"cost {cost:.2g}"))
        print(f"{name}: {solved.value}", flush=True)
    runs.write_record(
        workdir / "result.json",
        title=f"XOR label-free, cold start, 2-{config.widths}-2",
        family=experiment.FAMILY,
        rows=rows,
        config=config,
        wall_time_s=time.perf_counter() - start,
    )


if __name__ == "__main__":
    runs.main(SchemesConfig, run)
