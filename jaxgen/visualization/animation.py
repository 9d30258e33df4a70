"""Animations in colour, of figures drawn one after another."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from jaxgen.errors import UserError
from jaxgen.runs.atomic import atomic_write

_PALETTE_FRAMES = 12


def figure_array(figure: Figure) -> UInt8[np.ndarray, "height width 3"]:
    """Return the pixels of a figure at its own resolution."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_colour_gif(
    path: str | Path,
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    milliseconds: Sequence[int],
    colours: int = 64,
) -> None:
    """Write frames as an animation that repeats for ever, all in one palette.

    Args:
        path: ends in .gif; its folder is made if it is missing.
        frames: at least one, all of one shape.
        milliseconds: how long each is shown; GIF keeps steps of 10.
        colours: of the palette, chosen from frames all along; 2 to 256.

    Raises:
        UserError: another ending, no frames, several shapes, or not one time per frame.
    """
    if Path(path).suffix.lower() != ".gif":
        raise UserError(f"path is {str(path)!r}; allowed: a name that ends in .gif")
    frames = [np.asarray(frame, np.uint8) for frame in frames]
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        raise UserError(f"frames has shapes {sorted(shapes)}; allowed: one or more frames, all of one shape")
    if len(milliseconds) != len(frames):
        raise UserError(f"milliseconds holds {len(milliseconds)} for {len(frames)} frames; allowed: one per frame")
    # The first ones as well as some all along: a stride alone could miss every frame of a kind that comes in turn.
    spread = np.linspace(0, len(frames) - 1, _PALETTE_FRAMES).astype(int).tolist()
    chosen = [frames[number] for number in sorted({*range(min(len(frames), _PALETTE_FRAMES)), *spread})]
    # Rare colours count as much as frequent ones.
    cover = Image.Quantize.MAXCOVERAGE
    palette = Image.fromarray(np.concatenate(chosen)).quantize(colours, cover, dither=Image.Dither.NONE)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with atomic_write(path) as temporary:
        pictures[0].save(
            temporary, save_all=True, append_images=pictures[1:], duration=list(milliseconds), loop=0, optimize=False
        )
