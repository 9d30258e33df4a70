"""Pictures of a comparison: accuracy by epoch; last accuracy, differences, parameters, displacement; the diagnosis."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgen.errors import UserError
from jaxgen.pmflow.comparison import SOURCE_ACCURACY, contrasts, interval
from jaxgen.pmflow.diagnosis import GAUSSIAN_SCALE, Diagnosis
from jaxgen.pmflow.evaluate import Trained
from jaxgen.visualization import save_figure

_FAMILIES = {"MLP": ("mlp",), "BNN": ("bnn", "leaky"), "CNN": ("cnn",)}
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:gray", "tab:cyan")


def accuracy_figure(path: str | Path, found: Sequence[Trained], sources: bool = False) -> None:
    """Test (solid) and training accuracy (dotted) by epoch, a panel a family; the band is the range of the seeds.

    `sources` draws the source's own accuracies as crosses. ValueError if nothing was trained.
    """
    if not found:
        raise UserError("found: got none; allowed: one or more trained models")
    families = [[m for m in found if _family(m.name) == family] for family in _FAMILIES]
    families = [family for family in families if family]
    figure = Figure(figsize=(5 * len(families), 4.2), dpi=100, layout="constrained")
    for axis, family in zip(figure.subplots(1, len(families), squeeze=False)[0], families, strict=True):
        for model, colour in zip(family, _COLOURS, strict=False):
            tests = 100 * model.accuracy
            epochs = np.arange(1, tests.shape[1] + 1)
            axis.plot(epochs, tests.mean(0), color=colour, marker=".", label=model.label)
            axis.fill_between(epochs, tests.min(0), tests.max(0), color=colour, alpha=0.15, linewidth=0)
            axis.plot(epochs, 100 * model.train_accuracy, color=colour, linestyle=":", linewidth=1)
            if sources:
                known = SOURCE_ACCURACY[model.name][: len(epochs)]
                axis.plot(epochs[: len(known)], known, "x", color=colour, label=f"{model.label}, source")
        lowest = min(m.accuracy.min() for m in family)
        axis.set_ylim(100 * lowest - 1.5, None if lowest < 0.9 else 100)
        axis.set_title(_family(family[0].name))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _label(axis, "epoch", "accuracy (%)")
        axis.legend(fontsize=8, loc="lower right")
    figure.suptitle(
        "accuracy: test (solid, band: range of the seeds),\ntraining (dotted, mean of the epoch)", fontsize=11
    )
    save_figure(path, figure)


def comparison_figure(path: str | Path, found: Sequence[Trained]) -> None:
    """Last accuracy with 95 % intervals, paired differences, parameters against accuracy, displacement by the flow."""
    figure = Figure(figsize=(13, 8.5), dpi=90, layout="constrained")
    (last, differences), (size, moved) = figure.subplots(2, 2)
    _last(last, found)
    _differences(differences, found)
    for model in found:
        value = interval(100 * model.accuracy[:, -1])
        size.errorbar(model.parameters, value.mean, value.half, fmt="o", color=_colour(model), capsize=3)
    size.xaxis.set_major_formatter("{x:,.0f}")
    _label(size, "parameters", "last test accuracy (%)")
    size.set_title("parameters against accuracy", fontsize=11)
    for family in dict.fromkeys(_family(model.name) for model in found):
        size.plot([], [], "o", color=_colour(family.lower()), label=family)
    size.legend(fontsize=8)
    _displacement(moved, found)
    save_figure(path, figure)


def diagnosis_figure(path: str | Path, found: Diagnosis) -> None:
    """Eigenvalues, accuracy and changed predictions against batch size."""
    figure = Figure(figsize=(12, 3.8), dpi=100, layout="constrained")
    eigenvalues, accuracy, changed = figure.subplots(1, 3)
    eigenvalues.plot(found.sizes, found.gaussian, marker="o", label=f"normal latents, sd {GAUSSIAN_SCALE}")
    eigenvalues.plot(found.sizes, found.trained, marker="s", label=f"trained latents, rms {found.latent_scale:.2g}")
    eigenvalues.axhspan(-1, 1, color="tab:green", alpha=0.12, label="stable: -1 to 1")
    eigenvalues.set_title("smallest eigenvalue of I + 0.05 K")
    eigenvalues.legend(fontsize=8)
    for axis, values, title in (
        (accuracy, found.accuracy, "test accuracy (%)"),
        (changed, found.changed, "labels changed by batch mates (%)"),
    ):
        mean, low, high = (100 * pick(values, axis=0) for pick in (np.mean, np.min, np.max))
        axis.plot(found.sizes, mean, marker="o", label="mean, range of the seeds")
        axis.fill_between(found.sizes, low, high, alpha=0.2, linewidth=0)
        axis.axvline(found.trained_with, color="black", linestyle="--", linewidth=1, label="batch size of training")
        axis.set_title(title)
        axis.legend(fontsize=8)
    for axis in (eigenvalues, accuracy, changed):
        axis.set_xscale("log", base=2)
        axis.set_xticks(found.sizes, [str(size) for size in found.sizes])
        _label(axis, "batch size", "")
    save_figure(path, figure)


def _last(axis: Axes, found: Sequence[Trained]) -> None:
    ordered = sorted(found, key=lambda model: model.accuracy[:, -1].mean())
    values = [interval(100 * model.accuracy[:, -1]) for model in ordered]
    means = [value.mean for value in values]
    halves = np.nan_to_num([value.half for value in values])
    axis.barh(range(len(ordered)), means, xerr=halves, color=[_colour(m) for m in ordered], alpha=0.75, capsize=3)
    for place, (value, half) in enumerate(zip(means, halves, strict=True)):
        axis.annotate(
            f"{value:.2f}", (value + half, place), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(range(len(ordered)), [model.label for model in ordered], fontsize=8)
    # A bar's length means something only from its start, so the start is written on the axis.
    low = min(value - half for value, half in zip(means, halves, strict=True))
    high = max(value + half for value, half in zip(means, halves, strict=True))
    margin = max(0.2, 0.15 * (high - low))
    axis.set_xlim(low - margin, high + 2 * margin)
    axis.set_title("last test accuracy, mean of the seeds, 95 % interval", fontsize=11)
    _label(axis, "% (axis does not start at 0)", "")


def _differences(axis: Axes, found: Sequence[Trained]) -> None:
    pairs = contrasts(found)[::-1]
    axis.set_title("paired differences, 95 % intervals (filled: of the flow)", fontsize=11)
    axis.axvline(0, color="black", linewidth=1)
    for place, pair in enumerate(pairs):
        half = np.nan_to_num(pair.difference.half)
        face = "tab:red" if pair.contrast.about_flow else "white"
        axis.errorbar(pair.difference.mean, place, xerr=half, fmt="o", color="tab:red", markerfacecolor=face, capsize=3)
    axis.set_yticks(range(len(pairs)), [pair.contrast.question for pair in pairs], fontsize=8)
    if not pairs:
        axis.text(0.5, 0.5, "no model beside its control", ha="center", transform=axis.transAxes)
    _label(axis, "difference of test accuracy (points)", "")


def _displacement(axis: Axes, found: Sequence[Trained]) -> None:
    axis.set_title("flow displacement: mean |moved| / mean |latent|", fontsize=11)
    moving = [model for model in found if model.displacement is not None]
    for place, model in enumerate(moving):
        epochs = np.arange(1, len(model.displacement) + 1)
        label = f"{model.label} (latent rms {model.latent_scale[-1]:.2g})"
        style = ("-", "--", ":", "-.")[place % 4]
        axis.plot(epochs, 100 * model.displacement, style, marker=".", color=_COLOURS[place], label=label)
    if moving:
        axis.set_yscale("log")
        axis.legend(fontsize=7)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axis, "epoch", "%")


def _family(name: str) -> str:
    return next(family for family, words in list(_FAMILIES.items())[::-1] if any(word in name for word in words))


def _colour(model: Trained | str) -> str:
    name = model if isinstance(model, str) else model.name
    return {"MLP": "tab:blue", "BNN": "tab:green", "CNN": "tab:purple"}[_family(name)]


def _label(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
