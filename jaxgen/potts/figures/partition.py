"""The figure of the bracket of log Z by number of temperatures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jaxgen import visualization
from jaxgen.potts.likelihood.partition import Partition

_COLUMNS = 5


def partition_figure(
    path: str | Path, brackets: Mapping[int | None, Sequence[Partition]], lengths: Sequence[int]
) -> None:
    """Draw log Z from below and above by number of temperatures, minus the last one from below, with bars of 2 errors.

    Args:
        path: .png, .pdf or .svg.
        brackets: for each class, or for None, one bracket per length.
        lengths: numbers of temperatures, in ascending order.
    """
    columns = min(_COLUMNS, len(brackets))
    rows = -(-len(brackets) // columns)
    figure = Figure(figsize=(max(5.5, 3.2 * columns), 3.4 * rows), dpi=120, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(brackets) :]:
        axis.set_axis_off()
    for axis, (y, partitions) in zip(axes, brackets.items(), strict=False):
        last = partitions[-1].low.log_z
        ends = {
            "from samples of the model down": [p.high for p in partitions],
            "from independent pixels up": [p.low for p in partitions],
        }
        for name, estimates in ends.items():
            heights, bars = [f.log_z - last for f in estimates], [2 * f.standard_error for f in estimates]
            axis.errorbar(lengths, heights, bars, label=name, marker="o", markersize=3, capsize=3, linewidth=1.2)
        axis.set_xscale("log")
        axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        axis.set_title(f"log Z = {last:.2f} nats" if y is None else f"class {y}: log Z = {last:.2f} nats", fontsize=10)
        axis.set_xlabel("temperatures", fontsize=9)
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("estimate minus log Z (nats)", fontsize=9)
    axes[0].legend(fontsize=8)
    visualization.save_figure(path, figure)
