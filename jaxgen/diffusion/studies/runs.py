"""The runs of the study: train or restore each configuration, draw samples, write figures, summary and record rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt8

from jaxgen import evaluation, runs, training
from jaxgen.diffusion.config import DiffusionConfig
from jaxgen.diffusion.evaluate import draw_images, held_out_losses, mean_of
from jaxgen.diffusion.model import Generation
from jaxgen.diffusion.studies.comparison import (
    DIGITS,
    EACH,
    GUIDANCES,
    NOTEBOOK_LOSSES,
    Run,
    accuracy_by_guidance,
    comparisons,
    epoch_losses,
    summary,
)
from jaxgen.diffusion.task import DiffusionTask
from jaxgen.training.task import Prepared, prepared

Samples = dict[float, UInt8[np.ndarray, "n height width"]]


class StudySettings(NamedTuple):
    """How the runs of the study are trained and measured.

    Attributes:
        train: whether to train configurations that are not finished; otherwise they are left out.
        generation: sampler and steps of the samples; guidance and the largest number of steps are set per run.
        held_out: test images for the held-out loss.
    """

    train: bool
    generation: Generation
    held_out: int


def study_run(path: Path, config: DiffusionConfig, settings: StudySettings) -> tuple[Run, Samples] | None:
    """Return the measurements and the samples of one configuration and seed; None if it is not trained.

    Args:
        path: the run folder.
        config: the settings of the run.
        settings: the settings of the study.
    """
    if not settings.train and not (path / "checkpoints").is_dir():
        return None
    task = DiffusionTask.load(config)
    start = prepared(task) if settings.train else None
    with runs.RunFolder.open(path, config) as folder:
        state = _train(start, folder) if start else _restored(task, folder)
        if state is None:
            return None
        images = {w: samples(settings.generation._replace(w=w), task, state, folder) for w in GUIDANCES}
        records = runs.read_metrics(folder.path / "metrics.jsonl")
    right = {w: int((classes == labels()).sum()) for w, classes in _read(config, images).items()}
    losses = held_out_losses(task, state.ema_params, settings.held_out)
    return Run(task, epoch_losses(records, task), losses, right), images


def _train(start: Prepared, folder: runs.RunFolder) -> training.TrainState:
    """Train, or continue, without evaluations: the study measures at the end."""
    return training.fit(start.state, start.step, start.arrays, start.order, folder, start.options)


def _restored(task: DiffusionTask, folder: runs.RunFolder) -> training.TrainState | None:
    template = task.initial_state()[0]
    state = training.Checkpoints(folder.checkpoints, read_only=True).restore_latest(template)
    return None if state is None or int(state.step) < task.steps else state


def _read(config: DiffusionConfig, images: Samples) -> dict[float, Int[np.ndarray, "n"]]:
    """Return the class that the accuracy network reads in each sample."""
    judge = evaluation.load_reference("mnist", data_dir=config.data_dir or None).params["accuracy"]
    return {w: evaluation.apply_network("accuracy", judge, drawn)[0].argmax(1) for w, drawn in images.items()}


def labels() -> Int[np.ndarray, "n"]:
    """Return the labels of 16 images of every digit of the study, one digit after the other."""
    return np.repeat(np.asarray(DIGITS, np.int32), EACH)


def samples(
    generation: Generation, task: DiffusionTask, state: training.TrainState, folder: runs.RunFolder
) -> UInt8[np.ndarray, "n height width"]:
    """Return the images of one guidance, from samples/ if the same settings have drawn them before."""
    generation = generation._replace(steps=min(generation.steps, task.config.timesteps))
    stem = f"w{generation.w:g}_{generation.sampler}_{generation.steps}steps" + "_unclipped" * (not generation.clip_x0)
    path = folder.samples / f"{stem}.npz"
    if path.exists():
        return runs.read_npz(path, "the file of samples", "the file that the study wrote")["images"]
    images = draw_images(jax.random.key(0), task.diffusion, state.ema_params, labels(), generation)
    with runs.atomic_write(path) as temporary:
        np.savez_compressed(temporary, images=images, labels=labels().astype(np.uint8))
    return images


def write_figures(folder: Path, runs_by_name: Mapping[str, Sequence[Run]], grids: Mapping[str, Samples]) -> list[Path]:
    """Write loss_comparison.png, comparison_digit*.png and summary.md; return the paths of the first two figures."""
    from jaxgen.diffusion import figures  # here, so that the library does without a plotting library

    loss_path = folder / "loss_comparison.png"
    figures.loss_figure(loss_path, {name: group[0].epochs for name, group in runs_by_name.items()}, NOTEBOOK_LOSSES)
    paths = [folder / f"comparison_digit{digit}.png" for digit in DIGITS]
    for digit, path in zip(DIGITS, paths, strict=True):
        shown = {name: {w: drawn[labels() == digit] for w, drawn in by_w.items()} for name, by_w in grids.items()}
        figures.comparison_figure(path, digit, shown)
    with runs.atomic_write(folder / "summary.md") as temporary:
        temporary.write_text(summary(runs_by_name))
    return [loss_path, paths[0]]


def record_rows(runs_by_name: Mapping[str, Sequence[Run]], quick: bool) -> list[runs.Row]:
    """Return the losses, the shares of samples that show their digit, and the differences from the baseline."""
    rows = []
    for name, group in runs_by_name.items():
        first, last = (float(np.mean([run.epochs[k] for run in group])) for k in (0, -1))
        notebook = NOTEBOOK_LOSSES[name]
        target = "" if quick else f"within 3 % of {notebook[1]}"
        note = f"first epoch {first:.4f}; original notebook {notebook[0]} and {notebook[1]}"
        rows.append(runs.Row(f"training loss, last epoch, {name}", last, target=target, note=note))
        held = mean_of(np.mean([run.held_out for run in group], axis=0))
        note = f"moving average; standard error over {len(group[0].held_out):,} test images {held.error:.2g}"
        rows.append(runs.Row(f"held-out loss, {name}", held.value, note=note))
        for w, share in accuracy_by_guidance(group).items():
            note = f"95 % interval {share.low:.3f} to {share.high:.3f}"
            rows.append(runs.Row(f"samples that show their digit at w = {w:g}, {name}", share.value, note=note))
    for c in comparisons(runs_by_name):
        note = f"95 % interval {c.low:+.5f} to {c.high:+.5f}: {c.verdict}"
        rows.append(runs.Row(f"held-out loss minus the baseline's, {c.name}", c.value, note=note))
    return rows
