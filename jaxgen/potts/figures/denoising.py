"""Figures of a denoising machine: samples beside the data, curves, and the levels as an animation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxgen import data, runs, visualization
from jaxgen.potts.denoising.evaluate import final_generation, task_images
from jaxgen.potts.denoising.generate import Denoiser, stages
from jaxgen.potts.denoising.task import DenoisingTask

_COLUMNS, _ROWS = 10, 10


def samples_figure(path: Path, task: DenoisingTask, images: UInt8[np.ndarray, "n H W"]) -> None:
    """Write 100 training images beside the first 100 samples; with classes, one column per class."""
    levels, n = task.config.levels, _COLUMNS * _ROWS
    train = task_images(task, 2000)
    if task.config.labels:
        members = [np.flatnonzero(task.train_label[:2000] == y) for y in range(task.machine.n_classes)]
        train = train[[members[k % len(members)][k // len(members)] for k in range(n)]]
    panels = [("training images", train[:n], levels), ("samples, not selected", images[:n], levels)]
    visualization.samples_figure(path, panels, columns=_COLUMNS)


def curves_figure(path: Path, records: Sequence[dict[str, float]]) -> None:
    """Plot by step: error of level frequencies, gradient norm, share of lit pixels, learning rate."""
    panels = {
        "mean error of level frequencies": {"": runs.curve(records, "level_error")},
        "gradient norm": {"": runs.curve(records, "grad_norm")},
        "lit pixels, samples to data": {"": runs.curve(records, "ink_ratio")},
        "learning rate": {"": runs.curve(records, "learning_rate")},
    }
    log = ["mean error of level frequencies", "gradient norm"]
    visualization.curves_figure(path, panels, xlabel="step", log=log)


def levels_gif(path: Path, task: DenoisingTask, model: Denoiser) -> None:
    """Write an animation of 40 chains: for each noise level its noisy input, then the states after its sweeps."""
    label, frames = np.arange(40) % task.machine.n_classes, []
    for _, states, noisy in stages(task.key("samples"), model, label, final_generation(task)):
        frames += [noisy, states]
    grids = [visualization.image_grid(data.decode(frame, task.config.levels), _COLUMNS) for frame in frames]
    visualization.save_gif(path, [*grids, *[grids[-1]] * 6], fps=2.5, scale=2)
