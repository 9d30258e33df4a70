"""Predictive coding in deep networks, plain and with the skip connections of muPC, beside backprop.

  python -m experiments.energy_learning_depth --workdir=runs/depth
  python -m experiments.energy_learning_depth --depths=5,40 --epochs=1 --workdir=runs/depth40

The run folder then holds one run folder per network, figures/depth.png (accuracy, error reach and energy per layer) and
result.json.
"""

import dataclasses

from jaxgen import energy_learning, runs
from jaxgen.energy_learning import depth_study
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class DepthConfig:
    """Networks of several depths in one setting."""

    seed: int = seed_option("seed of parameters and order of batches")
    dataset: str = option("mnist", "what to learn", group="data", choices=("mnist", "fashion_mnist"))
    depths: str = option("5,10,20", "numbers of layers, each 2 or more, separated by commas", group="model")
    width: int = option(64, "units of each hidden layer", group="model", low=1, high=65_536)
    step_size: float = option(0.9, "step size of inference", group="relaxation", low=0.0, high=1.0)
    epochs: int = option(2, "passes through the training examples", group="optimiser", low=1, high=1_000_000)


def run(config: DepthConfig, workdir) -> None:
    """Train and read every network."""
    runs.execute(config, workdir, prepare)


def prepare(config: DepthConfig) -> runs.Job:
    """Build the settings of all networks."""
    depths = runs.integers("depths", config.depths)
    shared = {"seed": config.seed, "epochs": config.epochs, "dataset": config.dataset, "step_size": config.step_size}
    base = energy_learning.EnergyLearningConfig(**shared)
    return depth_study.prepare(base, depths, config.width)


if __name__ == "__main__":
    runs.main(DepthConfig, run)
