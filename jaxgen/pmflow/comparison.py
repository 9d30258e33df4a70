"""Is one model better than another? Differences of test accuracies, paired by seed (Student 1908).

    d_s = accuracy of the model - accuracy of the control, with seed s: shared layers start alike, the same batches
    interval = mean d +- t_{S-1, 0.975} sd(d) / sqrt(S)

Accuracies are those after the last epoch, so nothing is chosen by the test images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from jaxgen.errors import UserError
from jaxgen.pmflow.evaluate import Trained
from jaxgen.pmflow.models import CONTRASTS, Contrast
from jaxgen.runs import Row

LEVEL = 0.95
# Test accuracy in percent after each epoch, one run each, as the source prints them.
SOURCE_ACCURACY = {
    "mlp": (94.23, 95.82, 96.71, 97.27),
    "pmflow_mlp": (94.03, 95.95, 96.89, 97.18),
    "pmflow_cnn": (96.87, 98.24, 98.91, 98.62),
    "pmflow_bnn": (76.70, 84.31, 86.13),
}


class Interval(NamedTuple):
    """A mean with its two-sided 95 % limits; nan limits for a single value."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


class Paired(NamedTuple):
    """A contrast with the interval of its difference in percentage points, and the p-value of no difference."""

    contrast: Contrast
    difference: Interval
    p: float
    seeds: int


def interval(values: Float[np.ndarray, " n"]) -> Interval:
    """Student's interval of the mean."""
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = scipy.stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(mean, mean - float(half), mean + float(half))


def paired(contrast: Contrast, model: Trained, control: Trained) -> Paired:
    """Compare the last accuracies, seed by seed. ValueError if the two have different numbers of seeds."""
    if len(model.accuracy) != len(control.accuracy):
        raise UserError(
            f"{model.name} has {len(model.accuracy)} seeds, {control.name} {len(control.accuracy)}; allowed: as many"
        )
    d = 100 * (model.accuracy[:, -1] - control.accuracy[:, -1])
    if len(d) < 2:
        p = float("nan")
    elif np.ptp(d) == 0:
        p = 1.0 if d[0] == 0 else 0.0
    else:
        p = float(scipy.stats.ttest_1samp(d, 0.0).pvalue)
    return Paired(contrast, interval(d), p, len(d))


def contrasts(found: Sequence[Trained]) -> list[Paired]:
    """Every contrast of CONTRASTS whose two models are there."""
    named = {model.name: model for model in found}
    return [
        paired(contrast, named[contrast.model], named[contrast.control])
        for contrast in CONTRASTS
        if contrast.model in named and contrast.control in named
    ]


def judgement(pair: Paired) -> str:
    """What the interval says: better, worse, or not to be told apart with so many seeds."""
    if np.isnan(pair.difference.low):
        return "one seed, no interval"
    if pair.difference.low > 0:
        return "better"
    return "worse" if pair.difference.high < 0 else "no difference shown"


def verdict(pairs: Sequence[Paired]) -> str:
    """One sentence: does the flow help at equal budget? It does if some contrast is better and none worse."""
    about = [pair for pair in pairs if pair.contrast.about_flow]
    if not about:
        return "no model with a flow was trained beside its control"
    counts = {word: sum(judgement(pair) == word for pair in about) for word in ("better", "worse")}
    ranges = f"mean differences {min(p.difference.mean for p in about):+.2f} to "
    ranges += f"{max(p.difference.mean for p in about):+.2f} points"
    if counts["better"] and not counts["worse"]:
        word = "the flow helps"
    elif counts["worse"] and not counts["better"]:
        word = "the flow hurts"
    elif counts["worse"]:
        word = "the flow helps in some models and hurts in others"
    else:
        word = "no effect of the flow is shown"
    return f"{word}: better in {counts['better']}, worse in {counts['worse']} of {len(about)} contrasts, {ranges}"


def ranking(found: Sequence[Trained]) -> list[dict]:
    """Table rows, best last accuracy first, with efficiency: accuracy in percent a thousand parameters."""
    rows = []
    for model in sorted(found, key=lambda model: -model.accuracy[:, -1].mean()):
        last = interval(100 * model.accuracy[:, -1])
        rows.append(
            {
                "model": model.label,
                "parameters": f"{model.parameters:,}",
                "seeds": len(model.accuracy),
                "accuracy %": f"{last.mean:.2f}" + ("" if np.isnan(last.half) else f" ± {last.half:.2f}"),
                "best epoch %": f"{100 * model.accuracy.mean(0).max():.2f}",
                "% a 1000 parameters": f"{last.mean / (model.parameters / 1000):.4f}",
                "s an epoch, all seeds": f"{model.seconds:.1f}",
                "flow moves latents by": "" if model.displacement is None else f"{100 * model.displacement[-1]:.2f} %",
            }
        )
    return rows


def record_rows(found: Sequence[Trained]) -> list[Row]:
    """The rows of a comparison's record."""
    rows = []
    for model in found:
        last = interval(100 * model.accuracy[:, -1])
        note = f"mean of {len(model.accuracy)} seeds" + ("" if np.isnan(last.half) else f" ± {last.half:.2f} (95 %)")
        note += f"; {model.parameters:,} parameters; {model.seconds:.1f} s an epoch of all seeds"
        if model.displacement is not None:
            note += (
                f"; flow moves latents of scale {model.latent_scale[-1]:.2g} by {100 * model.displacement[-1]:.2g} %"
            )
        target = {"pmflow_bnn": ">= 97", "cnn": ">= 99.0", "pmflow_cnn": ">= 99.0"}.get(model.name, "")
        rows.append(Row(f"{model.label}, last test accuracy", last.mean, "%", target, note))
    pairs = contrasts(found)
    for pair in pairs:
        d = pair.difference
        limits = "" if np.isnan(d.low) else f"95 %: {d.low:+.2f} to {d.high:+.2f}; p = {pair.p:.2g}; "
        note = f"{limits}{pair.seeds} seeds, paired; {judgement(pair)}"
        # Accuracies are hundredths of a point: what is below is rounding.
        rows.append(Row(pair.contrast.question, round(d.mean, 6), "points", "", note))
    rows.append(Row("verdict", verdict(pairs)))
    small = [model.seconds * model.accuracy.shape[1] for model in found if "cnn" not in model.name]
    if small:
        note = "training without tests and compilation"
        rows.append(Row(f"{len(small)} models without convolutions, all seeds and epochs", sum(small), "s", "", note))
    return rows


def faithful_rows(found: Sequence[Trained]) -> list[Row]:
    """Every epoch of the source beside the mean and range of the seeds."""
    rows = []
    for model in found:
        for epoch, source in enumerate(SOURCE_ACCURACY[model.name][: model.accuracy.shape[1]]):
            ours = 100 * model.accuracy[:, epoch]
            target = f"source {source:.2f}" + ("" if model.name == "pmflow_bnn" else ", within 1")
            note = f"difference {ours.mean() - source:+.2f}; {len(ours)} seeds, {ours.min():.2f} to {ours.max():.2f}"
            rows.append(Row(f"{model.label}, epoch {epoch + 1}", float(ours.mean()), "%", target, note))
    return rows
