"""The training task of a diffusion model: model, data, optimiser and what is measured."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree, UInt8

from jaxgen import data, runs, training
from jaxgen.diffusion.config import DiffusionConfig, build_diffusion, build_objective
from jaxgen.diffusion.evaluate import evaluation_hook
from jaxgen.diffusion.guidance import network
from jaxgen.diffusion.model import Diffusion
from jaxgen.diffusion.objectives import drawn_losses, to_unit
from jaxgen.diffusion.report import report
from jaxgen.diffusion.unet import init_params
from jaxgen.errors import UserError
from jaxgen.training.step import GradFn, LossFn

_LAST_RATE = 0.1
_MADE_BY = "experiments.diffusion"


@dataclasses.dataclass(frozen=True, eq=False)
class DiffusionTask:
    """A model with its data: images uint8 and labels to learn, and others held out."""

    config: DiffusionConfig
    diffusion: Diffusion
    train: UInt8[np.ndarray, "n ..."]
    train_label: UInt8[np.ndarray, "n"]
    held_out: UInt8[np.ndarray, "m ..."]
    held_out_label: UInt8[np.ndarray, "m"]

    @classmethod
    def load(cls, config: DiffusionConfig) -> "DiffusionTask":
        """Read the images and return the task.

        Raises:
            UserError: a setting that does not fit the images, the model or another setting.
        """
        if config.sample_steps > config.timesteps:
            raise UserError(f"sample_steps is {config.sample_steps}; allowed: 1 to timesteps={config.timesteps}")
        diffusion = build_diffusion(config)
        images = data.open(config.dataset, config.images, config.data_dir)
        if config.part == "all":
            task = cls(config, diffusion, images.train_images, images.train_labels, *data.split(images, "test"))
        else:
            task = cls(config, diffusion, *data.split(images, "train"), *data.split(images, "validation"))
        task.check()
        return task

    def check(self) -> None:
        """Compare images and labels with the side, channels and classes of the config.

        Raises:
            UserError: one of them differs.
        """
        config = self.config
        for images, labels in ((self.train, self.train_label), (self.held_out, self.held_out_label)):
            shape = (*images.shape[1:], 1)[:3]
            for name, value in zip(("side", "side", "channels"), shape, strict=True):
                if getattr(config, name) != value:
                    raise UserError(
                        f"{name} is {getattr(config, name)} and the images have shape {images.shape[1:]}; allowed: "
                        f"{value}, that of the images"
                    )
            if int(labels.max()) >= config.classes:
                raise UserError(f"classes is {config.classes}; allowed: more than the largest label, {labels.max()}")

    def images(self) -> data.Dataset:
        """Read and return the images that the run learns from."""
        return data.open(self.config.dataset, self.config.images, self.config.data_dir)

    @property
    def title(self) -> str:
        """The title of the records: images, network, objective and epochs."""
        config = self.config
        name = data.name_of(config.dataset, config.images)
        return f"{name}, {config.size} U-Net, {config.objective}, {config.epochs:g} epochs"

    @property
    def steps(self) -> int:
        """Updates of the whole run, at least one."""
        return max(1, round(self.config.epochs * len(self.train) / self.config.batch_size))

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return the state before the first step, with a moving average, and the optimiser."""
        key, key_init = self._keys()
        adam = optax.adam(self.learning_rate, b2=self.config.beta2)
        tx = optax.chain(optax.clip_by_global_norm(self.config.clip), adam)
        return training.create(key, init_params(key_init, self.diffusion.unet), tx, ema=True), tx

    def learning_rate(self, step: Array | int) -> Array:
        """Return the step size of update `step`, from 0.

        With `decay` epoch it is l (0.1 + 0.9 (1 + cos(pi e / (E - 1))) / 2) in epoch e = 0 ... E - 1, and l if E = 1;
        with `decay` step l (1 + cos(pi step / steps)) / 2. It rises to that in the first `warmup` updates.
        """
        config = self.config
        rise = jnp.minimum(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
        if config.decay == "step":
            return rise * optax.cosine_decay_schedule(config.learning_rate, self.steps)(step)
        epoch = jnp.floor(step * config.batch_size / len(self.train))
        falls = max(1, math.ceil(config.epochs) - 1)
        rate = optax.cosine_decay_schedule(config.learning_rate, falls, _LAST_RATE)(epoch)
        return rise * rate if config.warmup else rate

    def average_decay(self) -> float | Callable[[Array], Array]:
        """Return the decay of the moving average: with `ema_warmup` min(decay, (1 + k) / (10 + k)) at update k from 0.

        The average then forgets the first parameters as soon as there are better ones.
        """
        decay = training.average_decay(self.config.ema_decay, self.steps)
        return (lambda step: jnp.minimum(decay, (1 + step) / (10 + step))) if self.config.ema_warmup else decay

    def loss_fn(self) -> LossFn:
        """Return the mean loss of a batch; see `drawn_losses`."""
        objective, process = build_objective(self.config), self.diffusion.process

        def loss_fn(params, key, batch):
            apply, rows = network(self.diffusion.unet, params), (to_unit(batch["image"]), batch["label"])
            losses, parts = drawn_losses(apply, objective, process, key, *rows, batch["position"])
            return losses.mean(), {name: value.mean() for name, value in parts.items()}

        return loss_fn

    def grad_fn(self) -> GradFn:
        """Return the gradient function of the mean loss."""
        return training.from_loss(self.loss_fn())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that batches are gathered from."""
        return {"image": self.train, "label": self.train_label.astype(np.int32)}

    def order(self) -> data.EpochOrder:
        """Return which images each step uses."""
        key = training.beyond_steps(self._keys()[0])[0]
        return data.EpochOrder(key, len(self.train), self.config.batch_size)

    def key_samples(self) -> Key[Array, ""]:
        """Return the key of the samples drawn after training."""
        return training.beyond_steps(self._keys()[0])[1]

    def fit_options(self) -> training.FitOptions:
        """Return when `fit` logs, evaluates and saves."""
        config = self.config
        every = (config.log_every, config.eval_every, config.checkpoint_every)
        return training.FitOptions(self.steps, *every, ema_decay=self.average_decay())

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return what is evaluated during training."""
        return [evaluation_hook(self, log)]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Draw samples, show them, bound the likelihood and evaluate the samples."""
        return report(self, state.ema_params, folder)

    def _keys(self) -> Key[Array, " 2"]:
        """Return the keys of the steps and of the initial parameters."""
        return jax.random.split(training.seed_key(self.config.seed))


def restore_run(workdir: str | Path) -> tuple[DiffusionTask, training.TrainState]:
    """Return the task and the last state of a run folder.

    Raises:
        UserError: the folder holds no run of this family or no checkpoint.
    """
    config = _config_of(workdir)
    task = DiffusionTask.load(config)
    return task, training.restore_state(workdir, task.initial_state()[0], _MADE_BY)


def load(workdir: str | Path) -> tuple[Diffusion, PyTree]:
    """Return the model of a run folder and the moving average of its parameters, without reading any images.

    Example:
        model, params = diffusion.load("runs/tiny")
        pieces = diffusion.generate(jax.random.key(0), model, params, label, diffusion.Generation())
        images = np.concatenate([diffusion.to_grey(piece.images) for piece in pieces])

    Raises:
        UserError: the folder holds no run of this family or no checkpoint.
    """
    config = _config_of(workdir)
    diffusion = build_diffusion(config)
    nothing = np.zeros((1, config.side, config.side), np.uint8), np.zeros(1, np.uint8)
    task = DiffusionTask(config, diffusion, *nothing, *nothing)
    return diffusion, training.restore_state(workdir, task.initial_state()[0], _MADE_BY).ema_params


def _config_of(workdir: str | Path) -> DiffusionConfig:
    return runs.read_config(DiffusionConfig, Path(workdir) / "config.json", _MADE_BY)
