"""Measures of single-digit models: samples, partition functions, likelihood of the mixture, classification.

    log p(x)     = log sum_y pi_y exp(-beta E(x; theta_y) - log Z_y)     pi_y: share of digit y in the training images
    class of x   = argmax_y of the same terms                            (Bayes' rule)

A quantity measured for several seeds is reported as its mean, with the value of every seed beside it.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, UInt8
from tqdm import tqdm

from jaxgen import data, evaluation, gibbs, runs, training
from jaxgen.potts.evaluate import noise
from jaxgen.potts.figures.digits import digits_figure
from jaxgen.potts.keys import digit_key
from jaxgen.potts.likelihood.log_likelihood import base_biases, bits_per_pixel, log_likelihood
from jaxgen.potts.likelihood.partition import bracket
from jaxgen.potts.studies.digits import DigitsTask, test_images
from jaxgen.runs import Row

_STAGE = 50


def digit_samples(
    task: DigitsTask, models: dict, seed: int, path: Path
) -> tuple[UInt8[np.ndarray, "n H W"], UInt8[np.ndarray, "n"], float]:
    """Return `fresh_chains` samples of every digit, drawn from noise, their labels, and the samples per second.

    They are read from the file at `path` if it exists, and otherwise drawn and written to it.
    """
    config = task.config
    if not path.exists():
        drawn, seconds = [], []
        with tqdm(total=config.fresh_sweeps * len(task.digits), desc=f"samples, seed {seed}", unit="sweep") as bar:
            for y in task.digits:
                x, stage_seconds = _timed_sweeps(task, models[seed, y], seed, y, bar)
                drawn.append(np.asarray(x))
                seconds += stage_seconds
        labels = np.repeat(np.array(task.digits, np.uint8), config.fresh_chains)
        arrays = {"states": np.concatenate(drawn), "labels": labels, "levels": config.levels}
        # The median over the stages excludes the compilation, which the first one includes.
        speed = config.fresh_chains / (config.fresh_sweeps * np.median(seconds))
        with runs.atomic_write(path) as temporary:
            np.savez_compressed(temporary, **arrays, per_second=speed)
    arrays = runs.read_npz(path, "the file of samples", "the one that the study wrote")
    return arrays["states"], arrays["labels"], float(arrays["per_second"])


def _timed_sweeps(task: DigitsTask, params: dict, seed: int, digit: int, bar: tqdm):
    """Return samples of one digit, and the seconds per sweep of every stage."""
    config, seconds = task.config, []
    key_start, key_sweeps = jax.random.split(digit_key(seed, digit, "samples"))
    start = noise(key_start, task.single_model, config.fresh_chains)
    stages = gibbs.sample_stages(
        key_sweeps,
        task.single_model.lattice,
        params,
        start,
        config.fresh_sweeps,
        _STAGE,
        engine=config.engine,
        beta=config.beta,
    )
    before, clock = bar.n, time.perf_counter()
    for done, x, _ in stages:
        jax.block_until_ready(x)
        seconds.append((time.perf_counter() - clock) / (before + done - bar.n))
        clock = time.perf_counter()
        bar.update(before + done - bar.n)
    return x, seconds


def digit_partitions(task: DigitsTask, models: dict, seed: int, samples: np.ndarray, path: Path) -> dict[int, dict]:
    """Return log Z of every digit from below, its standard error, and the gap to log Z from above, in nats.

    They are read from the file at `path` if it exists, and otherwise estimated and written to it.
    """
    config = task.config
    if not path.exists():
        partitions = {}
        with tqdm(total=2 * config.temperatures * len(task.digits), desc=f"annealing, seed {seed}") as bar:
            for number, y in enumerate(task.digits):
                params, own = models[seed, y], task.train[task.train_label == y]
                first = number * config.fresh_chains
                both = bracket(
                    digit_key(seed, y, "annealing"),
                    task.single_model,
                    params,
                    base_biases(params, own),
                    jnp.asarray(samples[first : first + min(config.annealed_chains, config.fresh_chains)]),
                    config.temperatures,
                    config.beta,
                    lambda done, before=bar.n: bar.update(before + done - bar.n),
                )
                partitions[y] = {"log_z": both.low.log_z, "error": both.low.standard_error, "gap": both.gap}
        with runs.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(partitions, indent=1) + "\n")
    partitions = runs.read_json(path, "the file of partition functions", "the one that the study wrote")
    return {int(y): values for y, values in partitions.items()}


def digit_log_terms(
    task: DigitsTask, models: dict, seed: int, log_z: dict[int, float], x: UInt8[np.ndarray, "n H W"]
) -> Float64[np.ndarray, "digits n"]:
    """Return log pi_y + log p(x | y) of every digit and image, in nats."""
    label = task.train_label[np.isin(task.train_label, task.digits)]
    return np.stack([
        np.log((label == y).mean())
        + log_likelihood(task.single_model, models[seed, y], jnp.asarray(x), log_z[y], task.config.beta)
        for y in task.digits
    ])  # fmt: skip


class SeedFigures(NamedTuple):
    """What is measured of the models of one seed.

    Attributes:
        samples: states (n, H, W) and labels (n,).
        speed: samples per second.
        judged: accuracy, Frechet distance and diversity of the samples.
        real: accuracy, Frechet distance and diversity of real images.
        by_class: conditional accuracy of each class.
        log_p: log-likelihood of every test image, in nats.
        classified: share of test images that Bayes' rule classifies correctly.
        gap: largest difference, over digits, of log Z from above and from below, in nats.
        error: largest standard error of log Z over digits, in nats.
    """

    samples: tuple[UInt8[np.ndarray, "n H W"], UInt8[np.ndarray, "n"]]
    speed: float
    judged: Mapping[str, float]
    real: Mapping[str, float]
    by_class: Float64[np.ndarray, "C"]
    log_p: Float64[np.ndarray, "m"]
    classified: float
    gap: float
    error: float


def report(task: DigitsTask, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
    """Measure the models of every seed; plot ten samples of every digit of the first seed."""
    config, models = task.config, task.single_models(state.params)
    images = test_images(config)
    reference = evaluation.open_reference(config.dataset, config.images, config.data_dir, config.levels)
    figures = [measure_seed(task, models, seed, images, reference, folder) for seed in task.seeds]
    picture = folder.figures / "samples.png"
    digits_figure(picture, task, *figures[0].samples)
    rows = [Row("parameters per seed", sum(leaf.size for leaf in jax.tree.leaves(state.params)) // config.seeds)]
    rows += digit_rows(task, figures)
    return runs.Report(task.title, "Potts energy-based model", rows, [picture])


def measure_seed(
    task: DigitsTask,
    models: dict,
    seed: int,
    test: tuple[UInt8[np.ndarray, "m H W"], UInt8[np.ndarray, "m"]],
    reference: Any,
    folder: runs.RunFolder,
) -> SeedFigures:
    """Draw and evaluate the samples of one seed; measure likelihood and classification of the test images."""
    config, (x, labels) = task.config, test
    states, shown, speed = digit_samples(task, models, seed, folder.samples / f"seed{seed}.npz")
    partitions = digit_partitions(task, models, seed, states, folder.path / f"log_z_seed{seed}.json")
    terms = digit_log_terms(task, models, seed, {y: values["log_z"] for y, values in partitions.items()}, x)
    images = evaluation.check_samples(data.decode(states, config.levels), shown, reference.levels, reference.rules)
    judged = evaluation.evaluate(images.images, images.labels, reference)
    return SeedFigures(
        samples=(states, shown),
        speed=speed,
        judged=judged.figures,
        real=judged.baselines["real"],
        by_class=judged.accuracy.right / np.maximum(judged.accuracy.count, 1),
        log_p=np.logaddexp.reduce(terms, axis=0),
        classified=float((np.array(task.digits)[terms.argmax(0)] == labels).mean()),
        gap=max(values["gap"] for values in partitions.values()),
        error=max(values["error"] for values in partitions.values()),
    )


def digit_rows(task: DigitsTask, figures: Sequence[SeedFigures]) -> list[Row]:
    """Return the rows of the record: means over the seeds, with the value of every seed in the note."""
    config, pixels, real = task.config, task.train[0].size, figures[-1].real
    rows = [
        _over("samples per second", [f.speed for f in figures], "1/s", f"{config.fresh_sweeps} sweeps from noise"),
        _over("conditional accuracy", [f.judged["accuracy"] for f in figures], "", f"real {real['accuracy']:.3f}"),
        _over("MNIST-Frechet", [f.judged["frechet"] for f in figures], "", f"real {real['frechet']:.3g}"),
        _over(
            "diversity within a class", [f.judged["diversity"] for f in figures], "", f"real {real['diversity']:.3g}"
        ),
        _over("log-likelihood", [f.log_p.mean() for f in figures], "nats", f"{len(figures[0].log_p)} test images"),
        _over("bits per pixel", [bits_per_pixel(f.log_p, pixels) for f in figures], "bits"),
        _over("standard error of log Z, largest of all digits", [f.error for f in figures], "nats"),
        _over("log Z estimated from above minus from below, largest of all digits", [f.gap for f in figures], "nats"),
        _over("test images classified correctly by Bayes' rule", [f.classified for f in figures]),
    ]
    return rows + [_over(f"conditional accuracy, digit {y}", [f.by_class[y] for f in figures]) for y in task.digits]


def _over(name: str, values: Sequence[float], unit: str = "", note: str = "") -> Row:
    each = ", ".join(f"{value:.5g}" for value in values)
    what = "one seed" if len(values) == 1 else f"mean of {len(values)} seeds: {each}"
    return Row(name, float(np.mean(values)), unit, "", "; ".join(part for part in (what, note) if part))
