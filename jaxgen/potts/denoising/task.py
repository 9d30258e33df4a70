"""The task of training a denoising machine: data, machine, initial state, gradient function."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from jaxgen import data, runs, training
from jaxgen.errors import UserError
from jaxgen.potts.denoising.config import DenoisingConfig
from jaxgen.potts.denoising.contrastive import denoising_divergence
from jaxgen.potts.denoising.evaluate import evaluation_hook, report
from jaxgen.potts.denoising.generate import Denoiser
from jaxgen.potts.denoising.machine import DenoisingMachine, Params, Statistics, fit_statistics, initial_biases

_USES = ("steps", "init", "order", "evaluation", "samples")
_PSEUDO_COUNT = 3.0


@dataclasses.dataclass(frozen=True, eq=False)
class DenoisingTask:
    """A machine with its data.

    Attributes:
        config: the settings.
        machine: the model.
        statistics: statistics of the training images.
        pixels: flat indices of the pixels that the machine draws.
        shape: height and width of an image.
        train: greys (for 2 levels) or levels of these pixels, one row per training image.
        train_label: classes of the training images; all 0 for a machine without classes.
        marginals: frequency of each level by class and pixel, none of them 0.
    """

    config: DenoisingConfig
    machine: DenoisingMachine
    statistics: Statistics
    pixels: Int[np.ndarray, " V"]
    shape: tuple[int, int]
    train: UInt8[np.ndarray, "n V"]
    train_label: UInt8[np.ndarray, " n"]
    marginals: Float[np.ndarray, "Y V L"]

    @classmethod
    def load(cls, config: DenoisingConfig) -> "DenoisingTask":
        """Read, crop and encode the images.

        Raises:
            UserError: the images cannot be used; names the field.
        """
        dataset = data.open(config.dataset, config.images, config.data_dir).grey()
        images, label = data.split(dataset, "train")
        flat = images.reshape(len(images), -1)
        pixels = np.flatnonzero(flat.mean(0) > 255 * config.crop)
        if not pixels.size:
            raise UserError(
                f"crop is {config.crop}, and no pixel of the training images is brighter than that on average; "
                "allowed: a smaller crop, images that are not all black"
            )
        train = np.ascontiguousarray(flat[:, pixels])
        if config.levels > 2:
            train = data.encode(train, config.levels)
        label = label if config.labels else np.zeros_like(label)
        n_classes = dataset.n_classes if config.labels else 1
        marginals = level_frequencies(train, label, n_classes, config.levels)
        machine = DenoisingMachine(len(pixels), config.levels, config.hidden, config.noise_steps, n_classes)
        statistics = fit_statistics(marginals.mean(0), config.noise_steps)
        return cls(config, machine, statistics, pixels, images.shape[1:], train, label, marginals)

    @property
    def title(self) -> str:
        """Return what is trained, in a line for records."""
        config = self.config
        name = data.name_of(config.dataset, config.images)
        classes = ", class-conditional" if config.labels else ""
        return (
            f"{name}, denoising machine, {config.levels} levels, {config.hidden} hidden units, "
            f"{config.noise_steps} noise levels{classes}"
        )

    def key(self, use: str) -> Key[Array, ""]:
        """Return the random key of one use in this run, one of `_USES`."""
        return training.stream(self.config.seed, use, _USES)

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return parameters, optimiser and moving average before the first step."""
        config = self.config
        params = initial_biases(self._random_params(), self.marginals)
        rise = training.warmup_steps(config.warmup, config.steps)
        rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, rise, config.steps)
        tx = optax.inject_hyperparams(optax.adam)(learning_rate=rate, eps=1e-7)
        updates = jnp.zeros(config.batch_size, jnp.int32)  # done so far; per chain, since devices split the carry
        return training.create(self.key("steps"), params, tx, updates, ema=True), tx

    def _random_params(self) -> Params:
        empty = jnp.zeros((1, self.machine.n_pixels), jnp.uint8)
        one = jnp.zeros(1, jnp.int32)
        init = jax.jit(self.machine.init)
        return init(self.key("init"), self.statistics, empty, empty, one, one)["params"]

    def grad_fn(self) -> training.step.GradFn:
        """Return the gradient function of `denoising_divergence` with the settings of the config."""
        recovery_steps = round(self.config.recovery * self.config.steps)
        return denoising_divergence(self.machine, self.statistics, self.config.sweeps, recovery_steps, self._encode)

    def _encode(self, key: Key[Array, ""], image: Array, ids: Array) -> UInt8[Array, "n V"]:
        return data.binarize(key, image, ids) if self.config.levels == 2 else image

    def coded(self, key: Key[Array, ""], images: UInt8[np.ndarray, "n H W"]) -> UInt8[np.ndarray, "n H W"]:
        """Return grey images as states; with 2 levels white is drawn with the probability that the grey states."""
        if self.config.levels == 2:
            return np.asarray(data.binarize(key, images, np.arange(len(images))))
        return data.encode(images, self.config.levels)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that batches are gathered from."""
        return {"image": self.train, "label": self.train_label}

    def order(self) -> data.EpochOrder:
        """Return which images each step sees."""
        return data.EpochOrder(self.key("order"), len(self.train), self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Return when `fit` logs, evaluates and saves, and the unit updates per step that it reports the speed of."""
        config, machine = self.config, self.machine
        updates = config.batch_size * config.noise_steps * config.sweeps * (machine.n_pixels + machine.n_hidden)
        return training.FitOptions(
            config.steps,
            config.log_every,
            config.eval_every,
            config.checkpoint_every,
            work={"unit_updates": updates},
            ema_decay=training.average_decay(config.ema_decay, config.steps),
        )

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return the evaluation during training."""
        return [evaluation_hook(self, log)]

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Draw images of every class, plot them and evaluate them."""
        return report(self, state, folder)

    def model(self, params: Params) -> Denoiser:
        """Return the machine with these parameters, ready to draw images."""
        return Denoiser(self.machine, params, self.statistics, self.pixels, self.shape)

    def draw_labels(self, n: int) -> Int[np.ndarray, " n"]:
        """Return n classes in turn."""
        return np.arange(n) % self.machine.n_classes


