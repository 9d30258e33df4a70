"""The settings of a comparison, and of each of the runs that it consists of."""

import dataclasses

from jaxgen.errors import UserError
from jaxgen.pmflow.models import FAITHFUL, MODELS, SMALL, build_model, find_model
from jaxgen.runs import option, seed_option

N_TRAIN = 60_000  # as in the original notebook: all training images of MNIST, a test after every epoch
N_TEST = 10_000
MOST_SEEDS = 100  # networks of one model that fit into memory together
MOST_EPOCHS = 10_000


@dataclasses.dataclass(frozen=True)
class PMFlowConfig:
    """A comparison: which models, how many seeds, how many epochs."""

    models: str = option(
        "small",
        f"'all', 'small' (all without convolutions), or names separated by commas: {', '.join(MODELS)}",
        group="run",
    )
    seed: int = seed_option("first seed; a model is trained with seed, seed + 1, ...", group="run")
    seeds: int = option(5, "number of seeds per model", group="run", low=1, high=MOST_SEEDS)
    cnn_seeds: int = option(3, "number of seeds per model with convolutions", group="run", low=1, high=MOST_SEEDS)
    faithful: bool = option(
        False,
        "the forms, the step size and the lateral coupling of the batch of the original notebook, with a diagnosis",
        group="model",
    )
    gain: float = option(0.1, "gain of the normalised lateral coupling; below 2", group="model", low=0.0, high=2.0)
    train_examples: int = option(N_TRAIN, "number of training images", group="data", low=64, high=N_TRAIN)
    epochs: int = option(
        5, "passes through the training images", group="optimiser", low=1, high=MOST_EPOCHS, grows=True
    )
    batch_size: int = option(128, "images per step, over all devices", group="optimiser", low=1, high=N_TRAIN)
    test_batch: int = option(
        256, "images per test batch, which only lateral batch depends on", group="run", low=1, high=N_TEST
    )
    learning_rate: float | None = option(
        None,
        "Adam step size with a cosine decay to 0 (constant if faithful); none: 3e-3 (original notebook: 1e-3)",
        group="optimiser",
        low=0.0,
        high=10.0,
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model, trained with the seeds first_seed, ..., first_seed + seeds - 1 at once."""

    model: str = option("mlp", "name of the model", group="run", choices=tuple(MODELS))
    first_seed: int = seed_option("first of the seeds trained together", group="run")
    seeds: int = option(1, "number of seeds trained together", group="run", low=1, high=MOST_SEEDS)
    faithful: bool = option(False, "the forms of the original notebook", group="model")
    gain: float = option(0.1, "gain of the lateral coupling", group="model", low=0.0, high=2.0)
    train_examples: int = option(N_TRAIN, "number of training images", group="data", low=1, high=N_TRAIN)
    epochs: int = option(
        5, "passes through the training images", group="optimiser", low=1, high=MOST_EPOCHS, grows=True
    )
    batch_size: int = option(128, "images per step", group="optimiser", low=1, high=N_TRAIN)
    test_batch: int = option(256, "images per test batch", group="run", low=1, high=N_TEST)
    learning_rate: float = option(1e-3, "Adam step size", group="optimiser", low=0.0, high=10.0)

    @property
    def folder(self) -> str:
        """Return the name of the model's run folder."""
        last = self.first_seed + self.seeds - 1
        return f"{self.model}_seed{self.first_seed}" + (f"-{last}" if self.seeds > 1 else "")


def model_names(config: PMFlowConfig) -> list[str]:
    """Return the names of the selected models. UserError for a name that is unknown or repeated."""
    names = [word.strip() for word in config.models.split(",")]
    if config.models in ("small", "all"):
        names = [
            name for name in (SMALL if config.models == "small" else MODELS) if not config.faithful or name in FAITHFUL
        ]
    for name in names:
        build_model(name, config.gain, config.faithful)
    if len(set(names)) < len(names):
        raise UserError(f"models is {config.models!r}; allowed: each name once")
    return names


def model_configs(config: PMFlowConfig) -> list[ModelConfig]:
    """Return the runs of a comparison: all seeds of a model at once, those of a CNN one after another.

    Convolutions with one kernel per seed become a grouped convolution, which runs at half the speed on a CPU.
    """
    names = ("faithful", "gain", "train_examples", "epochs", "batch_size", "test_batch", "learning_rate")
    shared = {name: getattr(config, name) for name in names}
    if config.learning_rate is None:
        shared["learning_rate"] = 1e-3 if config.faithful else 3e-3
    configs = []
    for name in model_names(config):
        if find_model(name).kind == "CNN":
            firsts, together = range(config.seed, config.seed + config.cnn_seeds), 1
        else:
            firsts, together = (config.seed,), config.seeds
        configs += [ModelConfig(name, first, together, **shared) for first in firsts]
    return configs
