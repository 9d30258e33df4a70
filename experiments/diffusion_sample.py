"""Draw digits from a trained diffusion model.

  python -m experiments.diffusion_sample --workdir=runs/tiny --digits=0,4,7 --n=48 --guidance=3
  python -m experiments.diffusion_sample --workdir=runs/tiny --sampler=ancestral --steps=300 --gif
  python -m experiments.diffusion_sample --workdir=runs/tiny --inpaint=bottom --n=16
  python -m experiments.diffusion_sample --workdir=runs/tiny --n=10000          and then, to judge them:
  python -m experiments.evaluate --samples=runs/tiny/samples/NAME.npz --workdir=runs/tiny_judged

Writes figures/NAME.png, samples/NAME.npz (images uint8, labels) and, with --gif, figures/NAME.gif, from noise to digit,
into the run folder; NAME is the settings. The same settings draw the same images, whatever --batch_size is.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from jaxgen import data, diffusion, runs, training, visualization
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option

_SHOWN = 100
_FRAMES = 60


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    seed: int = seed_option("seed of the noise", group="sampling")
    n: int = option(40, "images, the digits in turn", group="sampling", low=1, high=1_000_000)
    digits: str = option("all", "classes: 'all', numbers such as '3' or '0,4,7', or 'none'", group="sampling")
    guidance: float = option(3.0, diffusion.GUIDANCE_HELP, group="sampling", low=0.0, high=100.0)
    sampler: str = option("dpm_solver", "how to go from noise to images", group="sampling", choices=diffusion.SAMPLERS)
    steps: int = option(
        30, "steps of the sampler, at most the timesteps of training", group="sampling", low=1, high=2**31 - 1
    )
    eta: float = option(0.0, "noise of ddim: 0 none, 1 as much as ancestral", group="sampling", low=0.0, high=1.0)
    clip_x0: bool = option(True, "keep the predicted image within black and white", group="sampling")
    batch_size: int = option(128, "images at a time", group="sampling", low=1, high=60_000)
    weights: str = option("average", "parameters: their moving average, or the last", group="sampling",
                          choices=("average", "last"))  # fmt: skip
    inpaint: str | None = option(
        None, "part of test images to draw anew, the rest kept", group="sampling", choices=diffusion.REGIONS
    )
    gif: bool = option(False, "also animate the way from noise to digits", group="output")


def run(config: SampleConfig, workdir: Path) -> None:
    """Restore, sample, write."""
    runs.configure()
    label = labels(config)
    task, state = restore(workdir)
    params = state.ema_params if config.weights == "average" else state.params
    real, known = known_images(config, task, label)
    settings = diffusion.Generation(config.sampler, config.steps, config.guidance, config.eta, config.clip_x0)
    pieces = []
    with tqdm(total=config.n, desc=f"{config.sampler}, {config.steps} steps", unit="image") as bar:
        for found in diffusion.generate(
            jax.random.key(config.seed),
            task.diffusion,
            params,
            label,
            settings,
            batch=config.batch_size,
            known=known,
            keep_states=config.gif,
        ):
            pieces.append(found)
            bar.update(len(found.images))
    images = np.concatenate([diffusion.to_grey(piece.images) for piece in pieces])
    write(config, workdir / "samples", workdir / "figures", name(config, int(state.step)), images, label, real)
    if config.gif:
        animate(workdir / "figures" / f"{name(config, int(state.step))}.gif", pieces)


def labels(config: SampleConfig) -> np.ndarray:
    """The class of every image. ValueError if `digits` names none of 0 to 9."""
    words = config.digits.split(",")
    if config.digits == "all":
        kept = list(range(10))
    elif config.digits == "none":
        kept = [diffusion.NO_LABEL]
    elif all(word.strip().isdecimal() and int(word) < 10 for word in words):
        kept = [int(word) for word in words]
    else:
        raise UserError(
            f"digits is {config.digits!r}; allowed: 'all', 'none', or numbers 0 to 9 such as '3' or '0,4,7'"
        )
    if config.digits == "none" and config.inpaint:
        raise UserError("digits is 'none' with inpaint; allowed: digits, whose test images are completed")
    return np.asarray(kept, np.int32)[np.arange(config.n) % len(kept)]


def restore(workdir: Path) -> tuple[diffusion.DiffusionTask, training.TrainState]:
    """The task and the last state of a run folder. ValueError if it holds none."""
    path = workdir / "config.json"
    task = diffusion.DiffusionTask.load(runs.read_config(diffusion.DiffusionConfig, path, "experiments.diffusion"))
    state = training.Checkpoints(workdir / "checkpoints", read_only=True).restore_latest(task.initial_state()[0])
    if state is None:
        raise UserError(f"workdir is {workdir}, which holds no checkpoint yet; allowed: a run that saved one")
    return task, state


def known_images(config: SampleConfig, task: diffusion.DiffusionTask, label: np.ndarray):
    """Test images of the classes with what is kept of them; None, None without inpainting."""
    if not config.inpaint:
        return None, None
    images, classes = data.split(data.load(task.config.dataset, data_dir=task.config.data_dir or None), "test")
    turn = np.array([np.sum(label[:k] == digit) for k, digit in enumerate(label)])
    places = {digit: np.flatnonzero(classes == digit) for digit in set(label.tolist())}
    real = images[[places[digit][k % len(places[digit])] for digit, k in zip(label.tolist(), turn, strict=True)]]
    mask = diffusion.known_mask(config.inpaint, *real.shape[1:])
    return real, diffusion.Known(np.asarray(diffusion.to_unit(real)), mask)


def name(config: SampleConfig, step: int) -> str:
    """The settings in a word."""
    parts = [f"step{step}", f"n{config.n}", config.sampler, f"{config.steps}steps", f"w{config.guidance:g}"]
    parts.append(f"seed{config.seed}")
    defaults = SampleConfig()
    for field in ("digits", "eta", "clip_x0", "weights", "inpaint"):
        if getattr(config, field) != getattr(defaults, field):
            parts.append(f"{field}{getattr(config, field)}".replace(",", "-"))
    return "_".join(parts)


def write(config: SampleConfig, samples: Path, figures: Path, stem: str, images, label, real) -> None:
    """samples/NAME.npz and figures/NAME.png."""
    arrays = {"images": images} | ({} if config.digits == "none" else {"labels": label.astype(np.uint8)})
    with runs.atomic_write(samples / f"{stem}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    panels = [(f"{config.sampler}, {config.steps} steps, w = {config.guidance:g}", images[:_SHOWN])]
    if real is not None:
        kept = np.where(np.asarray(diffusion.known_mask(config.inpaint, *real.shape[1:]))[..., 0], real, 128)
        panels = [("test images", real[:_SHOWN]), ("what is kept", kept[:_SHOWN].astype(np.uint8)), *panels]
    columns = len(set(label.tolist())) if len(set(label.tolist())) > 3 else None
    visualization.samples_figure(figures / f"{stem}.png", panels, columns=columns)
    print(f"{figures / f'{stem}.png'}\n{samples / f'{stem}.npz'}")


def animate(path: Path, pieces: list[diffusion.Generated]) -> None:
    """The states of up to 100 images, at most 60 of them, and the last for a while."""
    states = np.concatenate([piece.states for piece in pieces], axis=1)[:, :_SHOWN]
    kept = np.unique(np.linspace(0, len(states) - 1, min(_FRAMES, len(states))).astype(int))
    grids = [visualization.image_grid(diffusion.to_grey(states[k])) for k in kept]
    visualization.save_gif(path, [*grids, *[grids[-1]] * 20], fps=15, scale=2)
    print(path)


if __name__ == "__main__":
    runs.main(SampleConfig, run)
