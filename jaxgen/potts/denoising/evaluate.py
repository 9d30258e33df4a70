"""What is measured of a denoising machine, during and after training."""

import time
import typing
from collections.abc import Callable

import jax
import numpy as np

from jaxgen import data, runs, training
from jaxgen.potts.denoising.generate import Generation, generate
from jaxgen.potts.studies.energy.thermodynamic import project_bipartite

if typing.TYPE_CHECKING:
    from jaxgen import evaluation
    from jaxgen.potts.denoising.task import DenoisingTask

_SHOWN = 100
_TIMED = 1000


def evaluation_hook(task: "DenoisingTask", log: runs.Logger) -> Callable[[int, training.TrainState], dict[str, float]]:
    """Return a hook for `fit` that draws samples with the averaged parameters and measures conditional accuracy."""
    label = task.draw_labels(_TIMED)

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        images = generate(task.key("evaluation"), task.model(state.ema_params), label, final_generation(task))
        grey = data.decode(images, task.config.levels)
        log.images(step, "samples", grey[:_SHOWN])
        record = {"learning_rate": float(state.opt_state.hyperparams["learning_rate"])}
        real = (data.decode(task_images(task, len(images)), task.config.levels) > 0).mean()
        return record | {"ink_ratio": float((grey > 0).mean() / real)}

    return hook


def task_images(task: "DenoisingTask", n: int) -> np.ndarray:
    """Return the first n training images as states, binarised where the machine is binary."""
    rows = task.train[:n]
    if task.config.levels == 2:
        rows = np.asarray(data.binarize(jax.random.key(0), rows, np.arange(len(rows))))
    return task.model({}).images(rows)


def final_generation(task: "DenoisingTask") -> Generation:
    """Return the settings with which the config has images drawn."""
    return Generation(task.config.sweeps, task.config.guidance, task.config.last_beta)


def report(task: "DenoisingTask", state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
    """Draw images of every class, save them, plot them and evaluate them."""
    from jaxgen.potts.figures import denoising  # here, so that the library does without a plotting library

    config, model = task.config, task.model(state.ema_params)
    label, how = task.draw_labels(config.samples), final_generation(task)
    generate(task.key("samples"), model, label, how)  # compile, so that the speed is that of sampling
    start = time.perf_counter()
    images = generate(task.key("samples"), model, label, how)
    seconds = time.perf_counter() - start
    labels = {"labels": label.astype(np.uint8)} if config.labels else {}
    with runs.atomic_write(folder.samples / "final.npz") as temporary:
        np.savez_compressed(temporary, states=images, levels=config.levels, **labels)
    records = runs.read_metrics(folder.path / "metrics.jsonl")
    denoising.samples_figure(folder.figures / "samples.png", task, images)
    denoising.curves_figure(folder.figures / "curves.png", records)
    denoising.levels_gif(folder.figures / "levels.gif", task, model)
    rows = [
        runs.Row("parameters", sum(leaf.size for leaf in jax.tree.leaves(state.params))),
        runs.Row("training time", runs.training_seconds(records, config.batch_size), "s"),
        runs.Row("samples per second", len(images) / seconds, "", "", f"{how.sweeps} sweeps per noise level"),
        *cost(task, how.sweeps * config.noise_steps),
        *judge(task, images, label),
    ]
    files = [folder.figures / name for name in ("samples.png", "levels.gif")]
    return runs.Report(task.title, "Potts energy-based model", rows, files)


def cost(task: "DenoisingTask", sweeps: int) -> list[runs.Row]:
    """Return the site updates of an image, and the energy that they are projected to take on thermodynamic hardware."""
    machine = task.machine
    cycles, read, _ = project_bipartite(machine.n_pixels, machine.n_hidden, machine.levels, sweeps)
    note = f"{sweeps} sweeps of {machine.n_pixels} visible and {machine.n_hidden} hidden units"
    return [
        runs.Row("site updates per sample", sweeps * (machine.n_pixels + machine.n_hidden), note=note),
        runs.Row("projected energy per sample", cycles + read, "J", note="thermodynamic hardware, with read-out"),
    ]


def judge(task: "DenoisingTask", images: np.ndarray, label: np.ndarray) -> list[runs.Row]:
    """Return the rows of the evaluation panel; no rows for too few images or images of another size."""
    from jaxgen import evaluation  # here, so that the library does without a plotting library

    config = task.config
    source = config.dataset, config.images, config.data_dir
    reference = evaluation.reference_for(len(images), *source, config.levels)
    if reference is None:
        return []
    grey = data.decode(images, config.levels)
    result = evaluation.evaluate(grey, label.astype(np.uint8) if config.labels else None, reference)
    return evaluation.rows(result) + ([binarization_floor(task, reference, len(images))] if config.levels == 2 else [])


def binarization_floor(task: "DenoisingTask", reference: "evaluation.Reference", n: int) -> runs.Row:
    """Return the Frechet distance of training images whose white is drawn, as the machine sees them.

    The panel's real images are cut at half grey, so that drawing alone has a distance; no machine trained on drawn
    images can be expected below it.
    """
    from jaxgen import evaluation

    config = task.config
    dataset = data.open(config.dataset, config.images, config.data_dir).grey()
    drawn = task.coded(task.key("evaluation"), data.split(dataset, "train")[0][:n])
    moments = evaluation.moments(reference.features(data.decode(drawn, config.levels)))
    distance = evaluation.frechet_distance(moments, evaluation.moments(reference.test_features))
    note = f"{len(drawn):,} training images, white with the probability that the grey states"
    return runs.Row("Frechet distance of binarised training images", distance, note=note)
