"""Guidance and sampler of a trained model, compared on held-out images.

    d(sampler, evaluations, w) = Frechet distance between the features of n samples and of the held-out images

First w is compared with the run's own sampler, and the one with the smallest d is chosen of those whose samples show
the class asked for often enough. Then the samplers and the numbers of network evaluations per sample are compared at
this w, beside the error of the same sampler with an exact denoiser on the mixture of `mixture`, which has no error of a
network. No test image is used, so the panel's numbers for the chosen settings are not selected by their own value. An
evaluation with guidance asks the network for two predictions, which count as one. Every setting starts from the same
noise. Results so far are kept in the run folder, and a second start does only the rest.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree, UInt8

from jaxgen import evaluation, runs, training
from jaxgen.diffusion.evaluate import classes_in_turn, draw_images, final_settings
from jaxgen.diffusion.model import Generation, check_sampler
from jaxgen.diffusion.rectified_flow import FLOW
from jaxgen.diffusion.samplers import FLOW_SAMPLERS, SAMPLERS
from jaxgen.diffusion.studies.mixture import mixture_error
from jaxgen.diffusion.task import DiffusionTask, restore_run
from jaxgen.errors import UserError, quoted
from jaxgen.evaluation.measures.frechet import Moments
from jaxgen.runs import option, seed_option
from jaxgen.runs.tables import aligned

PER_STEP = {"heun": 2, "midpoint": 2}  # evaluations; one for every other sampler


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """The settings of the comparison."""

    seed: int = seed_option("seed of the noise", group="comparison")
    accuracy: float = option(
        0.99, "least conditional accuracy of the guidance that is chosen", group="comparison", low=0.0, high=1.0
    )
    n: int = option(2000, "samples per setting, the classes in turn", group="comparison", low=256, high=10_000)
    guidances: str = option("1,1.5,2,2.5,3", "guidances w to compare", group="comparison")
    evaluations: str = option("4,8,12,20,50", "network evaluations per sample to compare", group="comparison")
    samplers: str = option(
        "all", "samplers to compare, separated by commas; all: every one that the model allows", group="comparison"
    )


class Measured(NamedTuple):
    """One setting: the Frechet distance to the held-out images, the conditional accuracy, the error on the mixture."""

    sampler: str
    evaluations: int
    w: float
    frechet: float
    accuracy: float
    error: float


def measure(config: SamplingConfig, workdir: Path) -> runs.Report:
    """Compare guidances, then samplers, and return the report.

    Raises:
        UserError: a run without validation images, images that cannot be evaluated, or a setting that is not allowed.
    """
    task, state = restore_run(workdir)
    if task.config.part != "train":
        raise UserError("part is 'all', which holds out the test images alone; allowed: a run with part='train'")
    own = final_settings(task.config)
    guidances, settings = runs.numbers("guidances", config.guidances, 0, 100), compared(config, task, own)
    reference = evaluation.reference_for(
        max(config.n, evaluation.MIN_SAMPLES), task.config.dataset, task.config.images, task.config.data_dir
    )
    if reference is None:
        raise UserError("images cannot be evaluated; allowed: grey images with 130 test images or more")
    held_out = evaluation.moments(reference.features(task.held_out))
    identity = {"run": runs.to_json(task.config), "step": int(state.step), "seed": config.seed, "n": config.n}
    pieces = runs.Pieces(workdir / ".sampling", identity)

    def measured(settings: Generation) -> Measured:
        name = f"{settings.sampler} {settings.steps} {settings.w!r}"
        arrays = pieces.get(name, lambda: _judged(config, task, state.ema_params, settings, reference, held_out))
        used = settings.steps * PER_STEP.get(settings.sampler, 1)
        return Measured(settings.sampler, used, settings.w, *(float(arrays[part]) for part in Measured._fields[3:]))

    by_guidance = [measured(own._replace(w=w)) for w in guidances]
    right = [row for row in by_guidance if row.accuracy >= config.accuracy]
    best = min(right or by_guidance, key=lambda row: row.frechet).w
    by_sampler = [measured(setting._replace(w=best)) for setting in settings]
    pieces.clear()
    rows = [_row(row, len(task.held_out)) for row in by_guidance + by_sampler]
    note = f"smallest distance of those with a conditional accuracy of {config.accuracy} or more, if there are any"
    rows.insert(len(by_guidance), runs.Row("guidance chosen", best, note=note))
    title = f"{task.title}: guidance and samplers, {config.n:,} samples each"
    return runs.Report(title, "Diffusion", rows, table=_table(by_guidance, by_sampler))


def compared(config: SamplingConfig, task: DiffusionTask, settings: Generation) -> list[Generation]:
    """Return the settings of every sampler and of every number of evaluations that is a multiple of its own per step.

    Raises:
        UserError: a sampler that the model does not allow, a sampler twice, or a number of evaluations below 1.
    """
    names = [name.strip() for name in config.samplers.split(",")]
    if config.samplers == "all":
        names = list(SAMPLERS)
        if task.diffusion.prediction == FLOW:  # ddim is Euler on other times
            names = [*FLOW_SAMPLERS, *(name for name in SAMPLERS if name != "ddim")]
    if len(set(names)) < len(names):
        raise UserError(f"samplers is {quoted(config.samplers)}; allowed: all, or samplers, each once")
    for name in names:
        check_sampler(name, task.diffusion)
    wanted = runs.integers("evaluations", config.evaluations)
    pairs = [(name, n // PER_STEP.get(name, 1)) for name in names for n in wanted if n % PER_STEP.get(name, 1) == 0]
    return [settings._replace(sampler=name, steps=steps) for name, steps in pairs if steps <= task.config.timesteps]


def judge(
    task: DiffusionTask,
    params: PyTree,
    settings: Generation,
    n: int,
    seed: int,
    reference: evaluation.Reference,
    held_out: Moments,
) -> tuple[UInt8[np.ndarray, "n ..."], dict[str, np.ndarray]]:
    """Return samples, and their Frechet distance ("frechet") and conditional accuracy ("accuracy").

    Args:
        task: the model with its data.
        params: the parameters of the model.
        settings: sampler, steps and guidance; the classes of the samples alternate.
        n: number of samples, more than the reference has features.
        seed: seed of the noise of the samples.
        reference: the networks of the evaluation.
        held_out: moments of the features of the held-out images.
    """
    label = classes_in_turn(n, task.config.classes)
    key = jax.random.fold_in(training.seed_key(seed), 1)  # other noise than that of the final samples
    images = draw_images(key, task.diffusion, params, label, settings)
    frechet = evaluation.frechet_distance(evaluation.moments(reference.features(images)), held_out)
    accuracy = np.mean(reference.read(images) == label)
    return images, {"frechet": np.asarray(frechet), "accuracy": np.asarray(accuracy)}


def _judged(
    config: SamplingConfig,
    task: DiffusionTask,
    params: PyTree,
    settings: Generation,
    reference: evaluation.Reference,
    held_out: Moments,
) -> dict[str, np.ndarray]:
    _, judged = judge(task, params, settings, config.n, config.seed, reference, held_out)
    return judged | {"error": np.asarray(mixture_error(task.diffusion.process, settings))}


def _row(row: Measured, n: int) -> runs.Row:
    what = f"Frechet distance to held-out images, {row.sampler}, {row.evaluations} evaluations, w = {row.w:g}"
    note = f"{n:,} held-out images; conditional accuracy {row.accuracy:.4f}; error on the mixture {row.error:.2g}"
    return runs.Row(what, row.frechet, note=note)


def _table(by_guidance: Sequence[Measured], by_sampler: Sequence[Measured]) -> str:
    """Return the comparison of guidances, and each measure of the samplers by network evaluations, as text."""
    first = [{"w": f"{row.w:g}", "Frechet": row.frechet, "accuracy": row.accuracy} for row in by_guidance]
    counts = sorted({row.evaluations for row in by_sampler})
    texts = [aligned(first, list(first[0]))]
    measures = {"frechet": "Frechet distance", "accuracy": "conditional accuracy", "error": "error on the mixture"}
    for field, measure in measures.items() if by_sampler else ():
        lines = []
        for name in dict.fromkeys(row.sampler for row in by_sampler):
            values = {row.evaluations: getattr(row, field) for row in by_sampler if row.sampler == name}
            lines.append({"sampler": name} | {f"{n}": values.get(n, "") for n in counts})
        texts.append(f"{measure} by network evaluations\n{aligned(lines, list(lines[0]))}")
    return "\n\n".join(texts)
