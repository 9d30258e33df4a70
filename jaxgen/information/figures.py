"""Figures of a classifier beside its exact bounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxgen.errors import UserError
from jaxgen.information.bounds import Bound
from jaxgen.information.estimators.comparison import ESTIMATORS, Estimate, mean_errors
from jaxgen.information.scaling import Point
from jaxgen.visualization import save_figure

_BOUND = {"color": "black", "linestyle": "--", "linewidth": 1.2}


def analysis_figure(path: str | Path, results: Mapping) -> None:
    """Draw loss and accuracy by epoch, loss by label, and calibration; `results` is the content of mlp_results.json."""
    figure = Figure(figsize=(10, 7), dpi=110, layout="constrained")
    (loss, accuracy), (classes, calibration) = figure.subplots(2, 2)
    history, bound = results["history"], results["analytical_loss"]["nats"]
    epochs = np.arange(1, len(history["train_loss"]) + 1)
    for axis, name, unit in ((loss, "loss", "cross-entropy (nats)"), (accuracy, "accuracy", "accuracy")):
        for part, title in (("train", "training, mean of the epoch"), ("validation", "validation, end of the epoch")):
            axis.plot(epochs, history[f"{part}_{name}"], label=title, marker=".")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _label(axis, "epoch", unit)
    loss.axhline(bound, label=f"bound H(Y|X) = {bound:.4f}", **_BOUND)
    fresh, error = results["mlp_loss"]["nats"], results["excess_risk_error"]["nats"]
    title = f"excess {results['cell_average_excess']['nats']:.4f} nats; fresh examples {fresh:.4f} ± {error:.4f}"
    note = crossing_note(bound, history["train_loss"], history["validation_loss"], below=True)
    loss.set_title(title + note, fontsize=9)
    best = results["bayes_accuracy"]
    accuracy.axhline(best, label=f"Bayes accuracy {best:.4f}", **_BOUND)
    title = f"fresh examples: accuracy {results['mlp_accuracy']:.4f}"
    note = crossing_note(best, history["train_accuracy"], history["validation_accuracy"], below=False)
    accuracy.set_title(title + note, fontsize=9)
    places = np.arange(len(results["classes"]))
    for shift, name, title in ((-0.2, "bound", "bound"), (0.2, "mlp", "network, fresh examples")):
        classes.bar(places + shift, [row[name]["nats"] for row in results["classes"]], 0.4, label=title)
    classes.set_xticks(places, [str(row["label"]) for row in results["classes"]])
    classes.set_title("loss by label")
    _headroom(classes)
    _label(classes, "label", "mean loss (nats)")
    curve = results["calibration"]
    calibration.plot([0, 1], [0, 1], label="perfect", **_BOUND)
    calibration.plot(curve["predicted"], curve["true"], marker="o", label="network")
    calibration.set_title(f"calibration error {curve['error']:.4f}")
    _label(calibration, "predicted probability", "true posterior, mean of the bin")
    for axis in (loss, accuracy, classes, calibration):
        axis.legend(fontsize=8)
    save_figure(path, figure)


def comparison_figure(path: str | Path, named: Mapping[str, Mapping]) -> None:
    """Draw runs side by side: loss beside its bound, accuracy beside its bound, and excess by epoch.

    `named` maps the name of a run to the content of its mlp_results.json. UserError if it is empty.
    """
    if not named:
        raise UserError("named is empty; allowed: one or more results")
    figure = Figure(figsize=(13, 4), dpi=110, layout="constrained")
    loss, accuracy, excess = figure.subplots(1, 3)
    places, runs = np.arange(len(named)), list(named.values())
    bars = (
        (loss, "bound H(Y|X)", [run["analytical_loss"]["nats"] for run in runs], -0.2),
        (loss, "network, fresh examples", [run["mlp_loss"]["nats"] for run in runs], 0.2),
        (accuracy, "Bayes classifier", [run["bayes_accuracy"] for run in runs], -0.2),
        (accuracy, "network, fresh examples", [run["mlp_accuracy"] for run in runs], 0.2),
    )
    for axis, title, values, shift in bars:
        axis.bar_label(axis.bar(places + shift, values, 0.4, label=title), fmt="%.3f", fontsize=7)
        axis.set_xticks(places, list(named), fontsize=8)
    for name, run in named.items():
        curve = np.array(run["history"]["validation_loss"]) - run["analytical_loss"]["nats"]
        excess.plot(np.arange(1, len(curve) + 1), curve, marker=".", label=name)
    excess.axhline(0.0, **_BOUND)
    _label(loss, "", "cross-entropy (nats)")
    _label(accuracy, "", "accuracy")
    _label(excess, "epoch", "validation loss above the bound (nats)")
    excess.xaxis.set_major_locator(MaxNLocator(integer=True))
    _headroom(loss)
    for axis, place in ((loss, "upper right"), (accuracy, "lower center"), (excess, "upper right")):
        axis.legend(fontsize=8, loc=place)
    save_figure(path, figure)


def scaling_figure(path: str | Path, curves: Mapping[str, Sequence[Point]]) -> None:
    """Draw the excess risk against examples, width and depth: networks as dots, medians as lines.

    `curves` has the keys "examples", "width" and "depth"; the first panel also shows the table of counts.
    """
    figure = Figure(figsize=(13, 4), dpi=110, layout="constrained")
    panels = zip(figure.subplots(1, 3, sharey=True), ("examples", "width", "depth"), strict=True)
    for axis, name in panels:
        points = curves[name]
        x = np.array([point.n_examples if name == "examples" else getattr(point, name) for point in points])
        _dots(axis, x, np.array([point.excess for point in points]), "networks")
        if name == "examples":
            _dots(axis, x, np.array([point.table_excess for point in points]), "table of counts")
            axis.legend(fontsize=8)
        axis.set_yscale("log")
        if name != "depth":
            axis.set_xscale("log")
        if name != "examples":
            axis.set_xticks(np.unique(x), [str(value) for value in np.unique(x)])
            axis.minorticks_off()
        _label(
            axis, {"examples": "training examples", "width": "hidden units per layer"}.get(name, "hidden layers"), ""
        )
        axis.set_title(_held(points, name), fontsize=10)
    figure.axes[0].set_ylabel("excess risk CE - H(Y|X) (nats)")
    save_figure(path, figure)


def bounds_figure(path: str | Path, bounds: Sequence[Bound]) -> None:
    """Draw H(Y|X_S) and Bayes accuracy of every set S of coordinates by its size; `bounds` is from `subset_bounds`."""
    figure = Figure(figsize=(10, 4), dpi=110, layout="constrained")
    sizes = np.array([len(bound.axes) for bound in bounds])
    quantities = (
        ("conditional_entropy", "lowest possible cross-entropy H(Y|X_S) (nats)", min),
        ("bayes_accuracy", "highest possible accuracy", max),
    )
    for axis, (name, title, best) in zip(figure.subplots(1, 2), quantities, strict=True):
        values = np.array([getattr(bound, name) for bound in bounds])
        axis.plot(sizes, values, "o", alpha=0.6, label="one set of coordinates")
        axis.plot(np.unique(sizes), [best(values[sizes == size]) for size in np.unique(sizes)], label="best set")
        axis.set_xticks(np.unique(sizes))
        axis.legend(fontsize=8)
        _label(axis, "coordinates seen", title)
    save_figure(path, figure)


def estimators_figure(path: str | Path, estimates: Sequence[Estimate]) -> None:
    """Draw estimates against sample size beside the exact mutual information, one panel per problem, and mean errors.

    Lines are means over the samples, bars their ranges; the last panel shows the mean absolute error over all problems.
    """
    problems = list(dict.fromkeys(estimate.problem for estimate in estimates))
    columns = -(-(len(problems) + 1) // 2)
    figure = Figure(figsize=(3.6 * columns, 7.2), dpi=100, layout="constrained")
    panels = figure.subplots(2, columns, squeeze=False).ravel()
    colours = {name: f"C{number}" for number, name in enumerate(ESTIMATORS)}
    for axis, problem in zip(panels, problems, strict=False):
        own = [estimate for estimate in estimates if estimate.problem == problem]
        exact = axis.axhline(own[0].exact, **_BOUND)
        for name in dict.fromkeys(estimate.estimator for estimate in own):
            sizes = np.array(sorted({e.n for e in own}))
            values = np.array([[e.value for e in own if e.estimator == name and e.n == n] for n in sizes])
            mean, low, high = values.mean(1), values.min(1), values.max(1)
            axis.errorbar(sizes, mean, (mean - low, high - mean), color=colours[name], marker=".", capsize=2)
        axis.set_title(f"{problem}\nexact {own[0].exact:.3f} nats", fontsize=9)
        _label(axis, "", "estimate (nats)")
        axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    exact.set_label("exact")
    errors = panels[len(problems)]
    for (kind, name), by_size in mean_errors(estimates).items():
        style = ":" if kind == "labels" else "-"
        label = None if name in {line.get_label() for line in errors.lines} else name
        errors.plot(list(by_size), list(by_size.values()), style, color=colours[name], marker=".", label=label)
    errors.set_yscale("log")
    errors.set_title("mean absolute error over the problems\nwith labels (dotted) and without", fontsize=9)
    _label(errors, "", "error (nats)")
    for axis in panels[: len(problems) + 1]:
        axis.set_xscale("log")
        axis.set_xlabel("pairs in the sample")
    for axis in panels[len(problems) + 1 :]:
        axis.remove()
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    save_figure(path, figure)


def _dots(axis: Axes, x: np.ndarray, y: np.ndarray, name: str) -> None:
    values = np.unique(x)
    (line,) = axis.plot(values, [np.median(y[x == value]) for value in values], label=name)
    axis.plot(x, y, ".", color=line.get_color())


def _held(points: Sequence[Point], varied: str) -> str:
    """Return what the points of a curve have in common, in words."""
    point = points[0]
    parts = {
        "examples": f"{point.n_examples:,} examples",
        "width": f"{point.width} units per layer",
        "depth": f"{point.depth} hidden layers",
    }
    return ", ".join(text for name, text in parts.items() if name != varied)


def crossing_note(bound: float, training: Sequence[float], validation: Sequence[float], below: bool) -> str:
    """Return what a curve on the wrong side of its bound means, as further lines of a title; "" if none is there."""
    side, sign = ("below", -1) if below else ("above", 1)
    if any(sign * (value - bound) > 0 for value in training):
        return f"\ntraining curve {side} the bound: the network memorises;\nthe bound holds for new examples"
    if any(sign * (value - bound) > 0 for value in validation):
        return f"\nvalidation curve {side} the bound: chance, on a finite sample"
    return ""


def _headroom(axis: Axes) -> None:
    """Leave room for the legend above the bars."""
    axis.set_ylim(0, 1.3 * axis.get_ylim()[1])


def _label(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
