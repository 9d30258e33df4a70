"""What a training run starts from: model, images, state and loss."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, UInt8

from jaxgen import data, training
from jaxgen.diffusion.config import DiffusionConfig, build_diffusion, build_objective
from jaxgen.diffusion.guidance import network
from jaxgen.diffusion.model import Diffusion
from jaxgen.diffusion.objectives import draw, example_losses, to_unit
from jaxgen.diffusion.unet import init_params
from jaxgen.errors import UserError
from jaxgen.training.step import GradFn, LossFn

_LAST_RATE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class DiffusionTask:
    """A model with its data: images uint8 (n, 28, 28) and labels uint8 (n,) to learn, and others held out."""

    config: DiffusionConfig
    diffusion: Diffusion
    train: UInt8[np.ndarray, "n 28 28"]
    train_label: UInt8[np.ndarray, "n"]
    held_out: UInt8[np.ndarray, "m 28 28"]
    held_out_label: UInt8[np.ndarray, "m"]

    @classmethod
    def load(cls, config: DiffusionConfig) -> "DiffusionTask":
        """Read the images. ValueError naming the field that does not fit."""
        if config.sample_steps > config.timesteps:
            raise UserError(f"sample_steps is {config.sample_steps}; allowed: 1 to timesteps={config.timesteps}")
        diffusion = build_diffusion(config)
        images = data.load(config.dataset, data_dir=config.data_dir or None)
        if config.part == "all":
            return cls(config, diffusion, images.train_images, images.train_labels, *data.split(images, "test"))
        return cls(config, diffusion, *data.split(images, "train"), *data.split(images, "validation"))

    @property
    def steps(self) -> int:
        """Updates of the whole run, at least one."""
        return max(1, round(self.config.epochs * len(self.train) / self.config.batch_size))

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Parameters, optimiser and moving average before the first step."""
        key, key_init = jax.random.split(jax.random.key(self.config.seed))
        tx = optax.chain(optax.clip_by_global_norm(self.config.clip), optax.adam(self.learning_rate))
        return training.create(key, init_params(key_init, self.diffusion.unet), tx, ema=True), tx

    def learning_rate(self, step: Array | int) -> Array:
        """l (0.1 + 0.9 (1 + cos(pi e / E)) / 2) in epoch e of E, counted from 0."""
        config = self.config
        epoch = jnp.floor(step * config.batch_size / len(self.train))
        falling = (1 + jnp.cos(math.pi * epoch / max(1, math.ceil(config.epochs)))) / 2
        return config.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * falling)

    def loss_fn(self) -> LossFn:
        """The mean loss of a batch; see `example_losses`."""
        objective, process = build_objective(self.config), self.diffusion.process

        def loss_fn(params, key, batch):
            x0 = to_unit(batch["image"])
            draws = draw(key, batch["position"], process.n_steps, x0.shape[1:], objective.label_dropout)
            apply = network(self.diffusion.unet, params)
            losses, parts = example_losses(apply, objective, process, x0, batch["label"], draws)
            return losses.mean(), {name: value.mean() for name, value in parts.items()}

        return loss_fn

    def grad_fn(self) -> GradFn:
        """Its gradient."""
        return training.from_loss(self.loss_fn())

    def fit_options(self) -> training.FitOptions:
        """When `fit` logs, evaluates and saves."""
        config = self.config
        return training.FitOptions(self.steps, config.log_every, config.eval_every, config.checkpoint_every)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a training batch is gathered from."""
        return {"image": self.train, "label": self.train_label.astype(np.int32)}
