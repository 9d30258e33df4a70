"""A training run: distribution, examples, network and loss.

loss = - mean log q(y | x)
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from jaxgen import data, runs, training
from jaxgen.information.cells import CellDistribution
from jaxgen.information.config import TRAIN_SHARE, InformationConfig, build_distribution, build_model, build_optimiser
from jaxgen.information.evaluate import evaluation_hook
from jaxgen.information.mlp import MLP
from jaxgen.information.report import report
from jaxgen.information.sampler import sample
from jaxgen.training.step import GradFn, LossFn

USES = ("data", "init", "steps", "order", "fresh", "cells")


@dataclasses.dataclass(frozen=True, eq=False)
class InformationTask:
    """A distribution with a sample of it: the first 80 % of the examples train, the others validate.

    Attributes:
        config: the settings of the run.
        distribution: what the examples are drawn from.
        model: the network.
        x: all examples (n, d), float32.
        y: their labels (n,), int32.
    """

    config: InformationConfig
    distribution: CellDistribution
    model: MLP
    x: Float[Array, "n d"]
    y: Int[Array, "n"]

    @classmethod
    def load(cls, config: InformationConfig) -> "InformationTask":
        """Draw the examples. UserError naming the field that does not fit."""
        distribution = build_distribution(config)
        x, y = sample(training.stream(config.seed, "data", USES), distribution, config.num_samples)
        return cls(config, distribution, build_model(config, distribution.n_labels), x, y)

    @property
    def n_train(self) -> int:
        """Return the number of training examples."""
        return max(1, int(TRAIN_SHARE * len(self.x)))

    @property
    def epoch_steps(self) -> int:
        """Return the steps per epoch."""
        return math.ceil(self.n_train / self.config.batch_size)

    @property
    def validation(self) -> dict[str, Array]:
        """Return the examples that no step trains on."""
        return {"x": self.x[self.n_train :], "y": self.y[self.n_train :]}

    def key(self, use: str) -> Key[Array, ""]:
        """Return the key of one use, one of USES."""
        return training.stream(self.config.seed, use, USES)

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return the state before the first step, and the optimiser."""
        config = self.config
        params = jax.jit(self.model.init)(self.key("init"), self.x[:1])["params"]
        steps = config.epochs * self.epoch_steps
        tx = build_optimiser(config.optimiser, config.learning_rate, config.schedule, steps)
        return training.create(self.key("steps"), params, tx), tx

    def grad_fn(self) -> GradFn:
        """Return the gradient function of the cross-entropy."""
        return training.from_loss(cross_entropy_loss(self.model))

    def arrays(self) -> dict[str, Array]:
        """Return the training examples."""
        return {"x": self.x[: self.n_train], "y": self.y[: self.n_train]}

    def order(self) -> data.EpochOrder:
        """Return which examples each step uses."""
        return data.EpochOrder(self.key("order"), self.n_train, self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Log, evaluate and save once per epoch."""
        every = self.epoch_steps
        return training.FitOptions(self.config.epochs * every, every, every, every)

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return what is evaluated after every epoch."""
        return [evaluation_hook(self)]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Measure the network on fresh examples, and write results, data and figure."""
        return report(self, state.params, folder)


def cross_entropy_loss(model: MLP) -> LossFn:
    """Return `loss(params, key, batch) -> (loss, metrics)` on batches {"x", "y"}, with the accuracy as a metric."""

    def loss_fn(params: dict, key: Key[Array, ""], batch: dict[str, Array]):
        log_q = model.apply({"params": params}, batch["x"])
        loss = -jnp.take_along_axis(log_q, batch["y"][:, None], axis=1).mean()
        return loss, {"accuracy": (log_q.argmax(1) == batch["y"]).mean()}

    return loss_fn
