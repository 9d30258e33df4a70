"""The report of a VAE run: bounds of the test images, samples, figures and the evaluation panel."""

import dataclasses
import math
import typing
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgen import evaluation, runs
from jaxgen.vae.evaluate import Bounds, Drawn, draw_samples, grey, measure_bounds

if typing.TYPE_CHECKING:
    from jaxgen.vae.task import VAETask


def report(task: "VAETask", params: dict, folder: runs.RunFolder) -> runs.Report:
    """Draw and save samples, draw the figures, measure the bounds and evaluate the samples."""
    from jaxgen.vae import figures  # here, so that the library does without a plotting library

    records = runs.read_metrics(folder.path / "metrics.jsonl")
    drawn = draw_samples(task, params)
    save(task, drawn, folder.samples)
    figures.samples_figure(folder.figures / "samples.png", task, drawn)
    figures.reconstructions_figure(folder.figures / "reconstructions.png", task, params)
    figures.curves_figure(folder.figures / "curves.png", records)
    seconds = runs.training_seconds(records, task.config.batch_size)
    rows = final_rows(task, params, measure_bounds(task, params), drawn, seconds)
    panel, tables = panel_rows(task, drawn)
    table = "\n".join([*map(str, rows), *tables])
    return runs.Report(
        task.title, "Variational autoencoder", rows + panel, [folder.figures / "samples.png"], table if tables else ""
    )


def save(task: "VAETask", drawn: Drawn, folder: Path) -> None:
    """Write draws.npz (samples) and means.npz (means of p(x | z) for the same z)."""
    save_samples(folder / "draws.npz", drawn.states, drawn.labels, task.config.levels)
    save_samples(folder / "means.npz", drawn.means, drawn.labels, 256)


def save_samples(
    path: Path, states: UInt8[np.ndarray, "n H W"], labels: UInt8[np.ndarray, "n"] | None, levels: int
) -> None:
    """Write states, or with 256 levels grey images, as experiments.evaluate reads them."""
    arrays = {"images": states} if levels == 256 else {"states": states, "levels": levels}
    with runs.atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays, **({} if labels is None else {"labels": labels}))


def final_rows(task: "VAETask", params: dict, bounds: Bounds, drawn: Drawn, seconds: float) -> list[runs.Row]:
    """Return the numbers of a record except those of the panel; `seconds` is the time of training."""
    config = task.config
    coding = {2: "fixed stochastic binarisation", 256: "8-bit grey"}.get(config.levels, f"{config.levels} levels")
    about = f"{len(bounds.elbo)} test images, {coding}" + ", class given" * config.conditional
    target = ">= -102" if config.levels == 2 and config.dataset == "mnist" and not config.images else ""
    pixels = math.prod(task.test.shape[1:])
    return [
        runs.Row("parameters", sum(leaf.size for leaf in jax.tree.leaves(params))),
        _mean_row("ELBO", bounds.elbo, target, about),
        _mean_row("importance-weighted bound", bounds.importance_weighted, "", f"K = {config.importance_samples}"),
        _bits_row("ELBO", bounds.elbo, pixels),
        _bits_row("importance-weighted bound", bounds.importance_weighted, pixels),
        _mean_row("KL(q || prior)", bounds.kl, "", "part of the ELBO"),
        runs.Row(
            "training",
            seconds,
            "s",
            "< 300",
            f"{config.steps} steps of {config.batch_size} images; without compilation and evaluation",
        ),
        runs.Row(
            "samples per second", drawn.per_second, "1/s", "", f"draws; without {drawn.compile_s:.1f} s of compilation"
        ),
        runs.Row("operations per sample", drawn.flops, "", "", "floating-point, as the compiler counts them"),
    ]


def panel_rows(task: "VAETask", drawn: Drawn) -> tuple[list[runs.Row], list[str]]:
    """Return rows and tables of the evaluation panel, for the draws and for the means; empty for too few samples.

    Draws are evaluated in their own coding, means as 8-bit images.
    """
    config = task.config
    rows, tables = [], []
    sets = (("draws", grey(drawn.states, config.levels), config.levels), ("means", drawn.means, None))
    for name, images, coding in sets:
        source = config.dataset, config.images, config.data_dir
        reference = evaluation.reference_for(len(images), *source, coding)
        if reference is None:
            return [], []
        result = evaluation.evaluate(images, drawn.labels, reference)
        tables.append(f"\n{name}\n{evaluation.table(result)}")
        rows += [dataclasses.replace(row, quantity=f"{row.quantity}, {name}") for row in evaluation.rows(result)]
    return rows, tables


def one_of_each(label: UInt8[np.ndarray, "n"], n: int, n_classes: int) -> Int[np.ndarray, "m"]:
    """Return the indices of n examples whose classes alternate, as those of the samples do."""
    members = [np.flatnonzero(label == digit) for digit in range(n_classes)]
    return np.array([members[k % n_classes][k // n_classes % len(members[k % n_classes])] for k in range(n)])


def _mean_row(name: str, values: Float[np.ndarray, "n"], target: str, note: str) -> runs.Row:
    error = values.std(dtype=np.float64) / math.sqrt(len(values))
    mean = float(values.mean(dtype=np.float64))
    return runs.Row(name, mean, "nats", target, f"{note}; standard error over images {error:.2g}")


def _bits_row(name: str, values: Float[np.ndarray, "n"], pixels: int) -> runs.Row:
    bits = -float(values.mean(dtype=np.float64)) / math.log(2.0) / pixels
    return runs.Row(f"negative {name}", bits, "bits per pixel", "", "upper bound of the code length under this model")
