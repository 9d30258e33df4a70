"""The figure of the comparison of lattices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jaxgen import visualization
from jaxgen.potts.studies.lattices.measure import ANCHOR, LatticeFigures


def lattices_figure(
    path: Path, figures: Mapping[str, LatticeFigures], floor: float, anchor: float | None = ANCHOR
) -> None:
    """Write bars of likelihood, Frechet distance and mixing time, one bar per lattice.

    `anchor` is the published likelihood drawn beside them; None for images of which none is known.
    """
    names = list(figures)
    panels: Sequence[tuple[str, list[float], float | None, str]] = [
        ("log-likelihood (nats)", [figures[n].log_p for n in names], anchor, "RBM, 500 hidden"),
        ("MNIST-Frechet, two levels", [figures[n].frechet for n in names], floor, "binarised training images"),
        ("mixing time (sweeps)", [figures[n].tau or 0.0 for n in names], None, ""),
    ]
    figure = Figure(figsize=(12, 0.42 * len(names) + 1.4), dpi=110, layout="constrained")
    for axis, (title, values, line, what) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        axis.barh(range(len(names)), values, color="C0", height=0.7)
        for place, value in enumerate(values):
            text = "unknown" if title.startswith("mixing") and figures[names[place]].tau is None else f" {value:.4g} "
            axis.text(value, place, text, va="center", ha="right" if value < 0 else "left", fontsize=8)
        axis.margins(x=0.25)
        if line is not None:
            axis.axvline(line, color="black", linestyle="--", linewidth=1)
            axis.set_xlabel(f"dashed: {what}, {line:.4g}", fontsize=9)
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(names)), names, fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
    figure.axes[0].invert_yaxis()
    visualization.save_figure(path, figure)
