"""Compare all schemes on one network, epochs and optimiser: on XOR without labels, or on MNIST beside backprop.

  python -m experiments.energy_learning_schemes --workdir=runs/xor_schemes
  python -m experiments.energy_learning_schemes --dataset=mnist --seeds=3 --epochs=4 --workdir=runs/mnist_schemes

The run folder then holds one run folder per scheme and result.json: on XOR the number of networks without a wrong
answer, read from a cold start; on MNIST the test accuracy with a 95 % interval by t over the networks, and the time.
"""

import dataclasses

from jaxgen import energy_learning, runs
from jaxgen.energy_learning import schemes_study
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class SchemesConfig:
    """All schemes in one setting."""

    seed: int = seed_option("seed of parameters and order of batches")
    seeds: int = option(10, "networks per scheme", group="run", low=1, high=1000)
    dataset: str = option("xor", "what to learn", group="data", choices=("xor", "mnist", "fashion_mnist"))
    schemes: str = option("all", "'all', or names of schemes separated by commas", group="run")
    widths: str = option(
        "", "units of the hidden layers, separated by commas; empty: 8 on XOR, 256,256 on images", group="model"
    )
    epochs: int = option(1000, "passes through the training examples", group="optimiser", low=1, high=1_000_000)
    learning_rate: float | None = option(
        None, "Adam learning rate; none: 0.02 on XOR (0.005 for predictive coding), 0.001 on images",
        group="optimiser", low=0.0, high=10.0,
    )  # fmt: skip


def run(config: SchemesConfig, workdir) -> None:
    """Train and read every scheme."""
    runs.execute(config, workdir, prepare)


def prepare(config: SchemesConfig) -> runs.Job:
    """Build the setting of every scheme."""
    shared = {"seed": config.seed, "seeds": config.seeds, "epochs": config.epochs, "dataset": config.dataset}
    base = energy_learning.EnergyLearningConfig(**shared)
    return schemes_study.prepare(base, config.schemes, config.widths, config.learning_rate)


if __name__ == "__main__":
    runs.main(SchemesConfig, run)
