"""What a run starts from: examples, model, estimator, networks.

Several networks train side by side as one ensemble on the same batches (`jaxgen.training.ensemble`): parameters have a
leading axis of networks, states in the carry are (examples, networks, units).

Persistent states belong to examples. Where every batch holds all examples in one order, state i of the carry is that of
example i of the batch. With mini-batches the carry holds the states of all training examples, and a step reads and
writes those of its batch; that needs one device, because a carry is split over devices and a batch is shuffled.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, Key, PyTree

from jaxgen import data, runs, training
from jaxgen.energy_learning.config import (
    EnergyLearningConfig,
    build_model,
    build_optimiser,
    build_settings,
    check_sizes,
    depth_of,
)
from jaxgen.energy_learning.energies.model import Model
from jaxgen.energy_learning.energies.network import Params, States
from jaxgen.energy_learning.evaluate import evaluation_hook
from jaxgen.energy_learning.report import report
from jaxgen.energy_learning.schemes import SCHEMES, Settings, build_scheme
from jaxgen.errors import UserError
from jaxgen.training.fit import Order
from jaxgen.training.step import GradFn

XOR_X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
XOR_Y = np.array([0, 1, 1, 0])
USES = ("init", "steps", "order")


class Examples:
    """Inputs (n, ...) in [0, 1] and one-hot targets (n, K), float32, of one part of a dataset."""

    def __init__(self, x: Float[np.ndarray, "n ..."], labels: Integer[np.ndarray, "n"], n_labels: int):
        self.x = jnp.asarray(x, jnp.float32)
        self.y = jnp.asarray(np.eye(n_labels, dtype=np.float32)[labels])


class WholeOrder:
    """An order in which every batch is all n examples."""

    def __init__(self, n: int):
        self._all = np.arange(n, dtype=np.int32)

    def indices(self, step: int) -> Int[np.ndarray, "n"]:
        """Return 0 ... n - 1."""
        return self._all


@dataclasses.dataclass(frozen=True, eq=False)
class EnergyTask:
    """A model with its data. On XOR all three parts are the four examples, and there is no size of images."""

    config: EnergyLearningConfig
    model: Model
    settings: Settings
    train: Examples
    validation: Examples
    test: Examples
    image_size: tuple[int, int] | None = None

    @classmethod
    def load(cls, config: EnergyLearningConfig) -> "EnergyTask":
        """Read the data and build the model. UserError naming the field that does not fit."""
        depth_of(config)
        if config.dataset == "xor":
            if config.convolutions:
                raise UserError(f"convolutions is {config.convolutions!r}; allowed with dataset xor: empty")
            if config.shift:
                raise UserError(f"shift is {config.shift}; allowed with dataset xor: 0")
            parts, size = [Examples(XOR_X, XOR_Y, 2)] * 3, None
        else:
            dataset = data.load(config.dataset, data_dir=config.data_dir or None)
            split = [data.split(dataset, part) for part in ("train", "validation", "test")]
            n_labels = 1 + int(max(labels.max() for _, labels in split))
            size = dataset.size
            check_sizes(config, *size)
            shape = (*size, 1) if config.convolutions else (-1,)
            parts = [
                Examples(images.reshape(len(images), *shape) / np.float32(255), y, n_labels) for images, y in split
            ]
        model = build_model(config, parts[0].y.shape[1])
        if config.persistent and config.batch_size != len(parts[0].x) and jax.device_count() > 1:
            raise UserError(
                f"persistent is true with batch_size {config.batch_size} on {jax.device_count()} devices; allowed: one "
                f"device, or a batch of all {len(parts[0].x)} examples, whose states keep their place"
            )
        if config.persistent and not SCHEMES[config.scheme].feedback:
            raise UserError(f"persistent is true; allowed with scheme {config.scheme}: false, the free phase is a pass")
        task = cls(config, model, build_settings(config), *parts, size)
        build_scheme(config.scheme, model, task.settings)
        return task

    @property
    def epoch_steps(self) -> int:
        """Return the steps per epoch."""
        return math.ceil(len(self.train.x) / self.config.batch_size)

    @property
    def by_example(self) -> bool:
        """Return whether states persist by example rather than by place in the batch."""
        return self.config.persistent and self.config.batch_size != len(self.train.x)

    def key(self, use: str) -> Key[Array, ""]:
        """Return the key of one use, one of USES."""
        return training.stream(self.config.seed, use, USES)

    def arrays(self) -> dict[str, Array]:
        """Return what training batches are gathered from."""
        arrays = {"x": self.train.x, "y": self.train.y}
        return arrays | {"example": jnp.arange(len(self.train.x))} if self.by_example else arrays

    def grad_fn(self) -> GradFn:
        """Return the estimator of the scheme for all networks at once, on one batch."""
        grad_fn = build_scheme(self.config.scheme, self.model, self.settings)
        grad_fn = states_by_example(grad_fn) if self.by_example else grad_fn
        grad_fn = training.vmapped_grad_fn(grad_fn, self.config.seeds, shared_batch=True)
        return on_shifted_images(grad_fn, self.config.shift, self.image_size) if self.config.shift else grad_fn

    def initial_params(self) -> Params:
        """Return the stacked initial parameters of all networks."""
        keys = jax.random.split(self.key("init"), self.config.seeds)
        return jax.vmap(self.model.network.init, in_axes=(0, None))(keys, self.train.x[:1])

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return the state before the first step, with states of all examples if they persist, and the optimiser."""
        params = self.initial_params()
        tx = build_optimiser(self.config, self.config.epochs * self.epoch_steps)
        carry = cold_start(self.model, params, self.train.x) if self.config.persistent else None
        return training.create(self.key("steps"), params, tx, carry), tx

    def order(self) -> Order:
        """Return all examples in a fixed order if the batch holds them all, else a new permutation every epoch."""
        if self.config.batch_size == len(self.train.x):
            return WholeOrder(len(self.train.x))
        return data.EpochOrder(self.key("order"), len(self.train.x), self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Log and evaluate every `eval_every` epochs, save ten times per run."""
        every = self.epoch_steps * self.config.eval_every
        steps = self.config.epochs * self.epoch_steps
        return training.FitOptions(steps, every, every, max(every, steps // 10))

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return what is evaluated on the way."""
        return [evaluation_hook(self)]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Draw the curves, read the networks without labels, and report what they answer."""
        return report(self, state, folder)


def states_by_example(grad_fn: GradFn) -> GradFn:
    """Return a gradient function whose carry holds the states of all examples; batch["example"] names those it uses."""

    def wrapped(params: PyTree, carry: States, key: Array, batch: dict[str, Array]):
        rows = batch["example"]
        grads, states, metrics = grad_fn(params, jax.tree.map(lambda s: s[rows], carry), key, batch)
        return grads, jax.tree.map(lambda s, new: s.at[rows].set(new), carry, states), metrics

    return wrapped


def on_shifted_images(grad_fn: GradFn, most: int, size: tuple[int, int]) -> GradFn:
    """Return a gradient function of batches whose images, of that height and width, move by up to `most` pixels."""

    def wrapped(params: PyTree, carry: States | None, key: Key[Array, ""], batch: dict[str, Array]):
        key_shift, key = jax.random.split(key)
        images = batch["x"].reshape(-1, *size)
        moved = data.shift(key_shift, images, batch["position"], most).reshape(batch["x"].shape)
        return grad_fn(params, carry, key, batch | {"x": moved})

    return wrapped


def cold_start(model: Model, params: Params, x: Float[Array, "n ..."]) -> States:
    """Return the forward pass of stacked networks, (n, networks, ...)."""
    return jax.vmap(lambda params: model.start(params, model.drive(params, x)), out_axes=1)(params)
