"""Guidance and last temperature of a trained denoising machine, compared on held-out images.

    d(w, beta) = Frechet distance between the features of n samples and of the held-out images

w scales the label's part of the energy, beta is the inverse temperature of the last noise level. The pair with the
smallest d is chosen of those whose samples show the class asked for often enough. The held-out images are the
validation images: no test image is used, so the panel's numbers for the chosen pair are not selected by their own
value. All pairs share their noise. Results so far are kept in the run folder, and a second start does only the rest.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen import data, evaluation, runs
from jaxgen.errors import UserError
from jaxgen.evaluation.measures.frechet import Moments
from jaxgen.potts.denoising.evaluate import final_generation
from jaxgen.potts.denoising.generate import Denoiser, generate
from jaxgen.potts.denoising.task import DenoisingTask, restore_denoiser
from jaxgen.runs import option, seed_option
from jaxgen.runs.processes import fingerprints
from jaxgen.runs.tables import aligned
from jaxgen.training.keys import stream

_USES = ("samples", "binarization")


@dataclasses.dataclass(frozen=True)
class GuidanceConfig:
    """The settings of the comparison."""

    seed: int = seed_option("seed of the samples", group="comparison")
    accuracy: float = option(
        0.95, "least conditional accuracy of the pair that is chosen", group="comparison", low=0.0, high=1.0
    )
    n: int = option(2000, "samples per pair, the classes in turn", group="comparison", low=256, high=10_000)
    guidances: str = option("1,1.2,1.4,1.5,1.6", "guidances w to compare", group="comparison")
    betas: str = option("1,1.3", "inverse temperatures of the last level to compare", group="comparison")


class Measured(NamedTuple):
    """The Frechet distance to the held-out images and the conditional accuracy of one pair."""

    w: float
    beta: float
    frechet: float
    accuracy: float


def measure(config: GuidanceConfig, workdir: Path) -> runs.Report:
    """Compare all pairs; return the report. UserError for a run without classes or images that it cannot judge."""
    task, model = restore_denoiser(workdir)
    if not task.config.labels:
        raise UserError("labels is false in this run, so that nothing can be guided; allowed: a run with --labels")
    guidances = runs.numbers("guidances", config.guidances, 0, 10)
    pairs = list(itertools.product(guidances, runs.numbers("betas", config.betas, 0.01, 100)))
    source = task.config.dataset, task.config.images, task.config.data_dir
    reference = evaluation.reference_for(max(config.n, evaluation.MIN_SAMPLES), *source, task.config.levels)
    if reference is None:
        raise UserError("images cannot be evaluated; allowed: grey images with 130 test images or more")
    held_out = data.split(data.open(*source).grey(), "validation")[0]
    coded = task.coded(stream(config.seed, "binarization", _USES), held_out)
    moments = evaluation.moments(reference.features(data.decode(coded, task.config.levels)))
    identity = {"run": runs.to_json(task.config), "seed": config.seed, "n": config.n}
    identity |= fingerprints({"weight": model.params["weight"], "held out": held_out})
    pieces = runs.Pieces(workdir / ".guidance", identity)

    def measured(w: float, beta: float) -> Measured:
        arrays = pieces.get(f"{w!r} {beta!r}", lambda: _figures(config, task, model, (w, beta), reference, moments))
        return Measured(w, beta, float(arrays["frechet"]), float(arrays["accuracy"]))

    rows = []
    with runs.progress(len(pairs), "comparing guidances", "pair") as bar:
        for pair in pairs:
            rows.append(measured(*pair))
            bar.update()
    right = [row for row in rows if row.accuracy >= config.accuracy]
    best = min(right or rows, key=lambda row: row.frechet)
    pieces.clear()
    return _report(config, task, rows, best, len(held_out))


def _figures(
    config: GuidanceConfig,
    task: DenoisingTask,
    model: Denoiser,
    pair: tuple[float, float],
    reference: evaluation.Reference,
    held_out: Moments,
) -> dict[str, np.ndarray]:
    how = dataclasses.replace(final_generation(task), guidance=pair[0], last_beta=pair[1])
    label = task.draw_labels(config.n)
    images = data.decode(generate(stream(config.seed, "samples", _USES), model, label, how), task.config.levels)
    frechet = evaluation.frechet_distance(evaluation.moments(reference.features(images)), held_out)
    return {"frechet": np.asarray(frechet), "accuracy": np.asarray(np.mean(reference.read(images) == label))}


def _report(
    config: GuidanceConfig, task: DenoisingTask, measured: list[Measured], best: Measured, n: int
) -> runs.Report:
    note = f"{n:,} held-out images; conditional accuracy "
    rows = [
        runs.Row(
            f"Frechet distance to held-out images, w = {row.w:g}, last beta = {row.beta:g}",
            row.frechet,
            note=f"{note}{row.accuracy:.4f}",
        )
        for row in measured
    ]
    why = f"smallest distance of those with a conditional accuracy of {config.accuracy:g} or more, if there are any"
    rows += [runs.Row("guidance chosen", best.w, note=why), runs.Row("last beta chosen", best.beta, note=why)]
    table = [row._asdict() for row in measured]
    title = f"{task.title}: guidance, {config.n:,} samples each"
    return runs.Report(title, "Potts energy-based model", rows, table=aligned(table, list(table[0])))
