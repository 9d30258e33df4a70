"""The settings of a comparison, and of one of the runs it consists of."""

import dataclasses

from jaxgen.errors import UserError
from jaxgen.pmflow.models import FAITHFUL, LABELS, SMALL, build_model
from jaxgen.runs import option

N_TRAIN = 60_000  # the source trains on all of MNIST's training images and tests after every epoch


@dataclasses.dataclass(frozen=True)
class PMFlowConfig:
    """A comparison: which models, how often, how long."""

    models: str = option(
        "small",
        f"'all', 'small' (all without convolutions), or names separated by commas: {', '.join(LABELS)}",
        group="run",
    )
    seed: int = option(0, "first seed; a model is trained with seed, seed + 1, ...", group="run", low=0)
    seeds: int = option(5, "how often each model is trained", group="run", low=1)
    cnn_seeds: int = option(3, "the same for models with convolutions", group="run", low=1)
    faithful: bool = option(
        False, "the source's own forms, step size and lateral coupling of the batch, with its diagnosis", group="model"
    )
    gain: float = option(0.1, "of the normalised lateral coupling; below 2", group="model", low=0.0)
    train_examples: int = option(N_TRAIN, "first training images used", group="data", low=64, high=N_TRAIN)
    epochs: int = option(5, "passes through the training images", group="optimiser", low=1)
    batch_size: int = option(128, "images a step, over all devices", group="optimiser", low=1)
    test_batch: int = option(256, "images at once in a test, which matters to lateral batch alone", group="run", low=1)
    learning_rate: float | None = option(
        None,
        "Adam's step size, falling to 0 along half a cosine (constant if faithful); none: 3e-3 (the source's 1e-3)",
        group="optimiser",
        low=0.0,
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model, trained with the seeds first_seed, ..., first_seed + seeds - 1 at once."""

    model: str = option("mlp", "name", group="run", choices=tuple(LABELS))
    first_seed: int = option(0, "of those trained together", group="run", low=0)
    seeds: int = option(1, "how many are trained together", group="run", low=1)
    faithful: bool = option(False, "the source's own forms", group="model")
    gain: float = option(0.1, "of the lateral coupling", group="model", low=0.0)
    train_examples: int = option(N_TRAIN, "first training images used", group="data", low=1, high=N_TRAIN)
    epochs: int = option(5, "passes through the training images", group="optimiser", low=1)
    batch_size: int = option(128, "images a step", group="optimiser", low=1)
    test_batch: int = option(256, "images at once in a test", group="run", low=1)
    learning_rate: float = option(1e-3, "Adam's step size", group="optimiser", low=0.0)

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        last = self.first_seed + self.seeds - 1
        return f"{self.model}_seed{self.first_seed}" + (f"-{last}" if self.seeds > 1 else "")


def model_names(config: PMFlowConfig) -> list[str]:
    """The models selected. ValueError naming one that there is not, or that comes twice."""
    names = [word.strip() for word in config.models.split(",")]
    if config.models in ("small", "all"):
        whole = SMALL if config.models == "small" else tuple(LABELS)
        names = [name for name in whole if not config.faithful or name in FAITHFUL]
    for name in names:
        build_model(name, config.gain, config.faithful)
    if len(set(names)) < len(names):
        raise UserError(f"models is {config.models!r}; allowed: each name once")
    return names


def model_configs(config: PMFlowConfig) -> list[ModelConfig]:
    """The runs of a comparison: all seeds of a model at once, but those of a CNN one after another.

    A convolution with one kernel a seed is a grouped one, which XLA on a CPU runs at half the speed.
    """
    names = ("faithful", "gain", "train_examples", "epochs", "batch_size", "test_batch", "learning_rate")
    shared = {name: getattr(config, name) for name in names}
    if config.learning_rate is None:
        shared["learning_rate"] = 1e-3 if config.faithful else 3e-3
    runs = []
    for name in model_names(config):
        if "cnn" in name:
            firsts, together = range(config.seed, config.seed + config.cnn_seeds), 1
        else:
            firsts, together = (config.seed,), config.seeds
        runs += [ModelConfig(name, first, together, **shared) for first in firsts]
    return runs
