"""Curves of a training run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgen.errors import UserError
from jaxgen.visualization.grids import save_figure

Curve = tuple[Sequence[float], Sequence[float]]


def curves_figure(
    path: str | Path, panels: Mapping[str, Mapping[str, Curve]], *, xlabel: str, log: Sequence[str] = ()
) -> None:
    """Write a figure with one panel a quantity.

    Args:
        path: .png, .pdf or .svg.
        panels: title -> {name of a curve: (x values, y values)}.
        xlabel: of every panel.
        log: titles of the panels with a logarithmic y axis.

    Raises:
        UserError: no panels.
    """
    if not panels:
        raise UserError("panels is empty; allowed: one or more")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), dpi=120, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for name, (x, y) in curves.items():
            axis.plot(x, y, label=name, linewidth=1.2, marker="." if len(x) < 20 else None)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(xlabel, fontsize=9)
        axis.tick_params(which="both", labelsize=8)
        if all(float(place).is_integer() for x, _ in curves.values() for place in x):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if title in log:
            axis.set_yscale("log")
        if len(curves) > 1:
            axis.legend(fontsize=8)
    save_figure(path, figure)
