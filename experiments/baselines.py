"""Two models whose likelihood is exact, fitted to a dataset: independent pixels and the Chow-Liu tree.

  python -m experiments.baselines --dataset=mnist --levels=2 --workdir=runs/baselines_2
  python -m experiments.baselines --dataset=mnist --levels=4 --workdir=runs/baselines_4

With 2 levels both are fitted twice: to stochastically binarised images, on which the literature quotes likelihoods,
and to images cut at half grey, as other 2-level models here see them. Samples of either kind are judged against test
images cut at half grey; beside them stand real images stochastically binarised, judged likewise. The pseudo count of
each model is the one that validation images prefer; the test images serve once, for the numbers. The run folder then
holds 10,000 exact samples of each model in samples/*.npz, figures/samples_*.png and result.json.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxgen import data, evaluation, runs, visualization
from jaxgen.runs import option, seed_option

CANDIDATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_REPEATS = 7
_SHOWN = 32


@dataclasses.dataclass(frozen=True)
class BaselinesConfig:
    """What is fitted, and how many samples are drawn."""

    seed: int = seed_option("seed of the samples", group="run")
    dataset: str = option("mnist", "images to learn", group="data", choices=("mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's four IDX files instead of the built-in ones", group="data")
    levels: int = option(2, "grey levels a pixel", group="data", choices=(2, 4))
    train_images: int = option(54000, "images to fit", group="data", low=1, high=54000)
    samples: int = option(
        10000, "samples of each; 2,000 or more are also judged", group="samples", low=64, high=1_000_000
    )


class Coding(NamedTuple):
    """A way to make states of grey images."""

    name: str
    code: Callable[[np.ndarray, str], np.ndarray]


def run(config: BaselinesConfig, workdir: Path) -> None:
    """Fit, score, draw and judge both models in every coding."""
    start = time.perf_counter()
    runs.configure()
    dataset = data.load(config.dataset, data_dir=config.data_dir or None)
    rows, pictures = [], []
    with runs.RunFolder.open(workdir, config) as folder:
        for coding in codings(config.levels):
            parts = {part: coding.code(data.split(dataset, part)[0], part) for part in ("train", "validation", "test")}
            parts["train"] = parts["train"][: config.train_images]
            panels = [(f"test images, {coding.name}", parts["test"][:_SHOWN], config.levels)]
            for name, fit in (("independent pixels", independent), ("Chow-Liu tree", chow_liu)):
                label = f"{name}, {coding.name}"
                begin = time.perf_counter()
                model, pseudo_count = fit(parts["train"], parts["validation"], config.levels)
                fit_s = time.perf_counter() - begin
                drawn, speed = draw(model, config)
                save(folder.samples / f"{label.replace(', ', '_').replace(' ', '_')}.npz", drawn, config.levels)
                panels.append((label, drawn[:_SHOWN], config.levels))
                rows += likelihood_rows(label, model.log_prob(parts["test"]), pseudo_count)
                rows += [
                    runs.Row(
                        f"{label}: fit",
                        fit_s,
                        "s",
                        "",
                        f"{len(parts['train'])} images, choice of the pseudocount included",
                    ),
                    runs.Row(
                        f"{label}: samples per second",
                        speed,
                        "1/s",
                        "",
                        "exact, independent samples; without compilation",
                    ),
                ]
                rows += judged(label, drawn, config)
            if coding.name == "stochastic":
                rows += judged("real training images, stochastic", parts["train"][: config.samples], config)
            pictures.append(folder.figures / f"samples_{coding.name.replace(' ', '_')}.png")
            visualization.samples_figure(pictures[-1], panels, columns=8)
        runs.write_record(
            folder.path / "result.json",
            title=f"independent pixels and Chow-Liu tree, {config.dataset}, {config.levels} levels",
            family="Exact baselines",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(*rows, sep="\n")
    for path in pictures:
        print(f"samples: {path}")


def codings(levels: int) -> list[Coding]:
    """The ways to make so many levels of grey images."""
    bins = [
        Coding(
            "cut at half grey" if levels == 2 else f"{levels} levels", lambda images, part: data.encode(images, levels)
        )
    ]
    return [Coding("stochastic", data.fixed_binarization), *bins] if levels == 2 else bins


def independent(train: np.ndarray, validation: np.ndarray, levels: int) -> tuple[evaluation.IndependentPixels, float]:
    """Independent pixels with the pseudo count that the validation states prefer."""
    fitted = {s: evaluation.IndependentPixels.fit(train, levels, s) for s in CANDIDATES}
    best = max(CANDIDATES, key=lambda s: fitted[s].log_prob(validation).mean())
    return fitted[best], best


def chow_liu(train: np.ndarray, validation: np.ndarray, levels: int) -> tuple[evaluation.ChowLiuTree, float]:
    """The Chow-Liu tree with the pseudo count that the validation states prefer."""
    return evaluation.choose_pseudo_count(evaluation.PairCounts.of(train, levels), validation, CANDIDATES)


def draw(model, config: BaselinesConfig) -> tuple[np.ndarray, float]:
    """Samples, and how many a second: the median of several rounds after one that compiles."""
    key = jax.random.key(config.seed)
    drawn, times = model.sample(key, config.samples), []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        model.sample(key, config.samples)
        times.append(time.perf_counter() - begin)
    return drawn, config.samples / float(np.median(times))


def save(path: Path, states: np.ndarray, levels: int) -> None:
    """The samples as `experiments.evaluate` reads them."""
    with runs.atomic_write(path) as temporary:
        np.savez_compressed(temporary, states=states, levels=levels)


def likelihood_rows(label: str, log_prob: np.ndarray, pseudo_count: float) -> list[runs.Row]:
    """Exact test log-likelihood in nats and in bits per pixel."""
    mean, error = log_prob.mean(), log_prob.std() / math.sqrt(len(log_prob))
    per_bit = 28 * 28 * math.log(2.0)
    note = f"exact; {len(log_prob)} images, pseudocount {pseudo_count:g}; standard error over images"
    return [
        runs.Row(f"{label}: test log-likelihood", float(mean), "nats", "", f"{note} {error:.2g}"),
        runs.Row(
            f"{label}: code length", float(-mean / per_bit), "bits per pixel", "", f"{note} {error / per_bit:.2g}"
        ),
    ]


def judged(label: str, drawn: np.ndarray, config: BaselinesConfig) -> list[runs.Row]:
    """The panel's figures; none for too few samples."""
    if len(drawn) < evaluation.MIN_SAMPLES:
        return []
    reference = evaluation.load_reference(config.dataset, config.levels, data_dir=config.data_dir or None)
    result = evaluation.evaluate(data.decode(drawn, config.levels), None, reference)
    print(f"\n{label}\n{evaluation.table(result)}\n")
    return [dataclasses.replace(row, quantity=f"{label}: {row.quantity}") for row in evaluation.rows(result)]


if __name__ == "__main__":
    runs.main(BaselinesConfig, run)
