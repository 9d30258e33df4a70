"""Eight diffusion models that differ in one thing each: epochs, size, schedule, batch, learning rate; four guidances.

  python -m experiments.diffusion_study --workdir=runs/study                    hours on a GPU; resumes where it stopped
  python -m experiments.diffusion_study --workdir=runs/study --mode=load        draw and conclude from what is trained
  python -m experiments.diffusion_study --workdir=runs/study --mode=baseline    the baseline alone
  python -m experiments.diffusion_study --workdir=runs/quick --quick            everything, with tiny networks

Every configuration, digit (0, 4, 7) and guidance (0, 1, 3, 5) has 16 images. The folder then holds loss_comparison.png,
comparison_digit0.png, ..4.png, ..7.png, summary.md with the conclusions that the numbers allow, result.json, and a run
folder for every configuration and seed under runs/.
"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

from jaxgen import data, diffusion, evaluation, runs, training
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    seed: int = seed_option("first seed", group="study")
    seeds: int = option(1, "seeds of every configuration", group="study", low=1, high=1000)
    mode: str = option("train", "train: all; load: what is there; baseline: train that one alone", group="study",
                       choices=("train", "load", "baseline"))  # fmt: skip
    quick: bool = option(False, "tiny networks and a few updates: shows that everything runs", group="study")
    sampler: str = option("ancestral", "sampler of the images", group="samples", choices=diffusion.SAMPLERS)
    steps: int = option(300, "steps of the sampler; 20 at most with quick", group="samples", low=1, high=2**31 - 1)
    clip_x0: bool = option(True, "keep the predicted image within black and white", group="samples")
    held_out: int = option(10_000, "test images for the held-out loss", group="measures", low=2, high=10_000)
    data_dir: str = option("", "folder with MNIST's four IDX files instead of the built-in ones", group="study")


def run(config: StudyConfig, workdir: Path) -> None:
    """Train or restore, draw, compare, write."""
    start = time.perf_counter()
    runs.configure()
    judge = evaluation.load_reference("mnist", data_dir=config.data_dir or None).params["accuracy"]
    found, grids = {}, {}
    for name in diffusion.study_configs(0):
        if config.mode == "baseline" and name != diffusion.BASELINE:
            continue
        seed_runs = [
            one_run(config, workdir / "runs" / f"{name}_seed{seed}", name, seed, judge) for seed in seeds(config)
        ]
        seed_runs = [one for one in seed_runs if one is not None]
        if seed_runs:
            found[name] = [one for one, _ in seed_runs]
            grids[name] = seed_runs[0][1]
        else:
            print(f"{name}: not trained, left out")
    if not found:
        raise UserError(f"workdir is {workdir}, which holds no trained run; allowed with mode=load: one run or more")
    finish(config, workdir, found, grids, time.perf_counter() - start)


def seeds(config: StudyConfig) -> range:
    """The seeds of every configuration."""
    return range(config.seed, config.seed + config.seeds)


def one_run(config: StudyConfig, path: Path, name: str, seed: int, judge: dict):
    """What is known of one configuration and seed, and its samples by guidance; None if it shall not be trained."""
    settings = diffusion.study_configs(seed, config.quick, config.data_dir)[name]
    if config.mode == "load" and not (path / "checkpoints").is_dir():
        return None
    print(f"{name}, seed {seed}")
    task = diffusion.DiffusionTask.load(settings)
    state, tx = task.initial_state()
    with runs.RunFolder.open(path, settings) as folder:
        if config.mode == "load":
            state = training.Checkpoints(folder.checkpoints, read_only=True).restore_latest(state)
            if state is None or int(state.step) < task.steps:
                return None
        else:
            state = fit(task, state, tx, folder)
        images = {w: samples(config, task, state, folder, w) for w in diffusion.GUIDANCES}
        records = runs.read_metrics(folder.path / "metrics.jsonl")
    label = labels()
    read = {w: evaluation.apply_network("accuracy", judge, drawn)[0].argmax(1) for w, drawn in images.items()}
    right = {w: int((classes == label).sum()) for w, classes in read.items()}
    losses = diffusion.held_out_losses(task, state.ema_params, min(config.held_out, 128 if config.quick else 10_000))
    return diffusion.Run(task, diffusion.epoch_losses(records, task), losses, right), images


def fit(task: diffusion.DiffusionTask, state: training.TrainState, tx, folder: runs.RunFolder):
    """Train, or go on."""
    step = training.parallel_step(task.grad_fn(), tx, task.config.ema_decay)
    key_order = jax.random.fold_in(state.key, 2**31)
    order = data.EpochOrder(key_order, len(task.train), task.config.batch_size)
    return training.fit(state, step, task.arrays(), order, folder, task.fit_options())


def labels() -> np.ndarray:
    """16 images of every digit, one digit after the other."""
    return np.repeat(np.asarray(diffusion.DIGITS, np.int32), diffusion.EACH)


def samples(config: StudyConfig, task, state, folder: runs.RunFolder, w: float) -> np.ndarray:
    """The images of one guidance; from samples/ if the same settings have drawn them before."""
    steps = min(config.steps, task.config.timesteps)
    stem = f"w{w:g}_{config.sampler}_{steps}steps" + "_unclipped" * (not config.clip_x0)
    path = folder.samples / f"{stem}.npz"
    if path.exists():
        return runs.read_npz(path, "the file of samples", "the one that the study wrote")["images"]
    settings = diffusion.Generation(config.sampler, steps, w, clip_x0=config.clip_x0)
    images = diffusion.draw_images(jax.random.key(0), task.diffusion, state.ema_params, labels(), settings)
    with runs.atomic_write(path) as temporary:
        np.savez_compressed(temporary, images=images, labels=labels().astype(np.uint8))
    return images


def finish(config: StudyConfig, workdir: Path, found: dict, grids: dict, seconds: float) -> None:
    """Figures, summary.md and result.json."""
    diffusion.loss_figure(
        workdir / "loss_comparison.png", {name: seed_runs[0].epochs for name, seed_runs in found.items()}
    )
    for digit in diffusion.DIGITS:
        shown = {name: {w: drawn[labels() == digit] for w, drawn in by_w.items()} for name, by_w in grids.items()}
        diffusion.comparison_figure(workdir / f"comparison_digit{digit}.png", digit, shown)
    text = diffusion.summary(found)
    with runs.atomic_write(workdir / "summary.md") as temporary:
        temporary.write_text(text)
    print(text)
    rows = []
    for name, seed_runs in found.items():
        last = float(np.mean([one.epochs[-1] for one in seed_runs]))
        source = diffusion.SOURCE_LOSSES[name][1]
        target = "" if config.quick else f"within 3 % of {source}"
        rows.append(runs.Row(f"training loss, last epoch, {name}", last, target=target))
    for c in diffusion.comparisons(found):
        note = f"95 % interval {c.low:+.5f} to {c.high:+.5f}: {c.verdict}"
        rows.append(runs.Row(f"held-out loss minus the baseline's, {c.name}", c.value, note=note))
    runs.write_record(
        workdir / "result.json",
        title=f"{len(found)} configurations, {config.seeds} seeds" + ", quick" * config.quick,
        family="Diffusion",
        rows=rows,
        config=config,
        wall_time_s=seconds,
    )
    print(f"figures: {workdir / 'loss_comparison.png'}, {workdir / 'comparison_digit0.png'} and so on")


if __name__ == "__main__":
    runs.main(StudyConfig, run)
