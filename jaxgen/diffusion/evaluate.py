"""What is measured of a diffusion model: on the way, and at the end."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Key, PyTree, UInt8
from tqdm import tqdm

from jaxgen import runs, training
from jaxgen.data import evaluation_slices
from jaxgen.diffusion.config import build_objective
from jaxgen.diffusion.guidance import network
from jaxgen.diffusion.likelihood import Bound
from jaxgen.diffusion.model import Diffusion, Generation, bound_of_images, generate, to_grey
from jaxgen.diffusion.objectives import Objective, draw, example_losses, to_unit
from jaxgen.diffusion.process import Process
from jaxgen.diffusion.task import DiffusionTask
from jaxgen.diffusion.unet import N_CLASSES, UNet

_HELD_OUT = 1024
_BATCH = 128
_SHOWN = 40


class Mean(NamedTuple):
    """A mean and its standard error."""

    value: float
    error: float


def mean_of(values: Float[np.ndarray, "n"]) -> Mean:
    """Of independent values; the error of a single one is nan."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(float(values.mean()), float(error))


def held_out_losses(task: DiffusionTask, params: PyTree, n: int = _HELD_OUT) -> Float[np.ndarray, "n"]:
    """The mean squared error on each of the first n held-out images, no label left out.

    Times and noise of image k follow from k alone, so that two models with one T meet the same noisy images.
    """
    objective = build_objective(task.config)._replace(label_dropout=0.0)
    run = functools.partial(_losses, task.diffusion.unet, objective, task.diffusion.process, params)
    images, labels = task.held_out[:n], task.held_out_label[:n].astype(np.int32)
    return np.concatenate([run(*rows) for rows in _whole_batches(images, labels)])[: len(images)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _losses(unet: UNet, objective: Objective, process: Process, params: PyTree, images, labels, index):
    x0 = to_unit(images)
    draws = draw(jax.random.key(0), index, process.n_steps, x0.shape[1:], 0.0)
    return example_losses(network(unet, params), objective, process, x0, labels, draws)[1]["mse"]


def likelihood_bound(task: DiffusionTask, params: PyTree, n: int) -> Bound:
    """The bound of the first n held-out images given their classes, in bits per pixel."""
    images, labels = task.held_out[:n], task.held_out_label[:n].astype(np.int32)
    key, pieces = jax.random.key(task.config.seed), []
    with tqdm(total=len(images), desc="likelihood bound", unit="image") as bar:
        for rows in _whole_batches(images, labels):
            found = bound_of_images(key, task.diffusion, params, *rows)
            pieces.append(jax.device_get(found))
            bar.update(min(len(rows[0]), bar.total - bar.n))
    return Bound(*(np.concatenate(part)[: len(images)] for part in zip(*pieces, strict=True)))


def _whole_batches(images: UInt8[np.ndarray, "n 28 28"], labels: Int[np.ndarray, "n"]):
    """Images, labels and indices in batches of one size, the last one padded, so that one program serves all."""
    size = min(_BATCH, len(images))
    for part in evaluation_slices(len(images), size):
        index = np.arange(part.start, part.start + size, dtype=np.uint32)
        row = np.minimum(index, len(images) - 1)
        yield images[row], labels[row], index


def classes_in_turn(n: int) -> Int[np.ndarray, "n"]:
    """0, 1, ... 9, 0, 1, ..."""
    return np.arange(n, dtype=np.int32) % N_CLASSES


def draw_images(
    key: Key, diffusion: Diffusion, params: PyTree, label: Int[np.ndarray, "n"], settings: Generation
) -> UInt8[np.ndarray, "n 28 28"]:
    """Grey images of the classes `label`, with a progress bar."""
    pieces = []
    with tqdm(total=len(label), desc=f"{settings.sampler}, {settings.steps} steps", unit="image") as bar:
        for found in generate(key, diffusion, params, label, settings):
            pieces.append(to_grey(found.images))
            bar.update(len(pieces[-1]))
    return np.concatenate(pieces)


def final_settings(task: DiffusionTask) -> Generation:
    """How a run's final samples are drawn."""
    config = task.config
    return Generation(config.sampler, config.sample_steps, config.guidance)


def evaluation_hook(task: DiffusionTask, log: runs.Logger) -> Callable[[int, training.TrainState], dict[str, float]]:
    """A hook for `fit`: the held-out loss of the moving average, the learning rate, and pictures of all classes."""

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        key = jax.random.key(task.config.seed)
        pieces = generate(key, task.diffusion, state.ema_params, classes_in_turn(_SHOWN), final_settings(task))
        log.images(step, "samples", np.concatenate([to_grey(found.images) for found in pieces]))
        return {
            "held_out_loss": float(held_out_losses(task, state.ema_params).mean()),
            "learning_rate": float(task.learning_rate(step - 1)),
        }

    return hook


def last_epoch_loss(records: Sequence[Mapping[str, float]], task: DiffusionTask) -> Mean:
    """The mean training loss over the records of the last epoch, and its error over these records."""
    first = task.steps - len(task.train) / task.config.batch_size
    kept = [record["mse"] for record in records if "mse" in record and record["step"] > first]
    return mean_of(np.asarray(kept))


def final_rows(
    task: DiffusionTask, params: PyTree, records: Sequence[Mapping[str, float]], seconds: float
) -> list[runs.Row]:
    """The numbers of a trained model, without those of the panel. `seconds` is what training took in this process."""
    config = task.config
    last, held = last_epoch_loss(records, task), mean_of(held_out_losses(task, params, len(task.held_out)))
    bound = likelihood_bound(task, params, config.likelihood_images)
    total = mean_of(bound.total)
    parts = {"L_T": bound.prior, "L_1 to L_(T-1)": bound.steps[:, 1:].sum(1), "L_0": bound.steps[:, 0]}
    what = {"eps": "noise", "x0": "image", "v": "velocity"}[config.prediction]
    terms = ", ".join(f"{name} {float(np.mean(value)):.3g}" for name, value in parts.items())
    n = len(bound.total)
    return [
        runs.Row("parameters", sum(leaf.size for leaf in jax.tree.leaves(params))),
        runs.Row("updates", task.steps, note=f"{seconds:.0f} s in this process, {config.batch_size} images each"),
        runs.Row("training loss, last epoch", last.value, note=f"mean squared error of the {what}"),
        runs.Row(
            "held-out loss, moving average",
            held.value,
            note=f"standard error {held.error:.1g}; {len(task.held_out)} images, a time each",
        ),
        runs.Row(
            "negative log-likelihood, at most",
            total.value,
            "bits/dim",
            note=f"standard error {total.error:.1g}; {n} held-out images given their class; {terms}",
        ),
    ]
