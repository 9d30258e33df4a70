"""Figures of a diffusion run, of drawn samples and of the study."""

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgen import runs, visualization
from jaxgen.diffusion.evaluate import classes_in_turn
from jaxgen.diffusion.model import to_grey

if typing.TYPE_CHECKING:
    from jaxgen.diffusion.task import DiffusionTask

Curves = Mapping[str, Float[np.ndarray, "epochs"]]
Grids = Mapping[str, Mapping[float, UInt8[np.ndarray, "n height width"]]]
_FRAMES, _HELD = 60, 20


def samples_figure(path: Path, task: "DiffusionTask", images: UInt8[np.ndarray, "n ..."], how: str) -> None:
    """Write training images beside samples, one class per column."""
    classes = task.config.classes
    label = classes_in_turn(len(images), classes)
    members = [np.flatnonzero(task.train_label == k) for k in range(classes)]
    real = task.train[[members[k][place // classes] for place, k in enumerate(label)]]
    panels = [("training images", real), (f"samples, {how}", images)]
    visualization.samples_figure(path, panels, columns=classes)


def curves_figure(path: Path, records: Sequence[dict[str, float]]) -> None:
    """Write the curves of the losses, the gradient norm and the speed by step."""
    panels = {
        "mean squared error": {
            "training": runs.curve(records, "mse"),
            "held out, moving average": runs.curve(records, "held_out_loss"),
        },
        "gradient norm before clipping": {"": runs.curve(records, "grad_norm")},
        "images per second": {"": runs.curve(records, "images_per_s")},
    }
    log = ["mean squared error", "gradient norm before clipping"]
    visualization.curves_figure(path, panels, xlabel="step", log=log)


def animation(path: Path, states: Float[np.ndarray, "steps n height width channels"]) -> None:
    """Write an animation of at most 60 of the states from noise to images; the last one is held."""
    steps = np.unique(np.linspace(0, len(states) - 1, min(_FRAMES, len(states))).astype(int))
    grids = [visualization.image_grid(to_grey(states[k])) for k in steps]
    visualization.save_gif(path, [*grids, *[grids[-1]] * _HELD], fps=15, scale=2)


def loss_figure(path: str | Path, curves: Curves, notebook: Mapping[str, tuple[float, float]]) -> None:
    """Write the mean training loss of every epoch, one line per configuration.

    Args:
        path: .png.
        curves: configuration -> losses.
        notebook: configuration -> losses of the first and the last epoch in the original notebook, drawn as crosses.
    """
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for (name, losses), mark in zip(curves.items(), "osv^Dxp*", strict=False):
        epochs = np.arange(1, len(losses) + 1)
        (line,) = axes.plot(epochs, losses, label=name, marker=mark, markersize=4, linewidth=1.2)
        axes.plot(epochs[[0, -1]], notebook[name], "x", color=line.get_color(), label=f"{name}, original notebook")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error of the noise")
    axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right upper", fontsize=8)
    visualization.save_figure(path, figure)


def comparison_figure(path: str | Path, digit: int, grids: Grids) -> None:
    """Write samples of one digit: one row per configuration, one column per guidance.

    Args:
        path: .png.
        digit: the class of all samples.
        grids: configuration -> {guidance: images}.
    """
    guidances = list(next(iter(grids.values())))
    size = 1.5  # inches per grid
    figure = Figure(figsize=(size * len(guidances) + 2.6, size * len(grids) + 0.7), dpi=100, layout="constrained")
    cells = figure.subplots(len(grids), len(guidances), squeeze=False)
    for axes, w in zip(cells[0], guidances, strict=True):
        axes.set_title(f"w = {w:g}", fontsize=10)
    for row, (name, by_guidance) in zip(cells, grids.items(), strict=True):
        for axes, images in zip(row, by_guidance.values(), strict=True):
            axes.imshow(visualization.image_grid(images), cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.suptitle(f"Samples conditioned on the digit {digit}; w = 0 ignores the label", fontsize=11)
    visualization.save_figure(path, figure)
