"""What a run starts from: examples, model, estimator, networks.

Several networks train side by side: parameters have a leading axis of networks, states in the carry (batch, networks,
units), because a carry is split over devices by its first axis. A persistent state belongs to an example, and a carry
to a place in the batch; the two are one only where every batch holds all examples in one order, so persistence is
refused for mini-batches.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxgen import data, training
from jaxgen.energy_learning.config import EnergyLearningConfig, build_model, build_optimiser, build_settings
from jaxgen.energy_learning.estimators import Model
from jaxgen.energy_learning.network import Params, States
from jaxgen.energy_learning.schemes import SCHEMES, Settings, build_scheme
from jaxgen.errors import UserError
from jaxgen.training.fit import Order
from jaxgen.training.step import GradFn

XOR_X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
XOR_Y = np.array([0, 1, 1, 0])


class Examples:
    """Inputs (n, inputs) in [0, 1] and one-hot targets (n, K), float32, of one part of a dataset."""

    def __init__(self, x: Float[np.ndarray, "n inputs"], labels: Int[np.ndarray, "n"], n_labels: int):
        self.x = jnp.asarray(x, jnp.float32)
        self.y = jnp.asarray(np.eye(n_labels, dtype=np.float32)[labels])


class WholeOrder:
    """Every batch is all n examples, in their order."""

    def __init__(self, n: int):
        self._all = np.arange(n, dtype=np.int32)

    def indices(self, step: int) -> Int[np.ndarray, "n"]:
        return self._all


@dataclasses.dataclass(frozen=True, eq=False)
class EnergyTask:
    """A model with its data. On XOR all three parts are the four examples."""

    config: EnergyLearningConfig
    model: Model
    settings: Settings
    train: Examples
    validation: Examples
    test: Examples

    @classmethod
    def load(cls, config: EnergyLearningConfig) -> "EnergyTask":
        """Read the data and build the model. ValueError naming the field that does not fit."""
        if config.dataset == "xor":
            parts = [Examples(XOR_X, XOR_Y, 2)] * 3
        else:
            dataset = data.load(config.dataset, data_dir=config.data_dir or None)
            split = [data.split(dataset, part) for part in ("train", "validation", "test")]
            parts = [Examples(images.reshape(len(images), -1) / np.float32(255), y, 10) for images, y in split]
        model = build_model(config, parts[0].y.shape[1])
        if config.persistent and config.batch_size != len(parts[0].x):
            raise UserError(
                f"persistent is true with batch_size {config.batch_size}; allowed: a batch of all "
                f"{len(parts[0].x)} examples, whose states keep their place"
            )
        if config.persistent and not SCHEMES[config.scheme].feedback:
            raise UserError(f"persistent is true; allowed with scheme {config.scheme}: false, the free phase is a pass")
        return cls(config, model, build_settings(config), *parts)

    @property
    def epoch_steps(self) -> int:
        return math.ceil(len(self.train.x) / self.config.batch_size)

    def train_arrays(self) -> dict[str, Array]:
        """What a training batch is gathered from."""
        return {"x": self.train.x, "y": self.train.y}

    def grad_fn(self) -> GradFn:
        """The scheme's estimator for all networks at once."""
        return together(build_scheme(self.config.scheme, self.model, self.settings))

    def initial_params(self) -> Params:
        """Of all networks, stacked."""
        keys = jax.random.split(run_key(self.config, "init"), self.config.seeds)
        return jax.vmap(self.model.network.init, in_axes=(0, None))(keys, self.train.x[:1])

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Parameters, optimiser and, if they persist, the states of every example before the first step."""
        params = self.initial_params()
        tx = build_optimiser(self.config, self.config.epochs * self.epoch_steps)
        carry = cold_start(self.model, params, self.train.x) if self.config.persistent else None
        return training.create(run_key(self.config, "steps"), params, tx, carry), tx

    def order(self) -> Order:
        """All examples in a fixed order if the batch holds them all, else a new permutation every epoch."""
        if self.config.batch_size == len(self.train.x):
            return WholeOrder(len(self.train.x))
        return data.EpochOrder(run_key(self.config, "order"), len(self.train.x), self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Records and evaluations every `eval_every` epochs, checkpoints ten times a run."""
        every = self.epoch_steps * self.config.eval_every
        steps = self.config.epochs * self.epoch_steps
        return training.FitOptions(steps, every, every, max(every, steps // 10))


def together(grad_fn: GradFn) -> GradFn:
    """The estimator of stacked networks on one batch; metrics are means over the networks."""

    def grad_fns(params: PyTree, carry: PyTree, key: Array, batch: dict[str, Array]):
        apply = jax.vmap(lambda params, carry: grad_fn(params, carry, key, batch), in_axes=(0, 1), out_axes=(0, 1, 0))
        grads, carry, metrics = apply(params, carry)
        return grads, carry, {name: value.mean() for name, value in metrics.items()}

    return grad_fns


def cold_start(model: Model, params: Params, x: Float[Array, "n inputs"]) -> States:
    """The forward pass of stacked networks, (n, networks, units)."""
    return jax.vmap(lambda params: model.start(params, model.drive(params, x)), out_axes=1)(params)


def run_key(config: EnergyLearningConfig, use: str) -> Key[Array, ""]:
    """The key of one use in a run, so that no two uses share noise."""
    uses = ("init", "steps", "order")
    return jax.random.fold_in(jax.random.key(config.seed), uses.index(use))
