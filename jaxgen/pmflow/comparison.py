"""Whether one model is better than another: differences of test accuracies, paired by seed (Student, 1908).

    d_s      = accuracy of the model - accuracy of the control, for seed s: same initial layers, same batches
    interval = mean d +- t_{S-1, 1 - a/2} sd(d) / sqrt(S),      a = 0.05 / m

m is the number of contrasts of the comparison, so that all its intervals hold together with probability 95 % or more
(Bonferroni; Dunn, 1961). Accuracies are those after the last epoch: nothing is chosen by the test images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from jaxgen.errors import UserError
from jaxgen.pmflow.evaluate import SHOWN, Trained
from jaxgen.pmflow.models import CONTRASTS, Contrast
from jaxgen.runs import Row

LEVEL = 0.95
# Test accuracy in percent after each epoch, one run each, as the original notebook prints them.
ORIGINAL_ACCURACY = {
    "mlp": (94.23, 95.82, 96.71, 97.27),
    "pmflow_mlp": (94.03, 95.95, 96.89, 97.18),
    "pmflow_cnn": (96.87, 98.24, 98.91, 98.62),
    "pmflow_bnn": (76.70, 84.31, 86.13),
}


class Interval(NamedTuple):
    """A mean with its two-sided confidence limits, which are nan for a single value."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Return half the width of the interval."""
        return (self.high - self.low) / 2


class Paired(NamedTuple):
    """A contrast between two models.

    Attributes:
        contrast: which models, and what differs between them.
        difference: mean difference in percentage points with its simultaneous 95 % interval.
        p: p-value of no difference, multiplied by the number of contrasts (at most 1).
        seeds: number of paired seeds.
        contrasts: number m of contrasts that interval and p-value are corrected for.
    """

    contrast: Contrast
    difference: Interval
    p: float
    seeds: int
    contrasts: int


def interval(values: Float[np.ndarray, " n"], level: float = LEVEL) -> Interval:
    """Return Student's confidence interval of the mean at a level in 0..1."""
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = scipy.stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(mean, mean - float(half), mean + float(half))


def paired(contrast: Contrast, model: Trained, control: Trained, n_contrasts: int = 1) -> Paired:
    """Compare the last accuracies seed by seed, corrected for `n_contrasts` contrasts.

    UserError if the two models have different numbers of seeds.
    """
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
        p = min(1.0, n_contrasts * float(scipy.stats.ttest_1samp(d, 0.0).pvalue))
    return Paired(contrast, interval(d, 1 - (1 - LEVEL) / n_contrasts), p, len(d), n_contrasts)


def contrasts(models: Sequence[Trained]) -> list[Paired]:
    """Return every contrast of CONTRASTS whose two models were trained, corrected for their number."""
    named = {model.name: model for model in models}
    present = [contrast for contrast in CONTRASTS if contrast.model in named and contrast.control in named]
    return [paired(c, named[c.model], named[c.control], len(present)) for c in present]


def judgement(pair: Paired) -> str:
    """Return what the interval says: "better", "worse", or "none shown" if it contains 0."""
    if np.isnan(pair.difference.low):
        return "one seed, no interval"
    if pair.difference.low > 0:
        return "better"
    return "worse" if pair.difference.high < 0 else "none shown"


def verdict(pairs: Sequence[Paired]) -> str:
    """Return one sentence on whether the flow helps: it does if some contrast is better and none is worse."""
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
        word = "effect of the flow: none shown"
    correction = f"corrected for {about[0].contrasts} contrasts"
    return (
        f"{word}: better in {counts['better']}, worse in {counts['worse']} of {len(about)} contrasts about the flow "
        f"({correction}), {ranges}"
    )


def ranking(models: Sequence[Trained]) -> list[dict]:
    """Return table rows, highest last accuracy first, with the efficiency: percent per thousand parameters."""
    rows = []
    for model in sorted(models, key=lambda model: -model.accuracy[:, -1].mean()):
        last = interval(100 * model.accuracy[:, -1])
        rows.append(
            {
                "model": model.label,
                "parameters": f"{model.parameters:,}",
                "seeds": len(model.accuracy),
                "accuracy %": f"{last.mean:.2f}" + ("" if np.isnan(last.half) else f" ± {last.half:.2f}"),
                "best epoch %": f"{100 * model.accuracy.mean(0).max():.2f}",
                "% per 1000 parameters": f"{last.mean / (model.parameters / 1000):.4f}",
                "s per epoch, all seeds": f"{model.seconds:.1f}",
                "flow moves latents by": "" if model.displacement is None else f"{100 * model.displacement[-1]:.2f} %",
            }
        )
    return rows


