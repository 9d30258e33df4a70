"""What a lattice bought: likelihood of binarised test images, Frechet distance of samples, mixing time."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from tqdm import tqdm

from jaxgen import data, evaluation, gibbs, runs, visualization
from jaxgen.potts.evaluate import noise
from jaxgen.potts.likelihood.log_likelihood import base_biases, bracket
from jaxgen.potts.studies.lattices import LatticeTask
from jaxgen.potts.studies.trajectory import observe_sweeps, principal_component
from jaxgen.runs import Row

ANCHOR = -86.34  # nats a test image: RBM of 500 hidden units, CD-25 (Salakhutdinov and Murray 2008, table 2)
_STAGE, _OBSERVED, _BASE = 50, 64, 5000


@dataclasses.dataclass(frozen=True)
class LatticeFigures:
    """Numbers of one trained lattice.

    Attributes:
        parameters, steps: free numbers, updates that the time allowed.
        log_p: mean log p(v) of test images in nats, by log Z from below.
        image_error: its standard error over images.
        log_z_error, log_z_gap: standard error of log Z from below, and how much log Z from above is higher.
        frechet: of the samples, at two levels.
        tau: integrated autocorrelation time in sweeps, the longer of energy and principal component; None if the run
            is too short to tell.
        seconds_a_sweep: of `chains` chains.
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


def measure_lattice(
    task: LatticeTask, params: dict, steps: int, test: UInt8[np.ndarray, "n 28 28"], reference, path: Path
) -> tuple[LatticeFigures, UInt8[np.ndarray, "64 28 28"]]:
    """All numbers of a lattice and 64 of its samples; of the files at `path`, .json and .npz, if they are there."""
    figures, shown = path.with_suffix(".json"), path.with_suffix(".npz")
    if not figures.exists():
        found, images = _measured(task, params, steps, test, reference)
        with runs.atomic_write(shown) as temporary:
            np.savez_compressed(temporary, states=images, levels=2)
        with runs.atomic_write(figures) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(found)) + "\n")
    with np.load(shown, allow_pickle=False) as file:
        images = file["states"][:64]
    return LatticeFigures(**json.loads(figures.read_text())), images


def _measured(task: LatticeTask, params: dict, steps: int, test: np.ndarray, reference):
    config, lattice = task.config, task.model.lattice
    key = jax.random.fold_in(jax.random.key(config.seed), 2**30)
    key_start, key_sweeps, key_base, key_paths, key_mixing = jax.random.split(key, 5)
    x, seconds = noise(key_start, task.model, config.chains), []
    stages = gibbs.sample_stages(key_sweeps, lattice, params, x, config.sweeps, _STAGE)
    with tqdm(total=config.sweeps, desc=f"{task.name}: samples", unit="sweep") as bar:
        before = time.perf_counter()
        for done, x, _ in stages:
            jax.block_until_ready(x)
            seconds.append((time.perf_counter() - before) / (done - bar.n))
            before = time.perf_counter()
            bar.update(done - bar.n)
    images = np.asarray(task.pixels(x))
    base = base_biases(params, task.on_grid(key_base, params, task.train[:_BASE]))
    with tqdm(total=2 * config.temperatures, desc=f"{task.name}: annealing", unit="temperature") as bar:
        both = bracket(
            key_paths,
            task.model,
            params,
            base,
            x[: config.annealed_chains],
            config.temperatures,
            progress=lambda done: bar.update(done - bar.n),
        )
    log_p = task.log_likelihood(params, test, both.low.log_z)
    direction = task.direction(principal_component(task.train[:_BASE]))
    _, observed = observe_sweeps(key_mixing, lattice, params, direction, x[:_OBSERVED], config.mixing_sweeps)
    tau = max(gibbs.integrated_autocorrelation_time(np.asarray(series)) for series in observed)
    judged = evaluation.evaluate(data.decode(images, 2), None, reference)
    found = LatticeFigures(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        steps=steps,
        log_p=float(log_p.mean()),
        image_error=float(log_p.std(ddof=1) / np.sqrt(len(log_p))),
        log_z_error=both.low.standard_error,
        log_z_gap=float(both.high.log_z - both.low.log_z),
        frechet=judged.figures["frechet"],
        tau=tau if math.isfinite(tau) else None,
        seconds_a_sweep=float(np.median(seconds)),
    )
    return found, images


def lattice_rows(found: Mapping[str, LatticeFigures], floor: float, chains: int, n_test: int) -> list[Row]:
    """The record: three numbers a lattice, then the best likelihood beside the anchor."""
    rows = []
    for name, one in found.items():
        note = f"{n_test} test images +- {one.image_error:.2g}; log Z +- {one.log_z_error:.2g}, from above "
        note += f"{one.log_z_gap:+.2g}; {one.parameters:,} parameters, {one.steps:,} updates"
        rows.append(Row(f"{name}: log-likelihood", one.log_p, "nats", "", note))
        rows.append(Row(f"{name}: MNIST-Frechet, two levels", one.frechet, "", "", f"{chains} samples"))
        speed = f"{chains / one.seconds_a_sweep:,.0f} sweeps of a chain a second"
        rows.append(Row(f"{name}: mixing time", one.tau or "longer than the run can tell", "sweeps", "", speed))
    rows.append(Row("MNIST-Frechet of binarised training images", floor, "", "", "the least that samples can reach"))
    best = max(found, key=lambda name: found[name].log_p)
    note = f"{best}; {found[best].log_p - ANCHOR:+.2f} from an RBM of 500 hidden units, CD-25 ({ANCHOR})"
    rows.append(Row("best log-likelihood of all lattices", found[best].log_p, "nats", f"> {ANCHOR}", note))
    return rows


def lattice_table(found: Mapping[str, LatticeFigures]) -> str:
    """The comparison as Markdown."""
    head = ["lattice", "parameters", "updates", "nats", "log Z from above", "Frechet", "mixing time (sweeps)"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, one in found.items():
        tau = "unknown" if one.tau is None else f"{one.tau:.1f}"
        cells = [name, f"{one.parameters:,}", f"{one.steps:,}", f"{one.log_p:.2f} ± {one.image_error:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{one.log_z_gap:+.2f}", f"{one.frechet:.2f}", tau]) + " |")
    return "\n".join(lines) + "\n"


def lattices_figure(path: Path, found: Mapping[str, LatticeFigures], floor: float) -> None:
    """Bars of the three numbers, a lattice each."""
    names = list(found)
    panels: Sequence[tuple[str, list[float], float | None, str]] = [
        ("log-likelihood (nats)", [found[n].log_p for n in names], ANCHOR, "RBM, 500 hidden"),
        ("MNIST-Frechet, two levels", [found[n].frechet for n in names], floor, "binarised training images"),
        ("mixing time (sweeps)", [found[n].tau or 0.0 for n in names], None, ""),
    ]
    figure = Figure(figsize=(12, 0.42 * len(names) + 1.4), dpi=110, layout="constrained")
    for axis, (title, values, line, what) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        axis.barh(range(len(names)), values, color="C0", height=0.7)
        for place, value in enumerate(values):
            text = "unknown" if title.startswith("mixing") and found[names[place]].tau is None else f" {value:.4g} "
            axis.text(value, place, text, va="center", ha="right" if value < 0 else "left", fontsize=8)
        axis.margins(x=0.25)
        if line is not None:
            axis.axvline(line, color="black", linestyle="--", linewidth=1)
            axis.set_xlabel(f"dashed: {what}, {line:.4g}", fontsize=9)
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(names)), names, fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
    figure.axes[0].invert_yaxis()
    visualization.save_figure(path, figure)
