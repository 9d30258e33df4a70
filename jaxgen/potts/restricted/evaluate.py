"""What is measured of a restricted machine, during and after training."""

import time
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxgen import data, evaluation, runs, training
from jaxgen.potts.likelihood.annealed_importance import PartitionEstimate
from jaxgen.potts.restricted.annealing import anneal_upwards, annealing_path
from jaxgen.potts.restricted.contrastive import sweep_machine
from jaxgen.potts.restricted.likelihood import (
    LikelihoodBracket,
    likelihood_bracket,
    log_likelihood,
    log_partition_from_below,
)
from jaxgen.potts.restricted.machine import Params

if typing.TYPE_CHECKING:
    from jaxgen.potts.restricted.task import RestrictedTask

_QUICK = (128, 1000)  # chains and temperatures of an estimate on the way
_SHOWN = 100
_BATCH = 1000  # samples drawn at once
_TEMPERATURES = 500  # of a sample


def evaluation_hook(task: "RestrictedTask", log: runs.Logger) -> Callable[[int, training.TrainState], dict[str, float]]:
    """Return a hook for `fit` that logs samples and the validation log-likelihood of the averaged parameters."""
    validation = task.states("validation")

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        params = state.ema_params
        estimate = log_partition_from_below(task.key("validation"), task.machine, params, task.fixed, _QUICK)
        log.images(step, "samples", data.decode(task.images(estimate.states)[:_SHOWN], task.config.levels))
        log_p = log_likelihood(task.machine, params, task.mean, validation, estimate.log_z)
        return {
            "learning_rate": float(state.opt_state.hyperparams["learning_rate"]),
            "validation_log_likelihood": float(log_p.mean()),
            "effective_chains": estimate.effective_chains,
        }

    return hook


def draw_samples(task: "RestrictedTask", params: Params, n: int) -> tuple[UInt8[np.ndarray, "n H W"], float]:
    """Return n images annealed from independent pixels, without selection, and the number of images per second."""
    path = annealing_path(task.machine, params, *task.fixed)
    key_paths, key_sweeps = jax.random.split(task.key("samples"))
    pieces, seconds, size = [], [], min(_BATCH, n)
    with runs.progress(n, "drawing samples", "image") as bar:
        for number in range(-(-n // size)):
            start = time.perf_counter()
            _, v = anneal_upwards(jax.random.fold_in(key_paths, number), path, size, _TEMPERATURES)
            v = sweep_machine(jax.random.fold_in(key_sweeps, number), task.machine, params, task.mean, v, _TEMPERATURES)
            pieces.append(np.asarray(v))
            seconds.append(time.perf_counter() - start)
            bar.update(min(size, n - number * size))
    return task.images(np.concatenate(pieces)[:n]), size / float(np.median(seconds[-3:]))


def report(task: "RestrictedTask", state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
    """Estimate the likelihood of the test images; draw samples, plot them and evaluate them."""
    from jaxgen.potts.figures import restricted  # here, so that the library does without a plotting library

    config, params = task.config, state.ema_params
    test = task.states("test")
    sizes = config.annealed_chains, config.temperatures, min(config.both_images, len(test))
    pieces = runs.Pieces(folder.path / ".report", {"config": runs.to_json(config), "step": int(state.step)})

    def anneal() -> dict[str, np.ndarray | float]:
        with runs.progress(2 * config.temperatures, "annealing", "temperature") as bar:
            both = likelihood_bracket(
                task.key("test"), task.machine, params, task.fixed, test, sizes, lambda done: bar.update(done - bar.n)
            )
        return both.log_z._asdict() | {"optimistic": both.optimistic, "conservative": both.conservative}

    def draw() -> dict[str, np.ndarray | float]:
        return dict(zip(("images", "speed"), draw_samples(task, params, config.samples), strict=True))

    bracket = _bracket(pieces.get("likelihood", anneal))
    samples = pieces.get("samples", draw)
    images, speed = samples["images"], float(samples["speed"])
    with runs.atomic_write(folder.samples / "final.npz") as temporary:
        np.savez_compressed(temporary, states=images, levels=config.levels)
    records = runs.read_metrics(folder.path / "metrics.jsonl")
    files = [folder.figures / name for name in ("samples.png", "curves.png")]
    train = task.encode(task.key("samples"), jnp.asarray(task.train[:_SHOWN]), jnp.arange(_SHOWN))
    restricted.samples_figure(files[0], config.levels, task.images(train), images[:_SHOWN])
    restricted.curves_figure(files[1], records)
    how = f"annealed over {_TEMPERATURES} temperatures, then {_TEMPERATURES} sweeps"
    rows = [
        runs.Row("parameters", sum(leaf.size for leaf in jax.tree.leaves(state.params))),
        runs.Row("training time", runs.training_seconds(records, config.batch_size), "s"),
        *likelihood_rows(task, bracket),
        runs.Row("samples per second", speed, "", "", how),
        runs.Row("site updates per sample", 2 * _TEMPERATURES * (task.machine.n_visible + task.machine.n_hidden)),
        *judged(task, images, pieces),
    ]
    pieces.clear()
    return runs.Report(task.title, "Potts energy-based model", rows, files)


def _bracket(arrays: dict[str, np.ndarray]) -> LikelihoodBracket:
    """Return the bracket whose numbers are in a piece."""
    numbers = [float(arrays[name]) for name in ("log_z", "standard_error", "effective_chains")]
    estimate = PartitionEstimate(*numbers, arrays["log_weights"], arrays["states"])
    return LikelihoodBracket(estimate, arrays["optimistic"], arrays["conservative"])


def likelihood_rows(task: "RestrictedTask", bracket: LikelihoodBracket) -> list[runs.Row]:
    """Return the rows of both estimates of the test log-likelihood, in nats per image and bits per pixel."""
    config, log_p, low = task.config, bracket.optimistic, bracket.log_z
    n = len(bracket.conservative)
    error = log_p.std(ddof=1) / np.sqrt(len(log_p))
    note = f"{len(log_p)} test images +- {error:.2g}; {config.annealed_chains} chains, {config.temperatures:,} "
    note += (
        f"temperatures, {low.effective_chains:.0f} effective chains, log Z {low.log_z:.2f} +- {low.standard_error:.2g}"
    )
    mean = float(log_p.mean())
    below = f"RAISE, {n} test images, one path each; difference on these images {bracket.gap:.3g}"
    return [
        runs.Row("log-likelihood", mean, "nats", "", note),
        runs.Row("log-likelihood, conservative", mean - bracket.gap, "nats", "", below),
        runs.Row("bits per pixel", -mean / (task.machine.n_visible * float(np.log(2.0)))),
    ]


def judged(task: "RestrictedTask", images: UInt8[np.ndarray, "n H W"], pieces: runs.Pieces) -> list[runs.Row]:
    """Return the rows of the evaluation panel; no rows for too few images or images of another size."""
    config = task.config
    source = config.dataset, config.images, config.data_dir
    reference = evaluation.reference_for(len(images), *source, config.levels)
    if reference is None:
        return []
    return evaluation.rows(evaluation.evaluate(data.decode(images, config.levels), None, reference, pieces))
