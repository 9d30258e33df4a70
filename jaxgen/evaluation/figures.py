"""The picture of an evaluation: samples, their nearest training images, and what class they are read as."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxgen import visualization
from jaxgen.evaluation.panel import FLOOR, Evaluation
from jaxgen.evaluation.reference import Reference
from jaxgen.evaluation.report import FIGURES, shown, title
from jaxgen.evaluation.samples import Samples

_ROWS, _COLUMNS = 8, 10


def summary_figure(path: str | Path, samples: Samples, result: Evaluation, reference: Reference) -> None:
    """Write the figure.

    Args:
        path: .png, .pdf or .svg.
        samples: those evaluated.
        result: their evaluation.
        reference: the one they were evaluated against.
    """
    places = shown_samples(result, samples)
    images = samples.images[result.chosen[result.searched[places]]]
    neighbours = reference.train_images[result.nearest.index[places]]
    figure = Figure(figsize=(13.5, 4.6), dpi=90, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.9))
    by_class = ", sorted by class" if samples.labels is not None else ""
    _grid(left, images, f"samples, not selected{by_class}")
    _grid(middle, neighbours, f"nearest training image of each (copies ratio {shown(result.figures['copies'])})")
    if result.accuracy is None:
        _read_as(right, result, reference)
    else:
        _accuracy(right, result)
    figure.suptitle(
        f"{title(result, FIGURES[0])} {shown(result.figures['frechet'])} "
        f"(real images {shown(result.baselines[FLOOR]['frechet'])}), {result.n:,} samples"
    )
    visualization.save_figure(path, figure)


def shown_samples(result: Evaluation, samples: Samples) -> Int64[np.ndarray, "m"]:
    """Return which of the searched samples the picture shows: evenly spaced, sorted by class down the columns."""
    order = np.arange(len(result.searched))
    if samples.labels is not None:
        order = np.argsort(samples.labels[result.chosen[result.searched]], kind="stable")
    places = order[((np.arange(_ROWS * _COLUMNS) + 0.5) / (_ROWS * _COLUMNS) * len(order)).astype(int)]
    return places.reshape(_COLUMNS, _ROWS).T.ravel()


def _grid(axes: Axes, images: UInt8[np.ndarray, "n h w"], text: str) -> None:
    grid = visualization.image_grid(images, _COLUMNS)
    axes.imshow(grid, cmap="gray", vmin=0, vmax=255)
    axes.set_title(text, fontsize=10)
    axes.set_axis_off()


def _accuracy(axes: Axes, result: Evaluation) -> None:
    """Draw the share read right per class, with Wilson intervals, and the network's own accuracy on test images."""
    for digit, interval in enumerate(result.accuracy.by_class):
        if interval is None:
            axes.text(digit, 0.02, "none", ha="center", fontsize=8, rotation=90)
            continue
        reach = [[interval.value - interval.low], [interval.high - interval.value]]
        axes.bar(digit, interval.value, color="0.6", yerr=reach, capsize=3)
    ceiling = result.baselines[FLOOR]["accuracy"]
    axes.axhline(ceiling, color="C3", linestyle="--", linewidth=1, label=f"real test images, all: {ceiling:.4f}")
    overall = result.accuracy.overall.value
    axes.set(
        xlabel="class asked for", ylabel="share read as that class", ylim=(0, 1.12), xticks=_ticks(len(result.read))
    )
    axes.set_title(f"conditional accuracy {overall:.4f}, 95 % intervals", fontsize=10)
    axes.legend(fontsize=8, loc="upper right")


def _ticks(n_classes: int) -> range:
    """Return about ten classes to be named on the axis, evenly spaced."""
    return range(0, n_classes, -(-n_classes // 10))


def _read_as(axes: Axes, result: Evaluation, reference: Reference) -> None:
    """Draw, for samples without labels, the share read as each class beside that of the test images."""
    n_classes = reference.n_classes
    test = np.bincount(reference.test_labels, minlength=n_classes)
    place = np.arange(n_classes)
    axes.bar(place - 0.2, result.read / result.n, 0.4, color="0.6", label="samples, as read")
    axes.bar(place + 0.2, test / test.sum(), 0.4, color="C3", alpha=0.6, label="test images")
    axes.set(xlabel="class", ylabel="share", xticks=_ticks(n_classes))
    axes.set_title("no labels given: what samples are read as", fontsize=10)
    axes.legend(fontsize=8)