def record_rows(models: Sequence[Trained]) -> list[Row]:
    """Return the rows of the record of a comparison."""
    rows = []
    for model in models:
        last = interval(100 * model.accuracy[:, -1])
        note = f"mean of {len(model.accuracy)} seeds" + ("" if np.isnan(last.half) else f" ± {last.half:.2f} (95 %)")
        note += f"; {model.parameters:,} parameters; {model.seconds:.1f} s per epoch of all seeds"
        if model.displacement is not None:
            note += (
                f"; flow moves latents of scale {model.latent_scale[-1]:.2g} by {100 * model.displacement[-1]:.2g} %"
            )
        target = {"pmflow_bnn": ">= 97", "cnn": ">= 99.0", "pmflow_cnn": ">= 99.0"}.get(model.name, "")
        rows.append(Row(f"{model.label}, last test accuracy", last.mean, "%", target, note))
        if model.name == "pmflow_mlp_strong":
            note = f"mean |after - before| / mean |before| over {SHOWN} test images, last epoch, mean of the seeds"
            moved = 100 * float(model.displacement[-1])
            rows.append(Row(f"{model.label}: displacement of the latents", moved, "%", ">= 10", note))
    pairs = contrasts(models)
    for pair in pairs:
        d = pair.difference
        limits = f"simultaneous 95 % of {pair.contrasts} contrasts: {d.low:+.2f} to {d.high:+.2f}; p = {pair.p:.2g}; "
        note = f"{'' if np.isnan(d.low) else limits}{pair.seeds} paired seeds; {judgement(pair)}"
        # Accuracies are multiples of 0.01 points; smaller digits are rounding.
        rows.append(Row(pair.contrast.question, round(d.mean, 6), "points", "", note))
    rows.append(Row("verdict", verdict(pairs)))
    rows += original_rows(models)
    small = [model.seconds * model.accuracy.shape[1] for model in models if model.kind != "CNN"]
    if small:
        note = "training without tests and compilation"
        rows.append(Row(f"{len(small)} models without convolutions, all seeds and epochs", sum(small), "s", "", note))
    return rows


def faithful_rows(models: Sequence[Trained]) -> list[Row]:
    """Return the accuracy of the original notebook after every epoch beside mean and range of the seeds."""
    rows = []
    for model in models:
        for epoch, original in enumerate(ORIGINAL_ACCURACY[model.name][: model.accuracy.shape[1]]):
            ours = 100 * model.accuracy[:, epoch]
            target = f"original notebook {original:.2f}" + ("" if model.name == "pmflow_bnn" else ", within 1 point")
            note = f"difference {ours.mean() - original:+.2f}; {len(ours)} seeds, {ours.min():.2f} to {ours.max():.2f}"
            rows.append(Row(f"{model.label}, epoch {epoch + 1}", float(ours.mean()), "%", target, note))
    return rows + original_rows(models)


def original_rows(models: Sequence[Trained]) -> list[Row]:
    """Return how far the original notebook's PMFlow MLP is ahead of its MLP, if both models are in the comparison."""
    if not {"mlp", "pmflow_mlp"} <= {model.name for model in models}:
        return []
    pairs = zip(ORIGINAL_ACCURACY["pmflow_mlp"], ORIGINAL_ACCURACY["mlp"], strict=True)
    ahead = [flow - plain for flow, plain in pairs]
    trails = " and ".join(str(epoch) for epoch, difference in enumerate(ahead, 1) if difference < 0)
    note = f"by epoch, one run each; the model with the flow trails after epochs {trails}"
    text = ", ".join(f"{difference:+.2f}" for difference in ahead)
    return [Row("original notebook: PMFlow MLP - MLP", text, "points", "", note)]
