"""Both exact baselines fitted to a dataset: test likelihood, samples and the figures of the panel, in every coding.

    log-likelihood    mean over the test images of log p(x), in nats
    code length       - log-likelihood / (H W log 2), in bits per pixel

The pseudocount of each model is the one with the largest mean log-likelihood of the validation images; the test images
are used once, for the numbers.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jaxgen import data, runs
from jaxgen.evaluation.baselines.chow_liu import ChowLiuTree, PairCounts, choose_pseudo_count
from jaxgen.evaluation.baselines.independent_pixels import IndependentPixels
from jaxgen.evaluation.panel import evaluate
from jaxgen.evaluation.reference import load_reference
from jaxgen.evaluation.report import rows as panel_rows
from jaxgen.evaluation.report import table
from jaxgen.evaluation.samples import MIN_SAMPLES
from jaxgen.runs import option, seed_option

CANDIDATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # pseudocounts
_REPEATS = 7
_SHOWN = 32

Baseline = IndependentPixels | ChowLiuTree
States = UInt8[np.ndarray, "n H W"]


@dataclasses.dataclass(frozen=True)
class BaselinesConfig:
    """What is fitted, and how many samples are drawn."""

    seed: int = seed_option("seed of the samples", group="run")
    dataset: str = data.dataset_option()
    data_dir: str = data.data_dir_option()
    levels: int = option(2, "number of grey levels", group="data", choices=(2, 4))
    train_images: int = option(54000, "images to fit", group="data", low=1, high=54000)
    samples: int = option(
        10000, "samples per model; 2,000 or more are also evaluated", group="samples", low=64, high=1_000_000
    )


class Coding(NamedTuple):
    """A way to code grey images as states: its name, and the function (images, part of the data) -> states."""

    name: str
    code: Callable[[np.ndarray, str], States]


def codings(levels: int) -> list[Coding]:
    """Return the codings to `levels` grey levels; for 2 levels also stochastic binarisation."""
    name = "cut at half grey" if levels == 2 else f"{levels} levels"
    binned = Coding(name, lambda images, part: data.encode(images, levels))
    return [Coding("stochastic", data.fixed_binarization), binned] if levels == 2 else [binned]


def prepare(config: BaselinesConfig) -> runs.Job:
    """Read the dataset; return the job that fits, scores, draws and evaluates both models in every coding."""
    dataset = data.load(config.dataset, data_dir=config.data_dir or None)

    def job(folder: runs.RunFolder) -> runs.Report:
        from jaxgen.visualization import samples_figure  # here, so that fitting does without a plotting library

        rows, tables, pictures = [], [], []
        for coding in codings(config.levels):
            states = {p: coding.code(data.split(dataset, p)[0], p) for p in ("train", "validation", "test")}
            states["train"] = states["train"][: config.train_images]
            panels = [(f"test images, {coding.name}", states["test"][:_SHOWN], config.levels)]
            for name, fit in (("independent pixels", fit_independent_pixels), ("Chow-Liu tree", fit_chow_liu)):
                label = f"{name}, {coding.name}"
                of_model, drawn = _measure(label, fit, states, config)
                save(folder.samples / f"{label.replace(', ', '_').replace(' ', '_')}.npz", drawn, config.levels)
                panels.append((label, drawn[:_SHOWN], config.levels))
                rows += of_model
                _evaluate(label, drawn, config, rows, tables)
            if coding.name == "stochastic":
                real = states["train"][: config.samples]
                _evaluate("real training images, stochastic", real, config, rows, tables)
            pictures.append(folder.figures / f"samples_{coding.name.replace(' ', '_')}.png")
            samples_figure(pictures[-1], panels, columns=8)
        title = f"independent pixels and Chow-Liu tree, {config.dataset}, {config.levels} levels"
        return runs.Report(title, "Exact baselines", rows, pictures, "\n".join([*tables, *map(str, rows)]))

    return job


def fit_independent_pixels(train: States, validation: States, levels: int) -> tuple[IndependentPixels, float]:
    """Return independent pixels with the pseudocount that the validation states prefer, and that pseudocount."""
    fitted = {s: IndependentPixels.fit(train, levels, s) for s in CANDIDATES}
    best = max(CANDIDATES, key=lambda s: fitted[s].log_prob(validation).mean())
    return fitted[best], best


def fit_chow_liu(train: States, validation: States, levels: int) -> tuple[ChowLiuTree, float]:
    """Return the Chow-Liu tree with the pseudocount that the validation states prefer, and that pseudocount."""
    return choose_pseudo_count(PairCounts.of(train, levels), validation, CANDIDATES)


def draw(model: Baseline, seed: int, count: int) -> tuple[States, float]:
    """Return `count` exact samples and the samples per second: the median of seven rounds after one that compiles."""
    key = jax.random.key(seed)
    drawn, times = model.sample(key, count), []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        model.sample(key, count)
        times.append(time.perf_counter() - begin)
    return drawn, count / float(np.median(times))


def save(path: Path, states: States, levels: int) -> None:
    """Write samples as an NPZ file in the form that `experiments.evaluate` reads."""
    with runs.atomic_write(path) as temporary:
        np.savez_compressed(temporary, states=states, levels=levels)


def likelihood_rows(label: str, log_prob: Float[np.ndarray, "n"], pixels: int, pseudo_count: float) -> list[runs.Row]:
    """Return the rows of the exact test log-likelihood in nats and of the code length in bits per pixel.

    Args:
        label: name of model and coding.
        log_prob: log p(x) of every test image, in nats.
        pixels: pixels per image.
        pseudo_count: that of the model.
    """
    mean, error = log_prob.mean(), log_prob.std() / math.sqrt(len(log_prob))
    per_bit = pixels * math.log(2.0)
    note = f"exact; {len(log_prob)} images, pseudocount {pseudo_count:g}; standard error over images"
    length, length_note = float(-mean / per_bit), f"{note} {error / per_bit:.2g}"
    return [
        runs.Row(f"{label}: test log-likelihood", float(mean), "nats", "", f"{note} {error:.2g}"),
        runs.Row(f"{label}: code length", length, "bits per pixel", "", length_note),
    ]


def _measure(
    label: str, fit: Callable, states: dict[str, States], config: BaselinesConfig
) -> tuple[list[runs.Row], States]:
    """Return the rows of one model except those of the panel, and its samples."""
    begin = time.perf_counter()
    model, pseudo_count = fit(states["train"], states["validation"], config.levels)
    seconds = time.perf_counter() - begin
    drawn, speed = draw(model, config.seed, config.samples)
    note = f"{len(states['train'])} images, choice of the pseudocount included"
    how = "exact, independent samples; without compilation"
    rows = likelihood_rows(label, model.log_prob(states["test"]), states["test"][0].size, pseudo_count)
    rows.append(runs.Row(f"{label}: fit", seconds, "s", "", note))
    return [*rows, runs.Row(f"{label}: samples per second", speed, "1/s", "", how)], drawn


def _evaluate(label: str, drawn: States, config: BaselinesConfig, rows: list[runs.Row], tables: list[str]) -> None:
    """Add the panel's rows and table, unless there are too few samples."""
    if len(drawn) < MIN_SAMPLES:
        return
    reference = load_reference(config.dataset, config.levels, data_dir=config.data_dir or None)
    result = evaluate(data.decode(drawn, config.levels), None, reference)
    rows += [dataclasses.replace(row, quantity=f"{label}: {row.quantity}") for row in panel_rows(result)]
    tables.append(f"{label}\n{table(result)}\n")
