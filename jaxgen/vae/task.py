"""What a VAE training run starts from: data, model, likelihood, state."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, UInt8

from jaxgen import data, training
from jaxgen.vae.bounds import elbo_loss
from jaxgen.vae.config import VAEConfig, build_model
from jaxgen.vae.likelihoods import Likelihood
from jaxgen.vae.model import VAE


@dataclasses.dataclass(frozen=True, eq=False)
class VAETask:
    """A model with its data: grey training images, and validation and test states coded once and for all.

    Labels are None for a model without classes.
    """

    config: VAEConfig
    model: VAE
    likelihood: Likelihood
    train: UInt8[np.ndarray, "n H W"]
    train_label: UInt8[np.ndarray, "n"] | None
    validation: UInt8[np.ndarray, "m H W"]
    validation_label: UInt8[np.ndarray, "m"] | None
    test: UInt8[np.ndarray, "k H W"]
    test_label: UInt8[np.ndarray, "k"] | None

    @classmethod
    def load(cls, config: VAEConfig) -> "VAETask":
        """Read and code the images. ValueError naming the field that does not fit."""
        model, law = build_model(config)
        dataset = data.load(config.dataset, data_dir=config.data_dir or None)
        parts = {}
        for part in ("train", "validation", "test"):
            images, labels = data.split(dataset, part)
            if part == "test":
                images, labels = images[: config.test_images], labels[: config.test_images]
            parts[part] = images if part == "train" else coded(images, config.levels, part)
            parts[f"{part}_label"] = labels if config.conditional else None
        return cls(config, model, law, **parts)

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Parameters and optimiser before the first step."""
        config = self.config
        params = initial_params(self.model, run_key(config, "init"))
        tx = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))
        return training.create(run_key(config, "steps"), params, tx), tx

    def grad_fn(self) -> training.step.GradFn:
        """Gradients of the negative ELBO."""
        return training.from_loss(elbo_loss(self.model, self.likelihood))

    def arrays(self) -> dict[str, np.ndarray]:
        """What a training batch is gathered from."""
        return {"image": self.train} | ({} if self.train_label is None else {"label": self.train_label})

    def order(self) -> data.EpochOrder:
        """Which images a step sees."""
        return data.EpochOrder(run_key(self.config, "order"), len(self.train), self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """When `fit` logs, evaluates and saves."""
        config = self.config
        return training.FitOptions(config.steps, config.log_every, config.eval_every, config.checkpoint_every)


def coded(images: UInt8[np.ndarray, "n H W"], levels: int, part: str) -> UInt8[np.ndarray, "n H W"]:
    """The states on which bounds are reported; with 2 levels the fixed binarisation of that part."""
    if levels == 256:
        return images
    return data.fixed_binarization(images, part) if levels == 2 else data.encode(images, levels)


def initial_params(model: VAE, key: Key[Array, ""]) -> dict:
    """Parameters before training."""
    x = jnp.zeros((1, 28, 28), jnp.uint8)
    label = jnp.zeros((1,), jnp.uint8) if model.n_classes else None
    return jax.jit(model.init)(key, x, label)["params"]


def run_key(config: VAEConfig, use: str) -> Key[Array, ""]:
    """The key of one use in a run, so that no two uses share noise."""
    uses = ("init", "steps", "order", "validation", "test", "samples")
    return jax.random.fold_in(jax.random.key(config.seed), uses.index(use))
