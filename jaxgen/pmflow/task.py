"""One run of the comparison: images, networks of all its seeds, loss, order, optimiser.

The networks of S seeds are one ensemble (`jaxgen.training.ensemble`): every seed has its own initial parameters and its
own order of the images. Models share both with each other, seed by seed, which pairs their comparison.

    loss = - mean log softmax(logits)[label]
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree, UInt8

from jaxgen import data, runs, training
from jaxgen.errors import UserError
from jaxgen.pmflow.classifiers import logits
from jaxgen.pmflow.config import ModelConfig
from jaxgen.pmflow.evaluate import evaluation_hook, report
from jaxgen.pmflow.models import build_model, n_references
from jaxgen.training.step import GradFn

LOGS_PER_EPOCH = 10
USES = ("init", "steps", "order")


def _ignore(accuracy: float) -> None:
    """Do nothing with a test accuracy."""


@dataclasses.dataclass(frozen=True, eq=False)
class PMFlowTask:
    """A model with MNIST: the first `train_examples` training images and all test images.

    Attributes:
        config: the settings of the run.
        model: the module that all seeds share.
        train: images uint8 (n, 28, 28) and labels uint8 (n,).
        test: images uint8 (10000, 28, 28) and labels uint8 (10000,).
        on_test: called with the mean test accuracy, in 0..1, after every epoch.
    """

    config: ModelConfig
    model: nn.Module
    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    on_test: Callable[[float], None] = _ignore

    @classmethod
    def load(cls, config: ModelConfig, on_test: Callable[[float], None] = _ignore) -> "PMFlowTask":
        """Read the images. UserError naming what does not fit, such as a coupled batch on several devices."""
        runs.validate(config)
        model = build_model(config.model, config.gain, config.faithful)
        devices = jax.device_count()
        if couples_batch(config) and devices > 1:
            raise UserError(
                f"models has {config.model!r}, which couples the whole batch, on {devices} devices; allowed: one device"
            )
        training.seed_key(config.first_seed + config.seeds - 1)
        mnist = _mnist()
        n = config.train_examples
        train = {"image": mnist.train_images[:n], "label": mnist.train_labels[:n]}
        return cls(config, model, train, {"image": mnist.test_images, "label": mnist.test_labels}, on_test)

    @property
    def epoch_steps(self) -> int:
        """Return the steps per epoch."""
        return math.ceil(self.config.train_examples / self.config.batch_size)

    @property
    def references(self) -> UInt8[np.ndarray, "m 28 28"] | None:
        """Return the images whose latents and states a bank stores: the first training images."""
        count = n_references(self.model)
        return self.train["image"][:count] if count else None

    def keys(self, use: str) -> list[Key[Array, ""]]:
        """Return one key per seed, the same for every model."""
        first = self.config.first_seed
        return [training.stream(seed, use, USES) for seed in range(first, first + self.config.seeds)]

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return the state with stacked parameters before the first step, and the optimiser."""
        rows = jnp.zeros((1 + n_references(self.model), 28, 28))
        init = jax.jit(jax.vmap(lambda key: self.model.init(key, rows)["params"]))
        config, steps = self.config, self.config.epochs * self.epoch_steps
        rate = config.learning_rate
        tx = optax.adam(rate if config.faithful else optax.cosine_decay_schedule(rate, steps))
        return training.create(self.keys("steps")[0], init(jnp.stack(self.keys("init"))), tx), tx

    def grad_fn(self) -> GradFn:
        """Return the gradient function of the networks of all seeds."""
        loss_fn = classification_loss(self.model, self.references)
        return training.vmapped_grad_fn(training.from_loss(loss_fn), self.config.seeds)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that training batches are gathered from."""
        return self.train

    def order(self) -> training.EnsembleOrder:
        """Return the order in which every seed sees the images."""
        rows = np.arange(self.config.train_examples, dtype=np.int32)
        return training.EnsembleOrder(self.keys("order"), [rows] * self.config.seeds, self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Test and save once per epoch, log ten times per epoch."""
        every = self.epoch_steps
        return training.FitOptions(self.config.epochs * every, math.ceil(every / LOGS_PER_EPOCH), every, every)

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return what is evaluated after every epoch."""
        return [evaluation_hook(self)]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Report the accuracies of this model by itself."""
        return report(self, folder)


def classification_loss(model: nn.Module, references: UInt8[Array, "m 28 28"] | None):
    """Return `loss(params, key, batch) -> (loss, metrics)` of one network on {"image", "label"}, with its accuracy."""

    def loss_fn(params: PyTree, key: Key[Array, ""], batch: dict[str, Array]):
        labels = batch["label"].astype(jnp.int32)
        rows = logits(model, params, batch["image"], references)
        loss = optax.softmax_cross_entropy_with_integer_labels(rows, labels).mean()
        return loss, {"accuracy": (rows.argmax(-1) == labels).mean()}

    return loss_fn


def couples_batch(config: ModelConfig) -> bool:
    """Return whether a prediction depends on the other images of its batch."""
    return config.model == "pmflow_bnn_batch" or (config.faithful and config.model == "pmflow_bnn")


@functools.lru_cache(maxsize=1)
def _mnist() -> data.Dataset:
    # Read once for all models of a comparison.
    return data.load("mnist")
