"""Grids of grey images: as an array, an image file, an animation and a figure with several labelled grids.

Grey is 0 (black) to 255 (white) throughout. Files are written under a temporary name and renamed, so a reader never
sees half of one.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, UInt8
from matplotlib.figure import Figure
from PIL import Image

from jaxgen.data.levels import decode
from jaxgen.errors import UserError
from jaxgen.runs.atomic import atomic_write

# Neither black nor white, so that images are told apart whatever their background.
_SEPARATOR = 128
_TITLE_WIDTH = 42  # characters per line of a panel's title


class Panel(NamedTuple):
    """One labelled grid of `samples_figure`.

    `images` are as for `image_grid`, or, if `levels` is given, states 0 to levels - 1 to be decoded first.
    """

    title: str
    images: Float[Array | np.ndarray, "n h w"] | UInt8[Array | np.ndarray, "n h w"]
    levels: int | None = None


def image_grid(
    images: Float[Array | np.ndarray, "n h w"] | UInt8[Array | np.ndarray, "n h w"],
    columns: int | None = None,
    pad: int = 1,
) -> UInt8[np.ndarray, "height width"]:
    """Return images side by side, row by row, with grey lines between them; unused cells are grey as well.

    Args:
        images: uint8 grey, or float in [0, 1].
        columns: images a row; by default the smallest grid at least as wide as it is high.
        pad: width in pixels of the lines between images; 0 or more.

    Returns:
        uint8 grey, of shape (rows (h + pad) - pad, columns (w + pad) - pad).

    Raises:
        UserError: not (n, h, w) or empty; another dtype; floats outside [0, 1] or not finite; columns < 1; pad < 0.
    """
    grey = _as_grey(images)
    count, height, width = grey.shape
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    if columns < 1:
        raise UserError(f"columns is {columns}; allowed: 1 or more")
    if pad < 0:
        raise UserError(f"pad is {pad}; allowed: 0 or more")
    rows = math.ceil(count / columns)
    cells = np.full((rows * columns, height + pad, width + pad), _SEPARATOR, np.uint8)
    cells[:count, :height, :width] = grey
    grid = cells.reshape(rows, columns, height + pad, width + pad).swapaxes(1, 2)
    grid = grid.reshape(rows * (height + pad), columns * (width + pad))
    return grid[: rows * (height + pad) - pad, : columns * (width + pad) - pad]


def save_image(path: str | Path, array: UInt8[Array | np.ndarray, "h w"], scale: int = 1) -> None:
    """Write one grey image as a PNG file, every pixel drawn as a square of scale x scale.

    Args:
        path: ends in .png; its folder is made if it is missing.
        array: uint8 grey, for example from `image_grid`.
        scale: side of the square, in pixels; 1 or more.

    Raises:
        UserError: another ending, an array that is not 2-D uint8, or scale < 1.
    """
    _check_suffix(path, ".png")
    picture = _enlarged(array, scale)
    with atomic_write(path) as temporary:
        picture.save(temporary)


def save_gif(path: str | Path, frames: Sequence[UInt8[Array | np.ndarray, "h w"]], fps: float, scale: int = 1) -> None:
    """Write grey images of one size as an animation that repeats for ever.

    Args:
        path: ends in .gif; its folder is made if it is missing.
        frames: at least one; uint8 grey.
        fps: frames per second, 0.01 to 50. GIF keeps time in steps of 10 ms, to which 1 / fps is rounded,
            and viewers slow down what is faster than 50.
        scale: side, in pixels, of the square drawn for a pixel; 1 or more.

    Raises:
        UserError: another ending, no frames, frames of several shapes or not 2-D uint8, fps or scale out of range.
    """
    _check_suffix(path, ".gif")
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        raise UserError(f"frames has shapes {sorted(shapes)}; allowed: one or more frames, all of one shape")
    if not 0.01 <= fps <= 50:
        raise UserError(f"fps is {fps}; allowed: 0.01 to 50")
    pictures = [_enlarged(frame, scale) for frame in frames]
    with atomic_write(path) as temporary:
        pictures[0].save(
            temporary, save_all=True, append_images=pictures[1:], duration=10 * round(100 / fps), loop=0, optimize=False
        )


def samples_figure(
    path: str | Path, panels: Sequence[Panel | tuple], *, columns: int | None = None, title: str | None = None
) -> None:
    """Write a figure of labelled grids side by side, such as training data beside samples.

    Args:
        path: .png, .pdf or .svg; its folder is made if it is missing.
        panels: (title, images) or (title, images, levels), left to right; see `Panel`.
        columns: images a row in each grid; by default about square grids.
        title: of the whole figure.

    Raises:
        UserError: another ending, no panels, or a panel's images or levels that `image_grid` or `decode` refuses.
    """
    _check_suffix(path, ".png", ".pdf", ".svg")
    panels = [Panel(*panel) for panel in panels]
    if not panels:
        raise UserError("panels is empty; allowed: one or more")
    grids = [
        image_grid(panel.images if panel.levels is None else decode(panel.images, panel.levels), columns)
        for panel in panels
    ]
    panel_width = 3.6  # inches
    heights = [panel_width * grid.shape[0] / grid.shape[1] for grid in grids]
    titles = [textwrap.wrap(panel.title, _TITLE_WIDTH) or [""] for panel in panels]
    above = 0.2 + 0.2 * max(map(len, titles)) + 0.4 * bool(title)
    figure = Figure(figsize=(panel_width * len(panels), max(heights) + above), dpi=150, layout="constrained")
    for axes, lines, grid in zip(figure.subplots(1, len(panels), squeeze=False)[0], titles, grids, strict=True):
        axes.imshow(grid, cmap="gray", vmin=0, vmax=255)
        axes.set_title("\n".join(lines), fontsize=11)
        axes.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=13)
    save_figure(path, figure)


def save_figure(path: str | Path, figure: Figure) -> None:
    """Write a matplotlib figure at its own resolution, atomically; the ending of `path` chooses the format."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=figure.dpi)


def _as_grey(images: np.ndarray | Array) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 3 or images.size == 0:
        raise UserError(f"images has shape {images.shape}; allowed: (n, h, w), not empty")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"images has dtype {images.dtype}; allowed: uint8 grey, or float in [0, 1]")
    if not (images.min() >= 0 and images.max() <= 1):  # so written, the comparison refuses NaN too
        raise UserError(f"images has values {images.min()} to {images.max()}; allowed: float in [0, 1]")
    return np.rint(255 * images).astype(np.uint8)


def _enlarged(array: np.ndarray | Array, scale: int) -> Image.Image:
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype != np.uint8:
        raise UserError(f"array is {array.dtype} of shape {array.shape}; allowed: uint8 of shape (h, w)")
    if scale < 1:
        raise UserError(f"scale is {scale}; allowed: 1 or more")
    height, width = array.shape
    return Image.fromarray(array).resize((width * scale, height * scale), Image.Resampling.NEAREST)


def _check_suffix(path: str | Path, *allowed: str) -> None:
    if Path(path).suffix.lower() not in allowed:
        raise UserError(f"path is {str(path)!r}; allowed: a name that ends in {', '.join(allowed)}")
