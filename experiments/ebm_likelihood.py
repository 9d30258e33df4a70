"""Log-likelihood of test images under a trained Potts energy-based model, by annealed importance sampling.

  python -m experiments.ebm_likelihood --workdir=runs/digit3

log Z is annealed twice: from independent pixels, which on average gives too little, and from samples of the model,
which gives too much. The two, at a hundredth, a tenth and all of the temperatures, are in figures/likelihood.png; the
numbers in likelihood.json, with those of independent pixels and of the Chow-Liu tree on the same images.
"""

import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxgen import data, evaluation, gibbs, potts, runs
from jaxgen.potts.config import classes
from jaxgen.potts.figures.convergence import partition_figure
from jaxgen.potts.likelihood.annealed_importance import class_params
from jaxgen.potts.likelihood.log_likelihood import base_biases, mixture_log_likelihood
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class LikelihoodConfig:
    seed: int = seed_option("seed of the chains", group="annealing")
    chains: int = option(256, "chains of each estimate", group="annealing", low=2, high=1_000_000)
    temperatures: int = option(
        20_000, "steps from independent pixels to the model", group="annealing", low=100, high=10_000_000
    )
    sweeps: int = option(
        2000, "sweeps from noise to the samples that start the way down", group="annealing", low=1, high=10**9
    )
    checkpoint: str = option("last", "which one to restore", group="run", choices=("last", "best"))


def run(config: LikelihoodConfig, workdir: Path) -> None:
    """Restore, anneal at three lengths, write the record and the figure."""
    start = time.perf_counter()
    runs.configure()
    task, state = potts.restore_run(workdir, config.checkpoint)
    models = {None: state.params}
    if task.train_label is not None:
        models = {y: class_params(state.params, y) for y in classes(task.config)}
    lengths = sorted({config.temperatures // part for part in (100, 10, 1)})
    found = {y: anneal(config, task, params, y, lengths) for y, params in models.items()}
    figure = workdir / "figures" / "likelihood.png"
    partition_figure(figure, found, lengths)
    rows = measure(config, task, state.params, {y: partitions[-1] for y, partitions in found.items()})
    runs.write_record(
        workdir / "likelihood.json",
        title=f"{task.title}, training seed {task.config.seed}",
        family="Potts energy-based model",
        rows=rows,
        config=config,
        wall_time_s=time.perf_counter() - start,
    )
    print(*rows, sep="\n")
    print(f"{workdir / 'likelihood.json'}\n{figure}")


def anneal(config: LikelihoodConfig, task: potts.PottsTask, params: dict, y: int | None, lengths: list[int]):
    """The bracket of log Z of one model at every number of temperatures."""
    model = dataclasses.replace(task.model, n_classes=0)
    key_start, key_sweeps, key_path = jax.random.split(
        jax.random.fold_in(jax.random.key(config.seed), 10 if y is None else y), 3
    )
    own = task.train if y is None else task.train[np.asarray(task.train_label) == y]
    samples, _ = gibbs.sample(
        key_sweeps,
        model.lattice,
        params,
        potts.noise(key_start, model, config.chains),
        config.sweeps,
        engine=task.config.engine,
        beta=task.config.beta,
    )
    partitions = []
    with tqdm(
        total=2 * sum(lengths), desc="annealing" + ("" if y is None else f" class {y}"), unit="temperature"
    ) as bar:
        for length in lengths:
            first = bar.n
            partitions.append(
                potts.bracket(
                    jax.random.fold_in(key_path, length),
                    model,
                    params,
                    base_biases(params, own),
                    samples,
                    length,
                    task.config.beta,
                    lambda done, first=first: bar.update(first + done - bar.n),
                )
            )
    return partitions


def measure(config: LikelihoodConfig, task: potts.PottsTask, params: dict, found: dict) -> list[runs.Row]:
    """Likelihoods of the test images, and of two exact models fitted to the training images."""
    trained, levels = task.config, task.config.levels
    dataset = data.load(trained.dataset, data_dir=trained.data_dir or None)
    parts = {part: data.select(*data.split(dataset, part), classes(trained)) for part in ("validation", "test")}
    x = data.encode(parts["test"][0], levels)
    log_z = {y: partition.low.log_z for y, partition in found.items()}
    if None in log_z:
        log_p = potts.log_likelihood(task.model, params, jnp.asarray(x), log_z[None], trained.beta)
    else:
        log_p = mixture_log_likelihood(task.model, params, jnp.asarray(x), task.train_label, log_z, trained.beta)
    gap = max(float(both.high.log_z - both.low.log_z) for both in found.values())
    error = max(both.low.standard_error for both in found.values())
    effective = min(both.low.effective_chains for both in found.values())
    counts = evaluation.PairCounts.of(np.asarray(task.train), levels)
    tree, _ = evaluation.choose_pseudo_count(counts, data.encode(parts["validation"][0], levels), (0.1, 0.3, 1.0, 3.0))
    pixels = evaluation.IndependentPixels.fit(np.asarray(task.train), levels, 1.0)
    images = f"{len(x)} test images, {levels} levels"
    rows = [
        _nats("log-likelihood", log_p, images),
        runs.Row("bits a pixel", potts.bits_per_pixel(log_p, x[0].size), "bits", "", images),
        runs.Row("standard error of log Z", error, "nats", "", f"{config.chains} chains, {effective:.0f} effective"),
        runs.Row("log Z from above less from below", gap, "nats", "", f"{config.temperatures} temperatures"),
        _nats("Chow-Liu tree on the same images", tree.log_prob(x), "exact"),
        _nats("independent pixels on the same images", pixels.log_prob(x), "exact"),
    ]
    return rows


def _nats(name: str, log_p: np.ndarray, note: str) -> runs.Row:
    error = log_p.std(ddof=1) / np.sqrt(len(log_p))
    return runs.Row(name, float(log_p.mean()), "nats", "", f"{note}; +- {error:.2g} over images")


if __name__ == "__main__":
    runs.main(LikelihoodConfig, run)
