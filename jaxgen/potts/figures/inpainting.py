"""The figure of completed images, one row per image: the image, its given pixels, and the completions."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jaxgen.visualization import save_figure

UNKNOWN = (120, 170, 235)  # not a grey, so that an unknown pixel is not read as a level
_GAP = 2  # pixels between images
_LEAST_SIDE = 32  # up to here pixels are drawn larger, so that the gaps stay thin
_INCHES = 1.05  # per column
_LETTERS = 13  # of a title, per column


def inpainting_figure(
    path: Path,
    columns: Sequence[tuple[str, UInt8[np.ndarray, "n H W"]]],
    unknown: tuple[str, Bool[np.ndarray, "n H W"]],
    title: str,
) -> None:
    """Write the figure.

    Args:
        path: file to write.
        columns: heading and greys of every column.
        unknown: heading of the column whose unknown pixels are shown in a separate colour, and their mask.
        title: of the figure.
    """
    scale = max(1, _LEAST_SIDE // max(columns[0][1].shape[1:]))
    columns = [(heading, greys.repeat(scale, 1).repeat(scale, 2)) for heading, greys in columns]
    hidden = unknown[1].repeat(scale, 1).repeat(scale, 2)
    n, height, width = columns[0][1].shape
    canvas = np.full((n, height + _GAP, len(columns), width + _GAP, 3), 255, np.uint8)
    for k, (heading, greys) in enumerate(columns):
        canvas[:, :height, k, :width] = greys[..., None]
        if heading == unknown[0]:
            canvas[:, :height, k, :width][hidden] = UNKNOWN
    canvas = canvas.reshape(n * (height + _GAP), len(columns) * (width + _GAP), 3)[:-_GAP, :-_GAP]
    across = _INCHES * len(columns)
    down = across * canvas.shape[0] / canvas.shape[1]
    figure = Figure(figsize=(across + 0.2, down + 0.9), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, interpolation="nearest")
    axes.set_axis_off()
    for k, (heading, _) in enumerate(columns):
        axes.text((k + 0.5) * (width + _GAP) - 1, -1.5, heading, ha="center", va="bottom", fontsize=9)
    figure.suptitle(textwrap.fill(title, _LETTERS * len(columns)), fontsize=10)
    if hidden.any():
        patch = Patch(color=np.array(UNKNOWN) / 255, label="unknown to the model")
        figure.legend(handles=[patch], loc="outside lower center", fontsize=9, frameon=False)
    save_figure(path, figure)
