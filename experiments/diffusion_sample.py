"""Draw images from a trained diffusion model.

  python -m experiments.diffusion_sample --workdir=runs/tiny --classes=0,4,7 --n=48 --guidance=3
  python -m experiments.diffusion_sample --workdir=runs/compact --sampler=midpoint --steps=6 --guidance=2
  python -m experiments.diffusion_sample --workdir=runs/tiny --sampler=ancestral --steps=300 --gif
  python -m experiments.diffusion_sample --workdir=runs/tiny --inpaint=bottom --n=16
  python -m experiments.diffusion_sample --workdir=runs/tiny --n=10000          and then, to evaluate them:
  python -m experiments.evaluate --samples=runs/tiny/samples/NAME.npz --workdir=runs/tiny_evaluated

Writes figures/NAME.png, samples/NAME.npz (images uint8, labels) and, with --gif, figures/NAME.gif, from noise to
images, into the run folder; NAME holds the settings. The same settings draw the same images for every --batch_size.
"""

import dataclasses
from pathlib import Path

import numpy as np

from jaxgen import data, diffusion, runs, training, visualization
from jaxgen.diffusion import inpainting
from jaxgen.diffusion.config import GRID_HELP, GUIDANCE_HELP
from jaxgen.diffusion.samplers import FLOW_SAMPLERS, GRIDS
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option

_SHOWN = 100


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """The settings of a set of samples."""

    seed: int = seed_option("seed of the noise", group="sampling")
    n: int = option(40, "number of images, with the classes in turn", group="sampling", low=1, high=1_000_000)
    classes: str = option(
        "all", "classes: 'all', numbers such as '3' or '0,4,7', or 'none'", group="sampling", former="digits"
    )
    guidance: float = option(3.0, GUIDANCE_HELP, group="sampling", low=0.0, high=100.0)
    guidance_from: float = option(
        0.0, "least noise level sigma / (alpha + sigma) with guidance", group="sampling", low=0.0, high=1.0
    )
    guidance_to: float = option(1.0, "largest noise level with guidance", group="sampling", low=0.0, high=1.0)
    guidance_rescale: float = option(
        0.0,
        "phi: 1 gives the guided prediction the standard deviation of the conditional one, 0 leaves it",
        group="sampling",
        low=0.0,
        high=1.0,
    )
    sampler: str = option(
        "dpm_solver",
        "sampler; euler and midpoint for a flow",
        group="sampling",
        choices=(*diffusion.SAMPLERS, *FLOW_SAMPLERS),
    )
    steps: int = option(
        30, "steps of the sampler, at most the timesteps of training", group="sampling", low=1, high=100_000
    )
    time_grid: str = option("best", GRID_HELP, group="sampling", choices=("best", *GRIDS))
    eta: float = option(
        0.0, "noise of ddim: 0 for none, 1 for as much as ancestral", group="sampling", low=0.0, high=1.0
    )
    clip_x0: bool = option(True, "clip the predicted image to black and white", group="sampling")
    batch_size: int = option(128, "images at a time", group="sampling", low=1, high=60_000)
    weights: str = option("average", "which parameters: their moving average, or the last ones", group="sampling",
                          choices=("average", "last"))  # fmt: skip
    inpaint: str | None = option(
        None, "part of the test images to draw again; the rest is given", group="sampling", choices=diffusion.REGIONS
    )
    repeats: int = option(
        inpainting.REPEATS, "repetitions of each step of inpainting", group="sampling", low=1, high=1000
    )
    gif: bool = option(False, "also write an animation from noise to images", group="output")


