"""Figures of samples: beside the images whose upper rows were clamped, and as an animation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Array, UInt8

from jaxgen import data, visualization

_LAST_SHOWN = 20  # number of times the last frame is repeated


def samples_figure(
    path: Path,
    states: UInt8[Array, "n H W"],
    reference: UInt8[Array, "n H W"],
    levels: int,
    title: str,
    clamp_top: int = 0,
) -> None:
    """Write samples; with `clamp_top` > 0 also the images whose upper rows were clamped, and these rows."""
    panels = [(title, states, levels)]
    if clamp_top:
        held = reference.at[:, clamp_top:].set(0)
        panels = [("test images", reference, levels), (f"upper {clamp_top} rows clamped", held, levels), *panels]
    visualization.samples_figure(path, panels)


def of_classes(label: Array | None) -> str:
    """Return which classes the samples have, as a part of a title; "" for a model without classes."""
    if label is None:
        return ""
    classes = np.unique(label).tolist()
    if len(classes) == 1:
        return f", class {classes[0]}"
    whole = classes[-1] - classes[0] < len(classes)
    return ", classes " + (f"{classes[0]} to {classes[-1]}" if whole else ", ".join(map(str, classes)))


def animation(path: Path, frames: Sequence[UInt8[Array, "n H W"]], levels: int) -> None:
    """Write the states of all frames as a GIF."""
    grids = [visualization.image_grid(data.decode(frame, levels)) for frame in frames]
    visualization.save_gif(path, [*grids, *[grids[-1]] * _LAST_SHOWN], fps=15, scale=2)
