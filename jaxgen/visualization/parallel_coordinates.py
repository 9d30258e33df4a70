"""Parallel coordinates (Inselberg 1985): an axis a quantity, a line an object."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from jaxgen.errors import UserError
from jaxgen.visualization.grids import save_figure

_JITTER = 0.03  # of an axis; keeps lines apart that go through the same word


def parallel_coordinates_figure(
    path: str | Path, axes: Mapping[str, Sequence[float] | Sequence[str]], log: Sequence[str] = ()
) -> None:
    """Write a figure with a line an object, coloured by the last axis, the best there on top.

    Args:
        path: .png, .pdf or .svg.
        axes: title -> a value an object. Words are put at equal distances; the last axis must hold numbers.
        log: titles of axes on which numbers are placed by their logarithm.

    Raises:
        ValueError: no objects, axes of different lengths, or words on the last axis.
    """
    lengths = {len(values) for values in axes.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise UserError(f"axes: got {sorted(lengths)} values; allowed: as many on every axis, one or more")
    (n,) = lengths
    *_, last = axes.values()
    if isinstance(last[0], str):
        raise UserError(f"axes: the last, {list(axes)[-1]!r}, holds words; allowed: numbers, which give the colour")
    figure = Figure(figsize=(1.35 * len(axes) + 0.6, 4.6), dpi=110, layout="constrained")
    axis = figure.subplots()
    shift = np.random.default_rng(0).uniform(-_JITTER, _JITTER, (len(axes), n))
    heights = np.stack([_place(axis, k, title, values, title in log, shift[k])
                        for k, (title, values) in enumerate(axes.items())])  # fmt: skip
    order = np.argsort(last)
    colours = matplotlib.colormaps["viridis_r"](np.linspace(0, 1, n))
    for rank, one in enumerate(order):
        best = one == order[-1]
        width = 3.0 if best else 1.2
        colour = "crimson" if best else colours[rank]
        axis.plot(range(len(axes)), heights[:, one], color=colour, linewidth=width, alpha=1.0 if best else 0.7)
    axis.set_xticks(range(len(axes)), list(axes), fontsize=9)
    axis.tick_params(axis="x", length=0, labeltop=True, labelbottom=False)
    axis.set_yticks([])
    axis.set_xlim(-0.35, len(axes) - 0.3)
    axis.set_ylim(-0.08, 1.08)
    for side in axis.spines.values():
        side.set_visible(False)
    save_figure(path, figure)


def _place(axis, k: int, title: str, values: Sequence, log: bool, shift: np.ndarray) -> np.ndarray:
    """Draw axis k with its labels; the height, 0 to 1, of every value."""
    axis.axvline(k, color="0.6", linewidth=1, zorder=0)
    if isinstance(values[0], str):
        words = sorted(set(values), key=_numeric)
        places = {word: (i + 0.5) / len(words) for i, word in enumerate(words)}
        ticks, heights = places.items(), np.array([places[value] for value in values]) + shift
    else:
        scaled = np.log10(values) if log else np.asarray(values, np.float64)
        low, span = scaled.min(), np.ptp(scaled) or 1.0
        marks = np.linspace(low, low + span, 5)
        ticks = [(f"{10**mark if log else mark:.3g}", (mark - low) / span) for mark in marks]
        heights = (scaled - low) / span
    for text, height in ticks:
        axis.text(k + 0.04, height, text, fontsize=8, va="center", zorder=5,
                  bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.5})  # fmt: skip
    return heights


def _numeric(word: str) -> tuple:
    """Numbers by size before words by letters."""
    try:
        return (0, float(word), word)
    except ValueError:
        return (1, 0.0, word)
