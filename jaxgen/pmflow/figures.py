"""Figures of a comparison: accuracy by epoch; last accuracy, paired differences, displacement; the diagnosis."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgen.errors import UserError
from jaxgen.pmflow.comparison import ORIGINAL_ACCURACY, contrasts, interval
from jaxgen.pmflow.diagnosis import GAUSSIAN_SCALE, Diagnosis
from jaxgen.pmflow.evaluate import Trained
from jaxgen.visualization import save_figure

_KINDS = {"MLP": "tab:blue", "BNN": "tab:green", "CNN": "tab:purple"}
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:gray", "tab:cyan")
_COLOURS += ("tab:olive", "tab:pink")


def accuracy_figure(path: str | Path, models: Sequence[Trained], original: bool = False) -> None:
    """Draw test (solid) and training accuracy (dotted) by epoch, one panel per kind; bands are ranges of the seeds.

    `original` adds the accuracies of the original notebook as crosses. UserError if `models` is empty.
    """
    if not models:
        raise UserError("models is empty; allowed: one or more trained models")
    panels = [[m for m in models if m.kind == kind] for kind in _KINDS]
    panels = [panel for panel in panels if panel]
    figure = Figure(figsize=(5 * len(panels), 4.2), dpi=100, layout="constrained")
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for model, colour in zip(panel, _COLOURS, strict=False):
            tests = 100 * model.accuracy
            epochs = np.arange(1, tests.shape[1] + 1)
            axis.plot(epochs, tests.mean(0), color=colour, marker=".", label=model.label)
            axis.fill_between(epochs, tests.min(0), tests.max(0), color=colour, alpha=0.15, linewidth=0)
            axis.plot(epochs, 100 * model.train_accuracy, color=colour, linestyle=":", linewidth=1)
            if original:
                known = ORIGINAL_ACCURACY[model.name][: len(epochs)]
                axis.plot(epochs[: len(known)], known, "x", color=colour, label=f"{model.label}, original notebook")
        lowest = min(m.accuracy.min() for m in panel)
        axis.set_ylim(100 * lowest - 1.5, None if lowest < 0.9 else 100)
        axis.set_title(panel[0].kind)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _label(axis, "epoch", "accuracy (%)")
        axis.legend(fontsize=8, loc="lower right")
    figure.suptitle(
        "accuracy: test (solid; band: range of the seeds),\ntraining (dotted; mean of the epoch)", fontsize=11
    )
    save_figure(path, figure)


def comparison_figure(path: str | Path, models: Sequence[Trained]) -> None:
    """Draw last accuracies, paired differences, the effect of the flow against its displacement, and displacements."""
    figure = Figure(figsize=(13, 8.5), dpi=90, layout="constrained")
    (last, differences), (effect, moved) = figure.subplots(2, 2)
    _last(last, models)
    _differences(differences, models)
    _effect(effect, models)
    _displacement(moved, models)
    save_figure(path, figure)


def diagnosis_figure(path: str | Path, diagnosis: Diagnosis) -> None:
    """Draw eigenvalues, accuracy and changed predictions against the batch size."""
    figure = Figure(figsize=(12, 3.8), dpi=100, layout="constrained")
    eigenvalues, accuracy, changed = figure.subplots(1, 3)
    eigenvalues.plot(diagnosis.sizes, diagnosis.gaussian, marker="o", label=f"normal latents, sd {GAUSSIAN_SCALE}")
    eigenvalues.plot(
        diagnosis.sizes, diagnosis.trained, marker="s", label=f"trained latents, rms {diagnosis.latent_scale:.2g}"
    )
    eigenvalues.axhspan(-1, 1, color="tab:green", alpha=0.12, label="stable: -1 to 1")
    eigenvalues.set_title("smallest eigenvalue of I + 0.05 K")
    eigenvalues.legend(fontsize=8)
    for axis, values, title in (
        (accuracy, diagnosis.accuracy, "test accuracy (%)"),
        (changed, diagnosis.changed, "labels changed by the other images (%)"),
    ):
        mean, low, high = (100 * pick(values, axis=0) for pick in (np.mean, np.min, np.max))
        axis.plot(diagnosis.sizes, mean, marker="o", label="mean, range of the seeds")
        axis.fill_between(diagnosis.sizes, low, high, alpha=0.2, linewidth=0)
        axis.axvline(diagnosis.trained_with, color="black", linestyle="--", linewidth=1, label="batch size of training")
        axis.set_title(title)
        axis.legend(fontsize=8)
    for axis in (eigenvalues, accuracy, changed):
        axis.set_xscale("log", base=2)
        axis.set_xticks(diagnosis.sizes, [str(size) for size in diagnosis.sizes])
        _label(axis, "batch size", "")
    save_figure(path, figure)


def _last(axis: Axes, models: Sequence[Trained]) -> None:
    ordered = sorted(models, key=lambda model: model.accuracy[:, -1].mean())
    values = [interval(100 * model.accuracy[:, -1]) for model in ordered]
    means = [value.mean for value in values]
    below = np.nan_to_num([value.half for value in values])
    above = np.minimum(below, 100 - np.array(means))  # no accuracy is above 100 %
    axis.barh(
        range(len(ordered)), means, xerr=(below, above), color=[_colour(m) for m in ordered], alpha=0.75, capsize=3
    )
    for place, (value, half) in enumerate(zip(means, above, strict=True)):
        axis.annotate(
            f"{value:.2f}", (value + half, place), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(range(len(ordered)), [model.label for model in ordered], fontsize=8)
    # The length of a bar is misleading where the axis does not start at 0, so the label says so.
    low = min(value - half for value, half in zip(means, below, strict=True))
    high = max(value + half for value, half in zip(means, above, strict=True))
    margin = max(0.2, 0.15 * (high - low))
    axis.set_xlim(low - margin, high + 2 * margin)
    axis.set_title("last test accuracy,\nmean of the seeds, 95 % interval", fontsize=11)
    _label(axis, "% (axis does not start at 0)", "")


def _differences(axis: Axes, models: Sequence[Trained]) -> None:
    pairs = contrasts(models)[::-1]
    axis.set_title("paired differences (filled: about the flow),\nsimultaneous 95 % intervals", fontsize=11)
    axis.axvline(0, color="black", linewidth=1)
    for place, pair in enumerate(pairs):
        half = np.nan_to_num(pair.difference.half)
        face = "tab:red" if pair.contrast.about_flow else "white"
        axis.errorbar(pair.difference.mean, place, xerr=half, fmt="o", color="tab:red", markerfacecolor=face, capsize=3)
    axis.set_yticks(range(len(pairs)), [pair.contrast.question for pair in pairs], fontsize=8)
    if not pairs:
        axis.text(0.5, 0.5, "no model beside its control", ha="center", transform=axis.transAxes)
    _label(axis, "difference of test accuracy (points)", "")


def _effect(axis: Axes, models: Sequence[Trained]) -> None:
    """Draw the difference of accuracy of every contrast about the flow against the displacement by its flow."""
    moved = {model.name: model for model in models if model.displacement is not None}
    pairs = [pair for pair in contrasts(models) if pair.contrast.about_flow and pair.contrast.model in moved]
    axis.set_title("effect of the flow against its displacement\n(contrasts of one flow side by side)", fontsize=11)
    axis.axhline(0, color="black", linewidth=1)
    for place, pair in enumerate(pairs):
        before = sum(other.contrast.model == pair.contrast.model for other in pairs[:place])
        x = 100 * moved[pair.contrast.model].displacement[-1] * 1.3**before
        half = np.nan_to_num(pair.difference.half)
        colour = _COLOURS[place % len(_COLOURS)]
        axis.errorbar(x, pair.difference.mean, half, fmt="o", color=colour, capsize=3, label=pair.contrast.question)
    if pairs:
        axis.set_xscale("log")
        low, high = axis.get_ylim()
        axis.set_ylim(low, high + 0.7 * (high - low))  # room for the legend
        axis.legend(fontsize=7, loc="upper left")
    else:
        axis.text(0.5, 0.5, "no contrast about the flow", ha="center", transform=axis.transAxes)
    _label(axis, "displacement of the latents (%)", "difference of test accuracy (points)")


def _displacement(axis: Axes, models: Sequence[Trained]) -> None:
    axis.set_title("displacement by the flow,\nmean |moved| / mean |latent|", fontsize=11)
    moving = [model for model in models if model.displacement is not None]
    for place, model in enumerate(moving):
        epochs = np.arange(1, len(model.displacement) + 1)
        label = f"{model.label} (latent rms {model.latent_scale[-1]:.2g})"
        style = ("-", "--", ":", "-.")[place % 4]
        axis.plot(
            epochs, 100 * model.displacement, style, marker=".", color=_COLOURS[place % len(_COLOURS)], label=label
        )
    if moving:
        axis.set_yscale("log")
        low, high = axis.get_ylim()
        axis.set_ylim(low * (low / high) ** 0.8, high)  # room for the legend
        axis.legend(fontsize=7, loc="lower left")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axis, "epoch", "%")


def _colour(model: Trained) -> str:
    return _KINDS[model.kind]


def _label(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
