"""The parts of the recipe of `compact`, each left out alone, in short trainings.

    d(part, seed) = Frechet distance between the features of n samples and of the held-out images
    gap(part) = mean over seeds of d(part, seed) - d(whole recipe, seed),   95 % interval of Student's t over seeds

All models have the same images, updates, batch size and peak step size, and their samples the same sampler, guidance
and noise, so that a gap is that of the training. The sampler is DPM-Solver++(2M), for every objective. A second
start goes on with the trainings and results that are in the run folder.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from jaxgen import evaluation, runs, training
from jaxgen.diffusion.config import DiffusionConfig
from jaxgen.diffusion.evaluate import mean_of
from jaxgen.diffusion.model import Generation
from jaxgen.diffusion.studies.sampling import judge
from jaxgen.diffusion.task import DiffusionTask
from jaxgen.runs import option, seed_option
from jaxgen.training.task import prepared

WHOLE = "whole"
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    WHOLE: ("whole recipe", {}),
    "blocks": ("blocks with added embedding, not starting as the identity", {"film": False}),
    "eps": ("objective eps", {"objective": "eps"}),
    "edm": ("objective edm", {"objective": "edm"}),
    "rate": ("constant step size", {"decay": "epoch"}),  # a single value within one epoch
    "average": ("moving average without warm-up", {"ema_warmup": False}),
}
_IMAGES, _BATCH = 54_000, 64
_SETTINGS = Generation("dpm_solver", 12, 1.5)


@dataclasses.dataclass(frozen=True)
class PartsConfig:
    """The settings of the study."""

    seed: int = seed_option("first seed", group="study")
    seeds: int = option(3, "seeds of every training", group="study", low=2, high=1000)
    steps: int = option(450, "updates of every training, less than an epoch", group="study", low=1, high=843)
    n: int = option(1000, "samples per training, the classes in turn", group="study", low=256, high=10_000)


class Judged(NamedTuple):
    """The Frechet distance and the conditional accuracy of one training."""

    frechet: float
    accuracy: float


def recipe(seed: int, steps: int, part: str = WHOLE) -> DiffusionConfig:
    """Return the settings of `compact` for this number of updates, without one part."""
    config = DiffusionConfig(
        seed=seed, size="compact", objective="flow", epochs=steps * _BATCH / _IMAGES, batch_size=_BATCH,
        learning_rate=3e-3, decay="step", warmup=200, beta2=0.99, ema_decay=0.995, ema_warmup=True,
        checkpoint_every=500, guidance=1.5,
    )  # fmt: skip
    return dataclasses.replace(config, **PARTS[part][1])


def measure(config: PartsConfig, workdir: Path) -> runs.Report:
    """Train and judge every part and seed; return the report."""
    pieces = runs.Pieces(workdir / ".parts", {"steps": config.steps, "n": config.n})
    judged: dict[str, list[Judged]] = {}
    for part in PARTS:
        for seed in range(config.seed, config.seed + config.seeds):
            name = f"{part}_seed{seed}"
            run = functools.partial(_judged, recipe(seed, config.steps, part), workdir / "runs" / name, config.n)
            arrays = pieces.get(name, run)
            judged.setdefault(part, []).append(Judged(float(arrays["frechet"]), float(arrays["accuracy"])))
    pieces.clear()
    title = f"parts of the compact recipe, {config.steps} updates, {config.seeds} seeds"
    return runs.Report(title, "Diffusion", part_rows(judged))


def part_rows(judged: Mapping[str, Sequence[Judged]]) -> list[runs.Row]:
    """Return a row per part: the mean distance, the gap to the whole recipe with its interval, the accuracy."""
    rows = []
    whole = np.array([row.frechet for row in judged[WHOLE]])
    for part, group in judged.items():
        values = np.array([row.frechet for row in group])
        seeds = ", ".join(f"{value:.3g}" for value in values)
        accuracy = np.mean([row.accuracy for row in group])
        note = f"by seed {seeds}; conditional accuracy {accuracy:.4f}"
        if part != WHOLE:
            gap = mean_of(values - whole)
            reach = gap.error * scipy.stats.t.ppf(0.975, len(values) - 1)
            interval = f"95 % {gap.value - reach:+.2g} to {gap.value + reach:+.2g}"
            note += f"; minus the whole recipe {gap.value:+.2g} ({interval})"
        rows.append(runs.Row(f"Frechet distance to held-out images, {PARTS[part][0]}", float(values.mean()), note=note))
    return rows


def _judged(config: DiffusionConfig, path: Path, n: int) -> dict[str, np.ndarray]:
    task = DiffusionTask.load(config)
    start = prepared(task)
    with runs.RunFolder.open(path, config) as folder:
        state = training.fit(start.state, start.step, start.arrays, start.order, folder, start.options)
    reference = evaluation.load_reference(config.dataset)
    held_out = evaluation.moments(reference.features(task.held_out))
    return judge(task, state.ema_params, _SETTINGS, n, config.seed, reference, held_out)[1]
