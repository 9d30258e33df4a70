"""The log-likelihood of test images under a trained model, beside two tractable models fitted to the same images.

log Z is annealed up from independent pixels and down from samples of the model, with a hundredth, a tenth and all of
the temperatures. Every finished bracket is saved, so that a stopped command resumes with the next one.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8
from tqdm import tqdm

from jaxgen import evaluation, gibbs, runs
from jaxgen.potts.config import coded_part, open_data
from jaxgen.potts.evaluate import noise
from jaxgen.potts.keys import likelihood_keys
from jaxgen.potts.likelihood.annealed_importance import PartitionEstimate
from jaxgen.potts.likelihood.log_likelihood import (
    base_biases,
    bits_per_pixel,
    log_likelihood,
    mixture_log_likelihood,
)
from jaxgen.potts.likelihood.partition import Partition, bracket
from jaxgen.potts.studies.restored import CHECKPOINTS, Restored
from jaxgen.runs import option, seed_option

_PARTS = (100, 10, 1)  # of the temperatures
_PSEUDO_COUNTS = (0.1, 0.3, 1.0, 3.0)


@dataclasses.dataclass(frozen=True)
class LikelihoodConfig:
    """The settings of a likelihood."""

    seed: int = seed_option("seed of the chains", group="annealing")
    chains: int = option(256, "chains per estimate", group="annealing", low=2, high=1_000_000)
    temperatures: int = option(
        20_000, "temperatures from independent pixels to the model", group="annealing", low=100, high=10_000_000
    )
    sweeps: int = option(
        2000,
        "sweeps from noise to the samples at which downward annealing starts",
        group="annealing",
        low=1,
        high=10**9,
    )
    checkpoint: str = option("last", "which checkpoint to restore", group="run", choices=CHECKPOINTS)


def measure(config: LikelihoodConfig, workdir: Path) -> runs.Report:
    """Anneal at three lengths, then measure the likelihood of the test images and draw the brackets."""
    from jaxgen.potts.figures.partition import partition_figure  # here, so that the library does without plots

    run = Restored.of(workdir, config.checkpoint)
    pieces = runs.Pieces(workdir / ".likelihood", run.identity(config))
    lengths = sorted({config.temperatures // part for part in _PARTS})
    models = run.models()
    brackets = {}
    for number, (y, params) in enumerate(models.items(), 1):
        name = f"[{number}/{len(models)}] " * (len(models) > 1) + ("model" if y is None else f"class {y}")
        brackets[y] = class_brackets(config, run, y, params, lengths, pieces, name)
    figure = workdir / "figures" / "likelihood.png"
    partition_figure(figure, brackets, lengths)
    rows = likelihood_rows(config, run, {y: partitions[-1] for y, partitions in brackets.items()})
    seconds = pieces.seconds
    pieces.clear()
    return runs.Report(run.title, "Potts energy-based model", rows, [figure], seconds=seconds)


def class_brackets(
    config: LikelihoodConfig,
    run: Restored,
    y: int | None,
    params: dict,
    lengths: list[int],
    pieces: runs.Pieces,
    name: str,
) -> list[Partition]:
    """Return the bracket of log Z of one model at every number of temperatures, with a progress bar."""
    keys, model, beta = likelihood_keys(config.seed, y), run.single_model, run.task.config.beta
    base = base_biases(params, run.images(y))

    def draw() -> dict:
        x = noise(keys.start, model, config.chains)
        conditions = {"engine": run.task.config.engine, "beta": beta}
        return {"x": gibbs.sample(keys.sweeps, model.lattice, params, x, config.sweeps, **conditions)[0]}

    samples = jnp.asarray(pieces.get(f"samples {y}", draw)["x"])
    partitions = []
    with tqdm(total=2 * sum(lengths), desc=f"{name}: annealing", unit="temperature") as bar:
        for length in lengths:
            before = bar.n

            def anneal(length: int = length, before: int = before) -> dict:
                key = jax.random.fold_in(keys.path, length)
                both = bracket(
                    key, model, params, base, samples, length, beta, lambda done: bar.update(before + done - bar.n)
                )
                return _as_arrays(both)

            partitions.append(_from_arrays(pieces.get(f"bracket {y} {length}", anneal), samples))
            bar.update(before + 2 * length - bar.n)
    return partitions


def _as_arrays(both: Partition) -> dict[str, np.ndarray]:
    """Return the numbers of both estimates as arrays, without the states."""
    return {
        f"{end}_{name}": np.asarray(getattr(getattr(both, end), name))
        for end in Partition._fields
        for name in PartitionEstimate._fields
        if name != "states"
    }


def _from_arrays(arrays: dict[str, np.ndarray], states: UInt8[Array, "n H W"]) -> Partition:
    """Return the bracket that `_as_arrays` was given, with `states` in place of its states, which are not used."""

    def estimate(end: str) -> PartitionEstimate:
        numbers = [float(arrays[f"{end}_{name}"]) for name in ("log_z", "standard_error", "effective_chains")]
        return PartitionEstimate(*numbers, arrays[f"{end}_log_weights"], states)

    return Partition(*map(estimate, Partition._fields))


def likelihood_rows(config: LikelihoodConfig, run: Restored, brackets: dict[int | None, Partition]) -> list[runs.Row]:
    """Return the rows of the test log-likelihood, beside that of two tractable models of the training images."""
    task, trained = run.task, run.task.config
    dataset = open_data(trained)
    (validation, _), (x, _) = (coded_part(trained, dataset, part) for part in ("validation", "test"))
    log_z = {y: both.low.log_z for y, both in brackets.items()}
    params, images = run.state.params, jnp.asarray(x)
    if None in log_z:
        log_p = log_likelihood(task.model, params, images, log_z[None], trained.beta)
    else:
        log_p = mixture_log_likelihood(task.model, params, images, task.train_label, log_z, trained.beta)
    error = max(both.low.standard_error for both in brackets.values())
    effective = min(both.low.effective_chains for both in brackets.values())
    note = f"{len(x)} test images, {trained.levels} levels"
    gap = max(both.gap for both in brackets.values())
    return [
        _nats("log-likelihood", log_p, note),
        runs.Row("bits per pixel", bits_per_pixel(log_p, x[0].size), "bits", "", note),
        runs.Row("standard error of log Z", error, "nats", "", f"{config.chains} chains, {effective:.0f} effective"),
        runs.Row("log Z estimated from above minus from below", gap, "nats", "", f"{config.temperatures} temperatures"),
        *exact_rows(np.asarray(task.train), validation, x, trained.levels),
    ]


def exact_rows(train: np.ndarray, validation: np.ndarray, test: np.ndarray, levels: int) -> list[runs.Row]:
    """Return the rows of two tractable models, the tree only where the counts of pairs of pixels fit into memory."""
    rows = []
    if evaluation.PairCounts.fits(train[0].size, levels):
        counts = evaluation.PairCounts.of(train, levels)
        tree, _ = evaluation.choose_pseudo_count(counts, validation, _PSEUDO_COUNTS)
        rows.append(_nats("Chow-Liu tree on the same images", tree.log_prob(test), "exact"))
    pixels = evaluation.IndependentPixels.fit(train, levels, 1.0)
    return [*rows, _nats("independent pixels on the same images", pixels.log_prob(test), "exact")]


def _nats(name: str, log_p: np.ndarray, note: str) -> runs.Row:
    error = log_p.std(ddof=1) / np.sqrt(len(log_p))
    return runs.Row(name, float(log_p.mean()), "nats", "", f"{note}; +- {error:.2g} over images")
