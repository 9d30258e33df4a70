"""An evaluation as table, rows of a record and JSON."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxgen import runs
from jaxgen.evaluation.panel import CODED, FLOOR, INDEPENDENT, NOISE, Evaluation
from jaxgen.evaluation.reference import coding_name
from jaxgen.evaluation.samples import MAX_SAMPLES
from jaxgen.runs import tables

TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


class Figure(NamedTuple):
    """How one figure is called, and which way is better."""

    key: str
    title: str
    better: str


FIGURES = (
    Figure("frechet", "Frechet", "lower"),
    Figure("frechet_limit", "Frechet, n to infinity", "lower"),
    Figure("kid", "KID", "lower"),
    Figure("sliced", "sliced Wasserstein", "lower"),
    Figure("density", "density", "near real"),
    Figure("coverage", "coverage", "higher"),
    Figure("precision", "precision", "near real"),
    Figure("recall", "recall", "near real"),
    Figure("accuracy", "conditional accuracy", "higher"),
    Figure("diversity", "diversity within a class", "near 1"),
    Figure("copies", "copies", "not below 1"),
)


def table(result: Evaluation) -> str:
    """Return the figures as aligned text, with floor and ceilings beside each."""
    columns = [FLOOR, INDEPENDENT, NOISE] + [CODED] * (CODED in result.baselines)
    lines = []
    for figure in FIGURES:
        beside = {column: shown(result.baselines.get(column, {}).get(figure.key)) for column in columns}
        line = {"figure": title(result, figure), "samples": shown(result.figures.get(figure.key))}
        lines.append(line | beside | {"better": figure.better})
    text = tables.aligned(lines, ["figure", "samples", *columns, "better"])
    return "\n".join([headline(result), text, *remarks(result)])


def rows(result: Evaluation) -> list[runs.Row]:
    """Return the rows of a record, with floor and ceilings in the note of each."""
    rows_of_figures = []
    for figure in FIGURES:
        value = result.figures.get(figure.key)
        if value is None:
            continue
        beside = {name: result.baselines.get(name, {}).get(figure.key) for name in (FLOOR, INDEPENDENT, NOISE)}
        parts = [_error(result, figure.key)]
        parts += [f"{name} {shown(other)}" for name, other in beside.items() if other is not None]
        rows_of_figures.append(runs.Row(title(result, figure), value, note="; ".join(part for part in parts if part)))
    return rows_of_figures


def to_json(result: Evaluation) -> dict:
    """Return everything measured in types that JSON can hold."""
    accuracy = result.accuracy
    return {
        "dataset": result.dataset,
        "coding": coding_name(result.levels),
        "samples": {"given": result.given, "judged": result.n},
        "figures": result.figures,
        "baselines": result.baselines,
        "accuracy": accuracy
        and {
            "overall": accuracy.overall._asdict(),
            "by_class": [interval and interval._asdict() for interval in accuracy.by_class],
            "count": accuracy.count.tolist(),
        },
        "read_as": result.read.tolist(),
        "nearest_training": {
            "sample": result.chosen[result.searched].tolist(),
            "index": result.nearest.index.tolist(),
            "distance": result.nearest.distance.round(4).tolist(),
        },
    }


def headline(result: Evaluation) -> str:
    """Return one line: which samples were compared with which images."""
    coding = coding_name(result.levels)
    drawn = "" if result.n == result.given else f", a fixed random choice of {result.given:,}"
    against = f"the {result.n_test:,} test images of {TITLES.get(result.dataset, result.dataset)}, {coding}"
    return f"{result.n:,} samples{drawn}, against {against}; real: {min(result.n, result.n_train):,} training images"


def remarks(result: Evaluation) -> Sequence[str]:
    """Return the lines that a reader of the table needs: errors, intervals and what is comparable."""
    errors = [shown(figures["kid_error"]) for figures in (result.figures, result.baselines[FLOOR])]
    lines = [f"standard errors of KID: samples {errors[0]}, real {errors[1]}"]
    if result.accuracy:
        overall = result.accuracy.overall
        lines.append(f"conditional accuracy, 95 % interval: {overall.low:.4f} to {overall.high:.4f}")
    if not result.built_in:
        lines.append(
            "features are those of a network trained on MNIST, after resizing to 28 x 28 pixels; they compare "
            "generators of these images only. Classes are read from the nearest training image. Sliced Wasserstein "
            "and copies take no network"
        )
    elif result.n != MAX_SAMPLES:
        lines.append(
            f"the Frechet distance of {result.n:,} samples is biased upward against that of {MAX_SAMPLES:,}: compare "
            f"it with the real column, also of {result.n:,}; the other columns are of {MAX_SAMPLES:,}"
        )
    return lines


def title(result: Evaluation, figure: Figure) -> str:
    """Return the name of a figure.

    The Frechet distance carries the name of its dataset, because other features give other values.
    """
    if not figure.key.startswith("frechet"):
        return figure.title
    return f"{TITLES[result.dataset]}-{figure.title}" if result.built_in else f"{figure.title}, MNIST features"


def shown(value: float | None) -> str:
    """Return a number to four significant digits."""
    return "-" if value is None else f"{value:.4g}"


def _error(result: Evaluation, key: str) -> str:
    """Return how uncertain a figure is, where that is known."""
    if key == "frechet":
        error = result.baselines[FLOOR].get("frechet_error")
        return f"{result.n:,} samples" + (f"; standard deviation of real {shown(error)}" if error else "")
    if key == "kid":
        return f"standard error {shown(result.figures['kid_error'])}"
    if key == "accuracy":
        overall = result.accuracy.overall
        return f"95 % interval {overall.low:.4f} to {overall.high:.4f}"
    return ""


def reference_rows(binding: dict, seconds: dict[str, float]) -> list[runs.Row]:
    """Return the rows of a reference's record, from the result of `write_reference` and the seconds per training."""
    targets = {"features": ">= 0.992", "accuracy": ">= 0.988"} if binding["dataset"] == "mnist" else {}
    result = [
        runs.Row(f"test accuracy, {name} network", value, target=targets.get(name, ""), note=f"{seconds[name]:.0f} s")
        for name, value in binding["test_accuracy"].items()
    ]
    name = f"{TITLES[binding['dataset']]}-Frechet"
    for coding, content in binding["codings"].items():
        baselines = content["baselines"]
        share = baselines[FLOOR]["frechet"] / baselines[INDEPENDENT]["frechet"]
        result.append(runs.Row(f"{coding}: {name}, real / independent pixels", share, target="<= 0.02"))
        result.append(runs.Row(f"{coding}: accuracy network on test images", content["test_accuracy"]))
        for baseline, figures in baselines.items():
            values = ", ".join(
                f"{figure.title} {shown(figures[figure.key])}"
                for figure in FIGURES[1:]
                if figures.get(figure.key) is not None and figure.key != "accuracy"
            )
            result.append(runs.Row(f"{coding}: {name}, {baseline}", figures["frechet"], note=values))
    return result
