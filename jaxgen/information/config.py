"""Every setting of a classifier that is compared with its bound."""

import dataclasses

import optax

from jaxgen.errors import UserError
from jaxgen.information.cells import BASE_NOISE, CellDistribution, ten_labels
from jaxgen.information.mlp import MLP
from jaxgen.runs import option, seed_option

N_LABELS = 10
TRAIN_SHARE = 0.8


@dataclasses.dataclass(frozen=True)
class InformationConfig:
    """The defaults are those of the original notebook; `experiments/flags` holds them and better ones."""

    seed: int = seed_option("seed of data, parameters, order of batches and fresh examples", group="run", default=1234)
    data_only: bool = option(False, "write data.npz and metadata.json, train nothing", group="run")
    save_results: str = option("", "folder for results and data instead of the run folder", group="run")
    compare: str = option("", "only compare these mlp_results.json files, separated by commas", group="run")

    num_samples: int = option(
        50_000, "examples, of which 80 % train and 20 % validate", group="data", low=2, high=10_000_000
    )
    labels: str = option("all", "labels to keep: 'all', or numbers such as '0,1,2'", group="data")
    base_noise: float = option(
        BASE_NOISE, "mass of every cell that is not in the table", group="data", low=0.0, high=1000.0
    )
    uniform_mix: float = option(
        0.0, "share of uniformly distributed points of every label", group="data", low=0.0, high=1.0
    )

    width: int = option(1024, "units per hidden layer", group="model", low=1, high=65_536)
    depth: int = option(3, "hidden layers", group="model", low=1, high=64)

    epochs: int = option(
        15, "passes through the training examples", group="optimiser", low=1, high=1_000_000, grows=True
    )
    batch_size: int = option(256, "examples per step, over all devices", group="optimiser", low=1, high=1_000_000)
    optimiser: str = option(
        "sgd", "sgd with momentum 0.9, or adam with b2 = 0.99", group="optimiser", choices=("sgd", "adam")
    )
    learning_rate: float = option(1e-2, "learning rate", group="optimiser", low=0.0, high=10.0)
    schedule: str = option("constant", "learning-rate schedule", group="optimiser", choices=("constant", "cosine"))

    eval_samples: int = option(
        200_000, "fresh labelled examples of the final test", group="final test", low=1000, high=10_000_000
    )
    points_per_cell: int = option(
        64, "fresh points per cell for the exact average over labels", group="final test", low=2, high=100_000
    )


def label_names(text: str, n_labels: int = N_LABELS) -> list[int]:
    """Return the labels that "0,1,2" names. UserError unless it names two or more of 0..n-1, each once."""
    if text == "all":
        return list(range(n_labels))
    words = text.split(",")
    fine = all(word.strip().isdecimal() and int(word) < n_labels for word in words)
    if not fine or len(words) < 2 or len({int(word) for word in words}) < len(words):
        raise UserError(
            f"labels is {text!r}; allowed: 'all', or two or more numbers 0 to {n_labels - 1}, each once, as '0,1,2'"
        )
    return [int(word) for word in words]


def build_distribution(config: InformationConfig) -> CellDistribution:
    """Return the distribution that a config describes."""
    return ten_labels(config.base_noise).subset(label_names(config.labels)).mix(config.uniform_mix)


def build_model(config: InformationConfig) -> MLP:
    """Return the network that a config describes."""
    return MLP((config.width,) * config.depth, len(label_names(config.labels)))


def build_optimiser(name: str, learning_rate: float, schedule: str, steps: int) -> optax.GradientTransformation:
    """Return SGD with momentum 0.9 or Adam, with a constant learning rate or a cosine decay to 0."""
    rate = learning_rate if schedule == "constant" else optax.cosine_decay_schedule(learning_rate, steps)
    # With the usual b2 of 0.999 Adam ends 0.002 nats higher after 8,000 steps.
    return optax.sgd(rate, momentum=0.9) if name == "sgd" else optax.adam(rate, b2=0.99)
