"""A trained model restored from its run folder, from which every study of it starts."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, UInt8

from jaxgen.errors import UserError
from jaxgen.potts.likelihood.annealed_importance import class_params
from jaxgen.potts.model import PottsEBM
from jaxgen.potts.task import PottsTask, restore_run
from jaxgen.training import TrainState

CHECKPOINTS = ("last", "best")


class Restored(NamedTuple):
    """A trained model.

    Attributes:
        task: the task of the run.
        state: the state of its checkpoint.
    """

    task: PottsTask
    state: TrainState

    @classmethod
    def of(cls, workdir: str | Path, checkpoint: str) -> "Restored":
        """Restore the "last" or "best" checkpoint of a run folder; errors as `restore_run`."""
        return cls(*restore_run(workdir, checkpoint))

    @property
    def title(self) -> str:
        """Return the title of the task with the seed of its training, for records."""
        return f"{self.task.title}, training seed {self.task.config.seed}"

    @property
    def single_model(self) -> PottsEBM:
        """Return the model without labels."""
        return dataclasses.replace(self.task.model, n_classes=0)

    def identity(self, config: Any) -> dict[str, Any]:
        """Return what the results of a study depend on: its config, the training config and the training step."""
        configs = {"study": dataclasses.asdict(config), "training": dataclasses.asdict(self.task.config)}
        return configs | {"step": int(self.state.step)}

    def models(self) -> dict[int | None, dict]:
        """Return {"bias", "coupling"} by class, under the key None for a model without labels."""
        params = self.state.params
        if self.task.train_label is None:
            return {None: {name: params[name] for name in ("bias", "coupling")}}
        return {y: class_params(params, y) for y in self.task.classes}

    def images(self, y: int | None) -> UInt8[Array, "n H W"]:
        """Return the training images of a class, or all of them for None."""
        return self.task.train if y is None else self.task.train[np.asarray(self.task.train_label) == y]

    def chosen_class(self, label: int | None) -> int | None:
        """Return `label`, a class of a model with labels, or None for a model without. UserError if they do not fit."""
        if self.task.train_label is None:
            if label is not None:
                raise UserError(f"label is {label}, but the model was trained without labels; allowed: none")
        elif label not in self.task.classes:
            raise UserError(f"label is {label}; allowed for a model with labels: {self.task.classes}")
        return label