def run(config: SampleConfig, workdir: Path) -> None:
    """Restore, sample, write."""
    workdir = runs.checked_workdir(workdir)
    runs.configure()
    task, state = diffusion.restore_run(workdir)
    label = labels(config, task.config.classes)
    params = state.ema_params if config.weights == "average" else state.params
    real, known = None, None
    if config.inpaint:
        real, known = inpainting.known_images(task.images(), label, config.inpaint)
        known = known._replace(repeats=config.repeats)
    settings = diffusion.Generation(
        config.sampler, config.steps, config.guidance, config.eta, config.clip_x0, config.time_grid,
        (config.guidance_from, config.guidance_to), config.guidance_rescale,
    )  # fmt: skip
    pieces, key = [], training.seed_key(config.seed)
    options = {"batch": config.batch_size, "known": known, "keep_states": config.gif}
    with runs.progress(config.n, f"{config.sampler}, {config.steps} steps", "image") as bar:
        for piece in diffusion.generate(key, task.diffusion, params, label, settings, **options):
            pieces.append(piece)
            bar.update(len(piece.images))
    images = np.concatenate([diffusion.to_grey(piece.images) for piece in pieces])
    stem = name(config, int(state.step))
    write(config, workdir, stem, images, label, real)
    if config.gif:
        from jaxgen.diffusion import figures

        path = workdir / "figures" / f"{stem}.gif"
        figures.animation(path, np.concatenate([piece.states for piece in pieces], axis=1)[:, :_SHOWN])
        print(path)


def labels(config: SampleConfig, classes: int) -> np.ndarray:
    """Return the class of every image. UserError if `classes` names no class."""
    if config.classes == "none" and config.inpaint:
        raise UserError("classes is 'none' with inpaint; allowed: classes, whose test images are completed")
    if config.classes == "none":
        chosen = [diffusion.NO_LABEL]
    else:
        chosen = data.parse_classes(config.classes, classes, named=("all", "none"))
    return np.asarray(chosen, np.int32)[np.arange(config.n) % len(chosen)]


def name(config: SampleConfig, step: int) -> str:
    """Return the settings as a file name."""
    parts = [f"step{step}", f"n{config.n}", config.sampler, f"{config.steps}steps", f"w{config.guidance:g}"]
    parts.append(f"seed{config.seed}")
    defaults = SampleConfig()
    named = (
        "classes",
        "eta",
        "clip_x0",
        "weights",
        "inpaint",
        "time_grid",
        "repeats",
        "guidance_from",
        "guidance_to",
        "guidance_rescale",
    )
    for field in named:
        if getattr(config, field) != getattr(defaults, field):
            parts.append(field + runs.name_part(f"{getattr(config, field)}".replace(",", "-")))
    return "_".join(parts)


def title(config: SampleConfig) -> str:
    """Return how the samples were drawn, and of which classes."""
    asked = {"all": "all classes", "none": "no class"}.get(config.classes, f"classes {config.classes}")
    if len(config.classes) == 1:
        asked = f"class {config.classes}"
    return f"{config.sampler}, {config.steps} steps, w = {config.guidance:g}, {asked}"


def write(config: SampleConfig, workdir: Path, stem: str, images, label, real) -> None:
    """Write samples/STEM.npz and figures/STEM.png."""
    samples, figure = workdir / "samples" / f"{stem}.npz", workdir / "figures" / f"{stem}.png"
    arrays = {"images": images} | ({} if config.classes == "none" else {"labels": label.astype(np.uint8)})
    with runs.atomic_write(samples) as temporary:
        np.savez_compressed(temporary, **arrays)
    panels = [(title(config), images[:_SHOWN])]
    if real is not None:
        mask = np.asarray(diffusion.known_mask(config.inpaint, *real.shape[1:3]))[..., 0]
        visible = np.where(mask, real, 128).astype(np.uint8)
        panels = [("test images", real[:_SHOWN]), ("known pixels", visible[:_SHOWN]), *panels]
    columns = len(set(label.tolist())) if len(set(label.tolist())) > 3 else None
    visualization.samples_figure(figure, panels, columns=columns)
    print(f"{figure}\n{samples}")


if __name__ == "__main__":
    runs.main(SampleConfig, run)
