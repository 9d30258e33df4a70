"""Eight configurations that differ from a baseline in one setting each, and the conclusions that their numbers allow.

A comparison is the mean difference of held-out losses on the same noisy images, setting minus baseline. Its 95 %
interval is Student's over seeds where there are several, else over images alone, which says nothing about another seed.
Losses under another schedule are means over other noise levels and are not compared. "The original notebook" is the
PyTorch notebook whose last losses, on an A100, stand beside ours.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from jaxgen import evaluation
from jaxgen.diffusion.config import DiffusionConfig
from jaxgen.diffusion.evaluate import mean_of
from jaxgen.diffusion.task import DiffusionTask
from jaxgen.runs import tables

BASELINE = "baseline_20ep_medium_cosine"
DIGITS, GUIDANCES, EACH = (0, 4, 7), (0.0, 1.0, 3.0, 5.0), 16

# The changes of each, and the losses of the first and the last epoch in the original notebook (PyTorch, an A100).
_CHANGES = {
    BASELINE: ({}, (0.0751, 0.0357)),
    "epochs_10_medium_cosine": ({"epochs": 10.0}, (0.0743, 0.0365)),
    "epochs_30_medium_cosine": ({"epochs": 30.0}, (0.0752, 0.0352)),
    "baseline_20ep_small_cosine": ({"size": "small"}, (0.0766, 0.0367)),
    "baseline_20ep_large_cosine": ({"size": "large"}, (0.0863, 0.0355)),
    "baseline_20ep_medium_linear": ({"schedule": "linear_unscaled"}, (0.0754, 0.0359)),
    "baseline_20ep_medium_cosine_bs64": ({"batch_size": 64}, (0.0679, 0.0354)),
    "baseline_20ep_medium_cosine_lr5e4": ({"learning_rate": 5e-4}, (0.0781, 0.0352)),
}
NOTEBOOK_LOSSES = {name: losses for name, (_, losses) in _CHANGES.items()}


def study_configs(seed: int, quick: bool = False, data_dir: str = "") -> dict[str, DiffusionConfig]:
    """Return the eight configurations by name; `quick` has the tiny network, T = 20 and few updates."""
    baseline = DiffusionConfig(
        seed=seed, data_dir=data_dir, part="all", size="medium", schedule="cosine", timesteps=300, epochs=20.0,
        batch_size=128, learning_rate=1e-3, log_every=50, eval_every=2000, checkpoint_every=2000,
    )  # fmt: skip
    configs = {name: dataclasses.replace(baseline, **changes) for name, (changes, _) in _CHANGES.items()}
    return {name: _quickly(config) for name, config in configs.items()} if quick else configs


def _quickly(config: DiffusionConfig) -> DiffusionConfig:
    return dataclasses.replace(
        config, size="tiny", timesteps=20, sample_steps=5, epochs=config.epochs / 10_000,
        batch_size=config.batch_size // 8, log_every=1, eval_every=50, checkpoint_every=50,
    )  # fmt: skip


class Run(NamedTuple):
    """The measurements of one trained configuration.

    Attributes:
        task: the model and its data.
        epochs: mean training loss of each epoch, or of the trained part of an epoch.
        held_out: loss of each held-out image, by the moving average.
        right: number of samples that show their digit, by guidance, out of `len(DIGITS) * EACH`.
    """

    task: DiffusionTask
    epochs: Float[np.ndarray, "epochs"]
    held_out: Float[np.ndarray, "n"]
    right: Mapping[float, int]


class Comparison(NamedTuple):
    """Setting minus baseline, with its 95 % interval and the verdict."""

    name: str
    value: float
    low: float
    high: float
    verdict: str


def epoch_losses(records: Sequence[Mapping[str, float]], task: DiffusionTask) -> Float[np.ndarray, "epochs"]:
    """Return the mean "mse" of the records whose last step lies in each epoch; epochs without a record are left out."""
    steps = len(task.train) / task.config.batch_size
    losses = [(int((record["step"] - 1) // steps), record["mse"]) for record in records if "mse" in record]
    epochs = sorted({epoch for epoch, _ in losses})
    return np.array([np.mean([loss for e, loss in losses if e == epoch]) for epoch in epochs])


def compare(name: str, runs: Sequence[Run], baseline: Sequence[Run]) -> Comparison:
    """Return the comparison of held-out losses of a configuration with those of the baseline, seed by seed."""
    gaps = np.stack([run.held_out - other.held_out for run, other in zip(runs, baseline, strict=False)])
    gap = mean_of(gaps.mean(1) if len(gaps) > 1 else gaps[0])
    reach = gap.error * scipy.stats.t.ppf(0.975, (len(gaps) if len(gaps) > 1 else gaps.shape[1]) - 1)
    low, high = gap.value - reach, gap.value + reach
    verdict = "lower" if high < 0 else "higher" if low > 0 else "no difference detected"
    return Comparison(name, gap.value, low, high, verdict)


def comparisons(runs_by_name: Mapping[str, Sequence[Run]]) -> list[Comparison]:
    """Return the comparisons of all configurations that have the baseline's schedule; none without a baseline."""
    if BASELINE not in runs_by_name:
        return []
    baseline = runs_by_name[BASELINE]
    schedule = baseline[0].task.config.schedule
    return [
        compare(name, runs, baseline)
        for name, runs in runs_by_name.items()
        if name != BASELINE and runs[0].task.config.schedule == schedule
    ]