def level_frequencies(
    rows: UInt8[np.ndarray, "n V"], label: UInt8[np.ndarray, " n"], n_classes: int, levels: int
) -> Float[np.ndarray, "Y V L"]:
    """Return how often each pixel shows each level, by class; for 2 levels rows are greys, the probability of white.

    A few images with the frequencies of all classes are added to every class, so that no frequency is 0.
    """

    def frequencies(rows: np.ndarray) -> np.ndarray:
        if levels == 2:
            white = rows.mean(0) / 255
            return np.stack([1 - white, white], axis=-1)
        return np.stack([(rows == level).mean(0) for level in range(levels)], axis=-1)

    whole = (frequencies(rows) * len(rows) + 1) / (len(rows) + levels)
    by_class = []
    for y in range(n_classes):
        own = rows[label == y]
        by_class.append((frequencies(own) * len(own) + _PSEUDO_COUNT * whole) / (len(own) + _PSEUDO_COUNT))
    return np.stack(by_class).astype(np.float32)


def restore_denoiser(workdir: str | Path) -> tuple[DenoisingTask, Denoiser]:
    """Return the task of a run folder and its machine, with the moving average of the last checkpoint.

    Raises:
        UserError: the folder holds no run of experiments.ebm_denoising, or no checkpoint.
    """
    path = Path(workdir) / "config.json"
    task = DenoisingTask.load(runs.read_config(DenoisingConfig, path, "experiments.ebm_denoising"))
    state = training.restore_state(workdir, task.initial_state()[0], "experiments.ebm_denoising")
    return task, task.model(state.ema_params)
