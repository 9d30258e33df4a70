"""Samples of every digit beside training images."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxgen import visualization
from jaxgen.potts.studies.digits import DigitsTask

_COLUMNS = 10


def digits_figure(
    path: Path, task: DigitsTask, states: UInt8[np.ndarray, "n H W"], labels: UInt8[np.ndarray, "n"]
) -> None:
    """Write one row per digit: ten training images and ten samples, drawn at random."""
    levels, rng = task.config.levels, np.random.default_rng(task.config.seed)
    train, panels = np.asarray(task.train), []
    images = {"training images": (train, task.train_label), "samples": (states, labels)}
    for name, (x, digit) in images.items():
        rows = [rng.choice(np.flatnonzero(digit == y), _COLUMNS, replace=False) for y in task.digits]
        panels.append((name, x[np.concatenate(rows)], levels))
    visualization.samples_figure(path, panels, columns=_COLUMNS)
