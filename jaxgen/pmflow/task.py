"""What one run of the comparison consists of: images, networks of all its seeds, loss, order, optimiser.

Parameters of S seeds are stacked on a leading axis, and a step is the S steps that the seeds would do alone: every seed
has its own start, its own order of the images and its own gradient. Models share both with each other, seed by seed.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from jaxgen import data, runs, training
from jaxgen.errors import UserError
from jaxgen.pmflow.config import ModelConfig
from jaxgen.pmflow.models import build_model

LOGS_AN_EPOCH = 10


@dataclasses.dataclass(frozen=True, eq=False)
class PMFlowTask:
    """A model with MNIST: the first `train_examples` training images, all 10,000 test images."""

    config: ModelConfig
    model: nn.Module
    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]

    @classmethod
    def load(cls, config: ModelConfig) -> "PMFlowTask":
        """Read the images. ValueError naming what does not fit, such as a coupled batch on several devices."""
        runs.validate(config)
        model = build_model(config.model, config.gain, config.faithful)
        devices = jax.device_count()
        if couples_batch(config) and devices > 1:
            raise UserError(
                f"models has {config.model!r}, which couples the whole batch, on {devices} devices; allowed: one device"
            )
        mnist = data.load("mnist")
        n = config.train_examples
        train = {"image": mnist.train_images[:n], "label": mnist.train_labels[:n]}
        return cls(config, model, train, {"image": mnist.test_images, "label": mnist.test_labels})

    @property
    def epoch_steps(self) -> int:
        return math.ceil(self.config.train_examples / self.config.batch_size)

    @property
    def references(self) -> UInt8[np.ndarray, "m 28 28"] | None:
        """The images whose latents and states a bank stores: the first training images."""
        count = getattr(self.model, "n_references", 0)
        return self.train["image"][:count] if count else None

    def keys(self, use: str) -> list[Key[Array, ""]]:
        """One key a seed, the same for every model."""
        first = self.config.first_seed
        return [seed_key(seed, use) for seed in range(first, first + self.config.seeds)]

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Stacked parameters and the optimiser before the first step."""
        rows = jnp.zeros((1 + getattr(self.model, "n_references", 0), 28, 28))
        init = jax.jit(jax.vmap(lambda key: self.model.init(key, rows)["params"]))
        config, steps = self.config, self.config.epochs * self.epoch_steps
        rate = config.learning_rate
        tx = optax.adam(rate if config.faithful else optax.cosine_decay_schedule(rate, steps))
        return training.create(self.keys("steps")[0], init(jnp.stack(self.keys("init"))), tx), tx

    def fit_options(self) -> training.FitOptions:
        """Tests and checkpoints once an epoch, records ten times."""
        every = self.epoch_steps
        return training.FitOptions(self.config.epochs * every, math.ceil(every / LOGS_AN_EPOCH), every, every)


class SeedOrders:
    """Every seed's own order of the images: `indices(k)` is (B S,), image b of seed s at b S + s."""

    def __init__(self, keys: Sequence[Key[Array, ""]], n_examples: int, batch_size: int):
        self._orders = [data.EpochOrder(key, n_examples, batch_size) for key in keys]

    def indices(self, step: int) -> Int[np.ndarray, " batch_seeds"]:
        return np.stack([order.indices(step) for order in self._orders], axis=1).ravel()


def train(task: PMFlowTask, folder: runs.RunFolder, hooks: Sequence[Callable]) -> PyTree:
    """Train to the end from where the run folder is; returns the stacked parameters after the last step."""
    config = task.config
    state, tx = task.initial_state()
    step = training.parallel_step(stacked_grad_fn(task.model, config.seeds, task.references), tx)
    orders = SeedOrders(task.keys("order"), config.train_examples, config.batch_size)
    return training.fit(state, step, task.train, orders, folder, task.fit_options(), hooks).params


def logits(
    model: nn.Module, params: PyTree, images: UInt8[Array, "batch 28 28"], references: UInt8[Array, "m 28 28"] | None
) -> Float[Array, "batch 10"]:
    """Of one network; `references` are needed by a bank alone."""
    rows = images if references is None else jnp.concatenate([images, references])
    return model.apply({"params": params}, rows / jnp.float32(255))


def stacked_grad_fn(model: nn.Module, seeds: int, references: UInt8[Array, "m 28 28"] | None):
    """The grad_fn of `seeds` stacked networks on the batches of `SeedOrders`; loss and accuracy are means over them.

    loss = - mean log softmax(logits)[label] of each network by itself
    """

    def loss_fn(params: PyTree, images: Array, labels: Array):
        rows = logits(model, params, images, references)
        loss = optax.softmax_cross_entropy_with_integer_labels(rows, labels).mean()
        return loss, (rows.argmax(-1) == labels).mean()

    one = jax.value_and_grad(loss_fn, has_aux=True)

    def grad_fn(params: PyTree, carry: None, key: Key[Array, ""], batch: dict[str, Array]):
        split = {name: batch[name].reshape(-1, seeds, *batch[name].shape[1:]) for name in ("image", "label")}
        images, labels = (jnp.moveaxis(split[name], 1, 0) for name in ("image", "label"))
        (loss, accuracy), grads = over_seeds(one, seeds)(params, images, labels.astype(jnp.int32))
        return grads, carry, {"loss": loss.mean(), "accuracy": accuracy.mean()}

    return grad_fn


def over_seeds(function: Callable, seeds: int) -> Callable:
    """`function` mapped over the leading axis of all its arguments."""
    if seeds > 1:
        return jax.vmap(function)

    # Not vmap over one: that would make a convolution a grouped one all the same.
    def alone(*arguments):
        found = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
        return jax.tree.map(lambda leaf: leaf[None], found)

    return alone


def couples_batch(config: ModelConfig) -> bool:
    """Whether a prediction depends on the batch it is made in."""
    return config.model == "pmflow_bnn_batch" or (config.faithful and config.model == "pmflow_bnn")


def seed_key(seed: int, use: str) -> Key[Array, ""]:
    """The key of one use of one seed, so that no two uses share noise."""
    return jax.random.fold_in(jax.random.key(seed), ("init", "steps", "order").index(use))
