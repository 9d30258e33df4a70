"""Measurements of a diffusion model: losses on held-out images, bounds of the likelihood, drawn images."""

import functools
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Integer, Key, PyTree, UInt8

from jaxgen import runs, training
from jaxgen.data import evaluation_slices
from jaxgen.diffusion.config import DiffusionConfig, build_objective
from jaxgen.diffusion.guidance import network
from jaxgen.diffusion.likelihood import Bound, last_step_bits, last_step_table
from jaxgen.diffusion.model import (
    Diffusion,
    Generation,
    bound_of_images,
    flow_bound_of_images,
    generate,
    last_levels_of_images,
    to_grey,
    variances_of_images,
)
from jaxgen.diffusion.objectives import Objective, drawn_losses, to_unit
from jaxgen.diffusion.process import Process
from jaxgen.diffusion.unet import UNet

if typing.TYPE_CHECKING:
    from jaxgen.diffusion.task import DiffusionTask

_HELD_OUT = 1024
_BATCH = 128
_SHOWN = 40


class Mean(NamedTuple):
    """A mean and its standard error."""

    value: float
    error: float


def mean_of(values: Float[ArrayLike, "n"]) -> Mean:
    """Return the mean of independent values; the error of a single value is NaN."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(float(values.mean()), float(error))


def held_out_losses(task: "DiffusionTask", params: PyTree, n: int = _HELD_OUT) -> Float[np.ndarray, "n"]:
    """Return the mean squared error on each of the first n held-out images, no label left out.

    Times and noise of image k follow from k alone, so that two models with the same T see the same noisy images.
    """
    objective = build_objective(task.config)._replace(label_dropout=0.0)
    run = functools.partial(_losses, task.diffusion.unet, objective, task.diffusion.process, params)
    images, labels = task.held_out[:n], task.held_out_label[:n].astype(np.int32)
    return np.concatenate([run(*rows) for rows in _whole_batches(images, labels)])[: len(images)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _losses(unet: UNet, objective: Objective, process: Process, params: PyTree, images, labels, index):
    rows = (to_unit(images), labels, index)
    return drawn_losses(network(unet, params), objective, process, jax.random.key(0), *rows)[1]["mse"]


def best_variances(task: "DiffusionTask", params: PyTree, n: int) -> Float[np.ndarray, "T"]:
    """Return the best scalar variances of the reverse steps, measured on the first n training images."""
    images, labels = task.train[:n], task.train_label[:n].astype(np.int32)
    measure = functools.partial(variances_of_images, _bound_key(task), task.diffusion, params)
    return np.mean(list(_by_batches(measure, images, labels, "variances of the reverse steps")), axis=0)


def likelihood_bound(
    task: "DiffusionTask", params: PyTree, n: int, variances: Float[np.ndarray, "T"] | None = None
) -> Bound:
    """Return the variational bound of the first n held-out images given their classes, in bits per pixel."""
    images, labels = task.held_out[:n], task.held_out_label[:n].astype(np.int32)

    def measure(*rows):
        return bound_of_images(_bound_key(task), task.diffusion, params, *rows, variances)

    pieces = _by_batches(measure, images, labels, "variational bound")
    return Bound(*(np.concatenate(part)[: len(images)] for part in zip(*pieces, strict=True)))


def with_table(task: "DiffusionTask", params: PyTree, bound: Bound) -> Bound:
    """Return a bound of `likelihood_bound` whose last step is a table, counted on 8 times as many training images."""
    n = len(bound.total)
    of_table, of_bound = jax.random.fold_in(_bound_key(task), 1), _bound_key(task)  # independent noise

    def levels(key: Key[Array, ""], images: UInt8[np.ndarray, "m ..."], label: Int[np.ndarray, "m"]):
        measure = functools.partial(last_levels_of_images, key, task.diffusion, params)
        rows = _by_batches(measure, images, label.astype(np.int32), "table of the last step")
        m = np.concatenate(list(rows))[: len(images)]
        return m, images.reshape(m.shape)

    table = last_step_table(*levels(of_table, task.train[: 8 * n], task.train_label[: 8 * n]))
    last = last_step_bits(table, *levels(of_bound, task.held_out[:n], task.held_out_label[:n]))
    return bound._replace(steps=np.concatenate([last[:, None], bound.steps[:, 1:]], axis=1))


def flow_likelihood(task: "DiffusionTask", params: PyTree, n: int) -> Float[np.ndarray, "n"]:
    """Return the bound by the probability-flow ODE of the first n held-out images given their classes."""
    images, labels = task.held_out[:n], task.held_out_label[:n].astype(np.int32)
    measure = functools.partial(flow_bound_of_images, _bound_key(task), task.diffusion, params)
    return np.concatenate(list(_by_batches(measure, images, labels, "probability flow")))[: len(images)]


def _bound_key(task: "DiffusionTask") -> Key[Array, ""]:
    return training.seed_key(task.config.seed)


def _by_batches(measure: Callable, images: np.ndarray, labels: np.ndarray, what: str):
    with runs.progress(len(images), what, "image") as bar:
        for rows in _whole_batches(images, labels):
            yield jax.device_get(measure(*rows))
            bar.update(min(len(rows[0]), bar.total - bar.n))


def _whole_batches(images: UInt8[np.ndarray, "n ..."], labels: Integer[np.ndarray, "n"]):
    """Yield images, labels and indices in batches of one size, the last one padded, so that one program serves all."""
    size = min(_BATCH, len(images))
    for part in evaluation_slices(len(images), size):
        index = np.arange(part.start, part.start + size, dtype=np.uint32)
        row = np.minimum(index, len(images) - 1)
        yield images[row], labels[row], index


def classes_in_turn(n: int, classes: int = 10) -> Int[np.ndarray, "n"]:
    """Return the labels 0, 1, ... classes - 1, 0, 1, ..."""
    return np.arange(n, dtype=np.int32) % classes


def draw_images(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    label: Integer[np.ndarray, "n"],
    settings: Generation,
    **options: typing.Any,
) -> UInt8[np.ndarray, "n ..."]:
    """Return images of the classes `label` as uint8, with a progress bar; `options` as for `generate`."""
    pieces = []
    with runs.progress(len(label), f"{settings.sampler}, {settings.steps} steps", "image") as bar:
        for piece in generate(key, diffusion, params, label, settings, **options):
            pieces.append(to_grey(piece.images))
            bar.update(len(pieces[-1]))
    return np.concatenate(pieces)


def final_settings(config: DiffusionConfig) -> Generation:
    """Return how the final samples of a run are drawn."""
    return Generation(config.sampler, config.sample_steps, config.guidance, grid=config.time_grid)


def evaluation_hook(task: "DiffusionTask", log: runs.Logger) -> Callable[[int, training.TrainState], dict[str, float]]:
    """Return a hook for `fit`: the held-out loss of the moving average, the learning rate, pictures of all classes."""

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        label, settings = classes_in_turn(_SHOWN, task.config.classes), final_settings(task.config)
        pieces = generate(training.seed_key(task.config.seed), task.diffusion, state.ema_params, label, settings)
        images = np.concatenate([to_grey(piece.images) for piece in pieces])
        if images.ndim == 3:
            log.images(step, "samples", images)
        return {
            "held_out_loss": float(held_out_losses(task, state.ema_params).mean()),
            "learning_rate": float(task.learning_rate(step - 1)),
        }

    return hook


def last_epoch_loss(records: Sequence[Mapping[str, float]], task: "DiffusionTask") -> Mean:
    """Return the mean training loss over the records of the last epoch, and its error over these records."""
    first = task.steps - len(task.train) / task.config.batch_size
    losses = [record["mse"] for record in records if "mse" in record and record["step"] > first]
    return mean_of(np.asarray(losses))
