"""Pictures of the study."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from jaxgen import visualization

Curves = Mapping[str, Sequence[float]]
Grids = Mapping[str, Mapping[float, UInt8[np.ndarray, "n 28 28"]]]


def loss_figure(path: str | Path, curves: Curves) -> None:
    """The mean training loss of every epoch, a line a configuration."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for (name, losses), mark in zip(curves.items(), "osv^Dxp*", strict=False):
        axes.plot(np.arange(1, len(losses) + 1), losses, label=name, marker=mark, markersize=4, linewidth=1.2)
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error of the noise")
    axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right upper", fontsize=8)
    visualization.save_figure(path, figure)


def comparison_figure(path: str | Path, digit: int, grids: Grids) -> None:
    """Samples of one digit: a row a configuration, a column a guidance.

    Args:
        path: .png.
        digit: what was asked for.
        grids: configuration -> {guidance: images}.
    """
    guidances = list(next(iter(grids.values())))
    size = 1.5  # inches of one grid
    figure = Figure(figsize=(size * len(guidances) + 2.6, size * len(grids) + 0.7), dpi=100, layout="constrained")
    cells = figure.subplots(len(grids), len(guidances), squeeze=False)
    for row, (name, by_guidance) in zip(cells, grids.items(), strict=True):
        for axes, (w, images) in zip(row, by_guidance.items(), strict=True):
            axes.imshow(visualization.image_grid(images), cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            if row is cells[0]:
                axes.set_title(f"w = {w:g}", fontsize=10)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle(f"Asked for the digit {digit}; w = 0 ignores the label", fontsize=11)
    visualization.save_figure(path, figure)