def accuracy_by_guidance(runs: Sequence[Run]) -> dict[float, evaluation.Interval]:
    """Return the share of samples that show their digit, by guidance, with Wilson's interval."""
    n = len(DIGITS) * EACH * len(runs)
    return {w: evaluation.wilson(sum(run.right[w] for run in runs), n) for w in GUIDANCES}


def summary(runs_by_name: Mapping[str, Sequence[Run]]) -> str:
    """Return tables and verdicts as Markdown, all of it computed from the runs."""
    seeds = max(len(runs) for runs in runs_by_name.values())
    losses, accuracies = [], []
    for name, group in runs_by_name.items():
        last = np.mean([run.epochs[-1] for run in group])
        lowest = np.mean([run.epochs.min() for run in group])
        held = mean_of(np.mean([run.held_out for run in group], axis=0))
        low, high = held.value - 1.96 * held.error, held.value + 1.96 * held.error
        losses.append(
            {
                "configuration": name,
                "updates": group[0].task.steps,
                "training loss, last epoch": f"{last:.4f}",
                "lowest epoch": f"{lowest:.4f}",
                "original notebook, last epoch": f"{NOTEBOOK_LOSSES[name][1]:.4f}",
                "held-out loss": f"{held.value:.4f}",
                "95 % interval": f"{low:.4f} to {high:.4f}",
            }
        )
        intervals = {f"w = {w:g}": interval for w, interval in accuracy_by_guidance(group).items()}
        cells = {column: f"{i.value:.2f} ({i.low:.2f} to {i.high:.2f})" for column, i in intervals.items()}
        accuracies.append({"samples that show their digit": name} | cells)
    lines = [f"{len(runs_by_name)} of {len(NOTEBOOK_LOSSES)} configurations, {seeds} seed{'s' * (seeds > 1)}."]
    lines += ["", tables.markdown(losses, list(losses[0])), "", tables.markdown(accuracies, list(accuracies[0]))]
    compared = comparisons(runs_by_name)
    if compared:
        kind = "over seeds" if seeds > 1 else "over images; another seed may differ"
        lines += ["", f"Held-out loss minus the baseline's, 95 % interval {kind}:", ""]
    for c in compared:
        lines.append(f"- {c.name}: {c.value:+.5f} ({c.low:+.5f} to {c.high:+.5f}), {c.verdict}")
    return "\n".join([*lines, "", best_guidance(runs_by_name)]) + "\n"


def best_guidance(runs_by_name: Mapping[str, Sequence[Run]]) -> str:
    """Return which guidance has the most correct digits over all runs, and which are not distinguishable from it."""
    pooled = accuracy_by_guidance([run for runs in runs_by_name.values() for run in runs])
    best = max(GUIDANCES, key=lambda w: pooled[w].value)
    alike = [f"{w:g}" for w in GUIDANCES if w != best and pooled[w].high >= pooled[best].low]
    text = ", ".join(f"w = {w:g}: {i.value:.3f} ({i.low:.3f} to {i.high:.3f})" for w, i in pooled.items())
    rest = f"not distinguishable from w = {', '.join(alike)}" if alike else "distinguishable from all others"
    return f"Samples that show their digit, all configurations: {text}. Highest at w = {best:g}, {rest}."
