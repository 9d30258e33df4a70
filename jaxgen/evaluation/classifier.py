"""Training of a classifier on shifted images.

    loss = - mean over the batch of log softmax(logits(shift_s(x)))_y,     s uniform on {-S..S}^2, zeros moved in

by AdamW with a linear warm-up and a cosine decay of the step size; what is kept is the exponential moving average of
the parameters after the last step. No image but the ones given takes part in training, and nothing is selected.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Integer, Key, PyTree, UInt8

from jaxgen import data, runs, training
from jaxgen.evaluation.networks import NETWORKS, apply_network
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS

_EMA_DECAY = 0.998
_WARM_UP = 200  # steps


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """One training of one network."""

    network: str = option("features", "architecture", group="model", choices=tuple(NETWORKS))
    seed: int = seed_option("seed of parameters, order of batches and shifts", group="run")
    steps: int = option(8000, "parameter updates", group="optimiser", low=1, high=MOST_STEPS, grows=True)
    batch_size: int = option(128, "images per step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(2e-3, "largest step size of AdamW", group="optimiser", low=0.0, high=10.0)
    weight_decay: float = option(1e-2, "decay of AdamW", group="optimiser", low=0.0, high=10.0)
    shift: int = option(2, "largest shift of a training image, in pixels", group="optimiser", low=0, high=8)


def train_classifier(
    config: ClassifierConfig,
    folder: runs.RunFolder,
    train: tuple[UInt8[np.ndarray, "n 28 28"], UInt8[np.ndarray, "n"]],
    validation: tuple[UInt8[np.ndarray, "m 28 28"], UInt8[np.ndarray, "m"]] | None = None,
) -> dict:
    """Train to the end from where the run folder is; returns the averaged parameters.

    Args:
        config: network, optimiser and seed.
        folder: the open run folder.
        train: images and labels to learn.
        validation: images and labels whose accuracy is logged and used for nothing else.
    """
    network = NETWORKS[config.network]
    key_init, key_order, key_steps = jax.random.split(jax.random.key(config.seed), 3)
    params = jax.jit(network.init)(key_init, jnp.zeros((1, 28, 28)))["params"]
    tx = optimiser(config)
    state = training.create(key_steps, params, tx, ema=True)
    step = training.parallel_step(training.from_loss(shifted_loss(network, config.shift)), tx, _EMA_DECAY)
    order = data.EpochOrder(key_order, len(train[0]), config.batch_size)

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        return {"validation_accuracy": accuracy(config.network, state.ema_params, *validation)}

    every = min(config.steps, 1000)
    options = training.FitOptions(config.steps, min(every, 200), every, every)
    arrays = {"image": train[0], "label": train[1]}
    hooks = [] if validation is None else [hook]
    return training.fit(state, step, arrays, order, folder, options, hooks).ema_params


def optimiser(config: ClassifierConfig) -> optax.GradientTransformation:
    """Return AdamW whose step size rises linearly, then falls to zero along half a cosine."""
    warm_up = min(_WARM_UP, config.steps // 2)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warm_up, config.steps)
    return optax.adamw(rate, weight_decay=config.weight_decay)


def shifted_loss(network: nn.Module, largest: int) -> training.step.LossFn:
    """Return loss(params, key, batch) for a batch {"image" uint8, "label", "position"}; the accuracy is a metric."""

    def loss_fn(params: PyTree, key: Key[Array, ""], batch: dict[str, Array]):
        images = data.shift(key, batch["image"], batch["position"], largest).astype(jnp.float32) / 255
        logits, _ = network.apply({"params": params}, images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"].astype(jnp.int32)).mean()
        return loss, {"accuracy": (logits.argmax(1) == batch["label"]).mean()}

    return loss_fn


def accuracy(name: str, params: dict, images: UInt8[np.ndarray, "n 28 28"], labels: Integer[np.ndarray, "n"]) -> float:
    """Return the share of images, 0 to 1, whose class the network reads right."""
    return float((apply_network(name, params, images)[0].argmax(1) == labels).mean())
