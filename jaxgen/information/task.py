"""What a run starts from: distribution, examples, network, loss."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from jaxgen import data, runs, training
from jaxgen.information.cells import CellDistribution
from jaxgen.information.config import TRAIN_SHARE, InformationConfig, build_distribution, build_model, build_optimiser
from jaxgen.information.mlp import MLP
from jaxgen.information.sampler import sample


@dataclasses.dataclass(frozen=True, eq=False)
class InformationTask:
    """A distribution with a sample of it: the first 80 % of the examples train, the others validate."""

    config: InformationConfig
    distribution: CellDistribution
    model: MLP
    x: Float[Array, "n d"]
    y: Int[Array, "n"]

    @classmethod
    def load(cls, config: InformationConfig) -> "InformationTask":
        """Draw the examples. ValueError naming the field that does not fit."""
        distribution = build_distribution(config)
        x, y = sample(run_key(config, "data"), distribution, config.num_samples)
        return cls(config, distribution, build_model(config), x, y)

    @property
    def n_train(self) -> int:
        return max(1, int(TRAIN_SHARE * len(self.x)))

    @property
    def epoch_steps(self) -> int:
        return math.ceil(self.n_train / self.config.batch_size)

    @property
    def train(self) -> dict[str, Array]:
        """What a training batch is gathered from."""
        return {"x": self.x[: self.n_train], "y": self.y[: self.n_train]}

    @property
    def validation(self) -> dict[str, Array]:
        return {"x": self.x[self.n_train :], "y": self.y[self.n_train :]}

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Parameters and optimiser before the first step."""
        config = self.config
        params = jax.jit(self.model.init)(run_key(config, "init"), self.x[:1])["params"]
        steps = config.epochs * self.epoch_steps
        tx = build_optimiser(config.optimiser, config.learning_rate, config.schedule, steps)
        return training.create(run_key(config, "steps"), params, tx), tx

    def fit_options(self) -> training.FitOptions:
        """Records, evaluations and checkpoints once an epoch."""
        every = self.epoch_steps
        return training.FitOptions(self.config.epochs * every, every, every, every)


def train(task: InformationTask, folder: runs.RunFolder, hooks: Sequence[Callable]) -> dict:
    """Train to the end from where the run folder is; returns the parameters after the last step."""
    state, tx = task.initial_state()
    step = training.parallel_step(training.from_loss(cross_entropy_loss(task.model)), tx)
    order = data.EpochOrder(run_key(task.config, "order"), task.n_train, task.config.batch_size)
    return training.fit(state, step, task.train, order, folder, task.fit_options(), hooks).params


def cross_entropy_loss(model: MLP):
    """loss(params, key, batch) = - mean log q(y | x) over batch {"x", "y"}, with the accuracy as a metric."""

    def loss_fn(params: dict, key: Key[Array, ""], batch: dict[str, Array]):
        log_q = model.apply({"params": params}, batch["x"])
        loss = -jnp.take_along_axis(log_q, batch["y"][:, None], axis=1).mean()
        return loss, {"accuracy": (log_q.argmax(1) == batch["y"]).mean()}

    return loss_fn


def run_key(config: InformationConfig, use: str) -> Key[Array, ""]:
    """The key of one use in a run, so that no two uses share noise."""
    uses = ("data", "init", "steps", "order", "fresh", "cells")
    return jax.random.fold_in(jax.random.key(config.seed), uses.index(use))
