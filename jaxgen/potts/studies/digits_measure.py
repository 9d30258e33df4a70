"""What is measured of single-digit models: samples, partition functions, likelihood of the mixture, Bayes' classifier.

    log p(x)     = log sum_y pi_y exp(-beta E(x; theta_y) - log Z_y)     pi_y: share of digit y in the training images
    class of x   = argmax_y of the same terms

A figure of S seeds is given as their mean, with every seed's value beside it.
"""

import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, UInt8
from tqdm import tqdm

from jaxgen import data, evaluation, gibbs, runs
from jaxgen.potts.evaluate import noise
from jaxgen.potts.likelihood.log_likelihood import base_biases, bits_per_pixel, bracket, log_likelihood
from jaxgen.potts.model import PottsEBM
from jaxgen.potts.studies.digits import DigitsTask, test_images
from jaxgen.runs import Row

_STAGE = 50


def digit_samples(
    task: DigitsTask, models: dict, seed: int, path: Path
) -> tuple[UInt8[np.ndarray, "n H W"], UInt8[np.ndarray, "n"], float]:
    """`fresh_chains` samples of every digit from noise, their labels, and how many a second the sweeps gave.

    They are of the file at `path` if it is there.
    """
    config = task.config
    if not path.exists():
        drawn, seconds = [], []
        with tqdm(total=config.fresh_sweeps * len(task.digits), desc=f"samples, seed {seed}", unit="sweep") as bar:
            for y in task.digits:
                key_start, key_sweeps = jax.random.split(_key(seed, y, "samples"))
                start = noise(key_start, _model(task), config.fresh_chains)
                stages = gibbs.sample_stages(
                    key_sweeps,
                    _model(task).lattice,
                    models[seed, y],
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
                drawn.append(np.asarray(x))
        labels = np.repeat(np.array(task.digits, np.uint8), config.fresh_chains)
        arrays = {"states": np.concatenate(drawn), "labels": labels, "levels": config.levels}
        # The median of the stages leaves the compilation of the first out.
        speed = config.fresh_chains / (config.fresh_sweeps * np.median(seconds))
        with runs.atomic_write(path) as temporary:
            np.savez_compressed(temporary, **arrays, per_second=speed)
    with np.load(path, allow_pickle=False) as file:
        return file["states"], file["labels"], float(file["per_second"])


def digit_partitions(task: DigitsTask, models: dict, seed: int, samples: np.ndarray, path: Path) -> dict[int, dict]:
    """For every digit log Z from below, its standard error and the gap to log Z from above; of `path` if there."""
    config = task.config
    if not path.exists():
        found = {}
        with tqdm(total=2 * config.temperatures * len(task.digits), desc=f"annealing, seed {seed}") as bar:
            for number, y in enumerate(task.digits):
                params, own = models[seed, y], task.train[task.train_label == y]
                first = number * config.fresh_chains
                both = bracket(
                    _key(seed, y, "annealing"),
                    _model(task),
                    params,
                    base_biases(params, own),
                    jnp.asarray(samples[first : first + min(config.annealed_chains, config.fresh_chains)]),
                    config.temperatures,
                    config.beta,
                    lambda done, before=bar.n: bar.update(before + done - bar.n),
                )
                found[y] = {
                    "log_z": both.low.log_z,
                    "error": both.low.standard_error,
                    "gap": float(both.high.log_z - both.low.log_z),
                }
        with runs.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")
    return {int(y): values for y, values in json.loads(path.read_text()).items()}


def digit_log_terms(
    task: DigitsTask, models: dict, seed: int, log_z: dict[int, float], x: UInt8[np.ndarray, "n H W"]
) -> Float64[np.ndarray, "digits n"]:
    """log pi_y + log p(x | y) of every digit and image."""
    label = task.train_label[np.isin(task.train_label, task.digits)]
    return np.stack([
        np.log((label == y).mean())
        + log_likelihood(_model(task), models[seed, y], jnp.asarray(x), log_z[y], task.config.beta)
        for y in task.digits
    ])  # fmt: skip


def measure_digits(task: DigitsTask, params: dict, folder: runs.RunFolder) -> tuple[list[Row], dict]:
    """The rows of the record, and the samples (states, labels) of every seed."""
    config, models = task.config, task.single_models(params)
    x, labels = test_images(config)
    reference = evaluation.load_reference(config.dataset, config.levels, data_dir=config.data_dir or None)
    samples, speeds, judged, by_class, likelihood, read, gaps, errors = {}, [], [], [], [], [], [], []
    for seed in range(config.seed, config.seed + config.seeds):
        states, shown, speed = digit_samples(task, models, seed, folder.samples / f"seed{seed}.npz")
        samples[seed] = states, shown
        speeds.append(speed)
        partitions = digit_partitions(task, models, seed, states, folder.path / f"log_z_seed{seed}.json")
        terms = digit_log_terms(task, models, seed, {y: one["log_z"] for y, one in partitions.items()}, x)
        likelihood.append(np.logaddexp.reduce(terms, axis=0))
        read.append(float((np.array(task.digits)[terms.argmax(0)] == labels).mean()))
        gaps.append(max(one["gap"] for one in partitions.values()))
        errors.append(max(one["error"] for one in partitions.values()))
        images = evaluation.check_samples(data.decode(states, config.levels), shown, config.levels)
        found = evaluation.evaluate(images.images, images.labels, reference)
        judged.append(found.figures)
        by_class.append(found.accuracy.right / np.maximum(found.accuracy.count, 1))
    real = found.baselines["real"]
    rows = [
        Row("parameters of a seed", sum(leaf.size for leaf in jax.tree.leaves(params)) // config.seeds),
        _over("samples a second", speeds, "1/s", f"{config.fresh_sweeps} sweeps from noise; compilation apart"),
        _over("conditional accuracy", [one["accuracy"] for one in judged], "", f"real {real['accuracy']:.3f}"),
        _over("MNIST-Frechet", [one["frechet"] for one in judged], "", f"real {real['frechet']:.3g}"),
        _over("diversity in a class", [one["diversity"] for one in judged], "", f"real {real['diversity']:.3g}"),
        _over("log-likelihood", [log_p.mean() for log_p in likelihood], "nats", f"{len(x)} test images"),
        _over("bits a pixel", [bits_per_pixel(log_p, x[0].size) for log_p in likelihood], "bits"),
        _over("standard error of log Z, largest of all digits", errors, "nats"),
        _over("log Z from above less from below, largest of all digits", gaps, "nats"),
        _over("test images classified right by Bayes' rule", read),
    ]
    for y in task.digits:
        rows.append(_over(f"conditional accuracy, digit {y}", [one[y] for one in by_class]))
    return rows, samples


def _over(name: str, values: Sequence[float], unit: str = "", note: str = "") -> Row:
    each = ", ".join(f"{value:.5g}" for value in values)
    what = "one seed" if len(values) == 1 else f"mean of {len(values)} seeds: {each}"
    return Row(name, float(np.mean(values)), unit, "", "; ".join(part for part in (what, note) if part))


def _model(task: DigitsTask) -> PottsEBM:
    """The model of one digit, without labels."""
    return PottsEBM(task.tasks[0].model.lattice, task.config.levels, task.config.coupling)


def _key(seed: int, digit: int, use: str):
    number = 10 * ("samples", "annealing").index(use) + digit
    return functools.reduce(jax.random.fold_in, (2**30, number), jax.random.key(seed))
