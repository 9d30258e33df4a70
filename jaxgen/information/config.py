"""Every setting of a classifier that is compared with its bound."""

import dataclasses
from collections.abc import Sequence

import optax

from jaxgen.errors import UserError
from jaxgen.information.cells import BASE_NOISE, CellDistribution, ten_labels
from jaxgen.information.mlp import MLP
from jaxgen.information.table import load_table
from jaxgen.runs import option, seed_option

TRAIN_SHARE = 0.8
_SHOWN = 12  # labels that an error names


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
    table: str = option(
        "", "CSV file with a distribution of your own, label,i1,...,id,mass; none: the built-in table", group="data"
    )
    labels: str = option("all", "labels to keep: 'all', or numbers such as '0,1,2'", group="data")
    base_noise: float = option(
        BASE_NOISE, "mass of every cell that the built-in table does not name", group="data", low=0.0, high=1000.0
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


def label_names(text: str, known: Sequence[int]) -> list[int]:
    """Return the labels that "0,1,2" names. UserError unless it names two or more of `known`, each once."""
    if text == "all":
        return list(known)
    words = text.split(",")
    fine = all(word.strip().isdecimal() and int(word) in known for word in words)
    if not fine or len(words) < 2 or len({int(word) for word in words}) < len(words):
        names = ", ".join(map(str, known[:_SHOWN])) + ", ..." * (len(known) > _SHOWN)
        raise UserError(f"labels is {text!r}; allowed: 'all', or two or more of {names}, each once, with commas")
    return [int(word) for word in words]


def build_distribution(config: InformationConfig) -> CellDistribution:
    """Return the distribution that a config describes. UserError for a table that does not fit, or with base_noise."""
    if config.table and config.base_noise != BASE_NOISE:
        raise UserError(f"base_noise is {config.base_noise} with a table; allowed: {BASE_NOISE}, which a table ignores")
    whole = load_table(config.table) if config.table else ten_labels(config.base_noise)
    return whole.subset(label_names(config.labels, whole.labels)).mix(config.uniform_mix)


def build_model(config: InformationConfig, n_labels: int) -> MLP:
    """Return the network that a config describes, for so many labels."""
    return MLP((config.width,) * config.depth, n_labels)


def build_optimiser(name: str, learning_rate: float, schedule: str, steps: int) -> optax.GradientTransformation:
    """Return SGD with momentum 0.9 or Adam, with a constant learning rate or a cosine decay to 0."""
    rate = learning_rate if schedule == "constant" else optax.cosine_decay_schedule(learning_rate, steps)
    # With the usual b2 of 0.999 Adam ends 0.002 nats higher after 8,000 steps.
    return optax.sgd(rate, momentum=0.9) if name == "sgd" else optax.adam(rate, b2=0.99)
