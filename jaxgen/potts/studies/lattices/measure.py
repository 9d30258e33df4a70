"""Measures of each lattice: likelihood of binarised test images, Frechet distance of samples, mixing time."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, UInt8
from tqdm import tqdm

from jaxgen import data, evaluation, gibbs, runs
from jaxgen.potts.evaluate import noise
from jaxgen.potts.keys import LatticeMeasureKeys, lattice_measure_keys
from jaxgen.potts.likelihood.log_likelihood import base_biases
from jaxgen.potts.likelihood.partition import bracket
from jaxgen.potts.statistics import principal_component
from jaxgen.potts.studies.lattices.task import LatticeTask
from jaxgen.potts.studies.trajectory import observe_sweeps
from jaxgen.runs import Row, tables

ANCHOR = -86.34  # nats per test image: RBM of 500 hidden units, CD-25 (Salakhutdinov and Murray 2008, table 2)
_STAGE, _OBSERVED, _BASE = 50, 64, 5000


@dataclasses.dataclass(frozen=True)
class LatticeFigures:
    """The numbers of one trained lattice.

    Attributes:
        parameters: number of free parameters.
        steps: number of updates that fitted into the training time.
        log_p: mean log p(v) of test images in nats, by log Z from below.
        image_error: standard error of log_p over images.
        log_z_error: standard error of log Z from below.
        log_z_gap: log Z from above minus log Z from below.
        frechet: MNIST-Frechet distance of the samples, at two levels.
        tau: integrated autocorrelation time in sweeps, the longer of energy and principal component; None if the run
            is too short to tell.
        seconds_a_sweep: seconds per sweep of `chains` chains.
    """

    parameters: int
    steps: int
    log_p: float
    image_error: float
    log_z_error: float
    log_z_gap: float
    frechet: float
    tau: float | None
    seconds_a_sweep: float


def measure_lattice(task: LatticeTask, params: dict, path: Path) -> tuple[LatticeFigures, UInt8[np.ndarray, "64 h w"]]:
    """Return the numbers of a lattice and 64 of its samples.

    They are read from the files `path`.json and `path`.npz if these exist, and otherwise measured and written.
    """
    figures, shown = path.with_suffix(".json"), path.with_suffix(".npz")
    if not figures.exists():
        measured, images = _measured(task, params)
        with runs.atomic_write(shown) as temporary:
            np.savez_compressed(temporary, states=images, levels=2)
        with runs.atomic_write(figures) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(measured)) + "\n")
    images = runs.read_npz(shown, "the file of samples", "the one that the study wrote")["states"][:64]
    names = tuple(field.name for field in dataclasses.fields(LatticeFigures))
    content = runs.read_json(figures, "the file of measures", "the one that the study wrote", names)
    return LatticeFigures(**{name: content[name] for name in names}), images


def _measured(task: LatticeTask, params: dict) -> tuple[LatticeFigures, UInt8[np.ndarray, "n h w"]]:
    config, lattice, train = task.config, task.model.lattice, task.images.train
    keys = lattice_measure_keys(config.seed)
    x, seconds = _timed_samples(task, params, keys)
    images = np.asarray(task.pixels(x))
    base = base_biases(params, task.on_grid(keys.base, params, train[:_BASE]))
    with tqdm(total=2 * config.temperatures, desc=f"{task.name}: annealing", unit="temperature") as bar:
        both = bracket(
            keys.paths,
            task.model,
            params,
            base,
            x[: config.annealed_chains],
            config.temperatures,
            progress=lambda done: bar.update(done - bar.n),
        )
    log_p = task.log_likelihood(params, task.images.test, both.low.log_z)
    direction = task.direction(principal_component(train[:_BASE]))
    _, observed = observe_sweeps(keys.mixing, lattice, params, direction, x[:_OBSERVED], config.mixing_sweeps)
    tau = max(gibbs.integrated_autocorrelation_time(np.asarray(series)) for series in observed)
    judged = evaluation.evaluate(data.decode(images, 2), None, task.images.reference)
    figures = LatticeFigures(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        steps=task.steps,
        log_p=float(log_p.mean()),
        image_error=float(log_p.std(ddof=1) / np.sqrt(len(log_p))),
        log_z_error=both.low.standard_error,
        log_z_gap=both.gap,
        frechet=judged.figures["frechet"],
        tau=tau if math.isfinite(tau) else None,
        seconds_a_sweep=float(np.median(seconds)),
    )
    return figures, images


def _timed_samples(
    task: LatticeTask, params: dict, keys: LatticeMeasureKeys
) -> tuple[UInt8[Array, "n H W"], list[float]]:
    """Return samples drawn from noise, and the seconds per sweep of every stage."""
    config, seconds = task.config, []
    x = noise(keys.start, task.model, config.chains)
    stages = gibbs.sample_stages(keys.sweeps, task.model.lattice, params, x, config.sweeps, _STAGE)
    with tqdm(total=config.sweeps, desc=f"{task.name}: samples", unit="sweep") as bar:
        before = time.perf_counter()
        for done, x, _ in stages:
            jax.block_until_ready(x)
            seconds.append((time.perf_counter() - before) / (done - bar.n))
            before = time.perf_counter()
            bar.update(done - bar.n)
    return x, seconds


def figure_rows(name: str, figures: LatticeFigures, chains: int, n_test: int) -> list[Row]:
    """Return the three rows of one lattice."""
    note = f"{n_test} test images +- {figures.image_error:.2g}; log Z +- {figures.log_z_error:.2g}, from above "
    note += f"{figures.log_z_gap:+.2g}; {figures.parameters:,} parameters, {figures.steps:,} updates"
    known = figures.tau is not None
    speed = f"{chains / figures.seconds_a_sweep:,.0f} chain sweeps per second"
    return [
        Row(f"{name}: log-likelihood", figures.log_p, "nats", "", note),
        Row(f"{name}: MNIST-Frechet, two levels", figures.frechet, "", "", f"{chains} samples"),
        Row(f"{name}: mixing time", figures.tau or "longer than the run can measure", "sweeps" * known, "", speed),
    ]


def lattice_rows(
    figures: Mapping[str, LatticeFigures], floor: float, chains: int, n_test: int, anchor: float | None = ANCHOR
) -> list[Row]:
    """Return the rows of the record: three per lattice, then the best likelihood beside a published one, if any."""
    rows = []
    for name, of_lattice in figures.items():
        rows += figure_rows(name, of_lattice, chains, n_test)
    rows.append(Row("MNIST-Frechet of binarised training images", floor, "", "", "the least that samples can reach"))
    best = max(figures, key=lambda name: figures[name].log_p)
    note, target = best, ""
    if anchor is not None:
        note += f"; {figures[best].log_p - anchor:+.2f} from an RBM of 500 hidden units, CD-25 ({anchor})"
        target = f"> {anchor}"
    rows.append(Row("best log-likelihood of all lattices", figures[best].log_p, "nats", target, note))
    return rows


def lattice_table(figures: Mapping[str, LatticeFigures]) -> str:
    """Return the comparison as a Markdown table."""
    rows = [
        {
            "lattice": name,
            "parameters": f"{row.parameters:,}",
            "updates": f"{row.steps:,}",
            "nats": f"{row.log_p:.2f} ± {row.image_error:.2f}",
            "log Z from above": f"{row.log_z_gap:+.2f}",
            "Frechet": f"{row.frechet:.2f}",
            "mixing time (sweeps)": "unknown" if row.tau is None else f"{row.tau:.1f}",
        }
        for name, row in figures.items()
    ]
    return tables.markdown(rows, list(rows[0])) + "\n"
