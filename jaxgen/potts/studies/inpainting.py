"""The command that completes images with a trained Potts model or denoising machine."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Key, UInt8

from jaxgen import data, gibbs, runs
from jaxgen.errors import UserError, quoted
from jaxgen.potts import denoising
from jaxgen.potts.config import coded_part, open_data
from jaxgen.potts.inpaint import add_noise, denoise, inpaint
from jaxgen.potts.studies.masks import described, pixel_mask
from jaxgen.potts.studies.restored import CHECKPOINTS, Restored
from jaxgen.runs import option, seed_option
from jaxgen.training.keys import stream

_LONGEST_STEM = 50  # bytes
_USES = ("mask", "binarization", "noise", "completions")


@dataclasses.dataclass(frozen=True)
class InpaintConfig:
    """The settings of completed images."""

    seed: int = seed_option("seed of a random mask, of the noise and of the completions", group="inpainting")
    images: str = option(
        "",
        "images to complete, of the size of the training images: FILE.npz with images (and labels), a PNG file, a "
        "folder of them; by default test images of the run",
        group="inpainting",
    )
    n: int = option(8, "images to complete, the first of the file", group="inpainting", low=1, high=100_000)
    draws: int = option(4, "completions per image", group="inpainting", low=1, high=10_000)
    mask: str | None = option(
        None,
        "what is given: top, bottom, left or right part, pixels at random, all of them, or a file: a PNG whose white "
        "pixels are given, or an NPZ with a boolean array mask, True where given; by default top, and all with noise",
        group="inpainting",
    )
    share: float = option(
        0.5, "share of the pixels that is given; not read for a file", group="inpainting", low=0.0, high=1.0
    )
    noise: float = option(
        0.0,
        "share of the given pixels replaced by random levels, for the model to clean",
        group="inpainting",
        low=0.0,
        high=1.0,
    )
    label: int | None = option(
        None,
        "class of the completions, for a model with labels; by default the image's own",
        group="inpainting",
        low=0,
        high=255,
    )
    engine: str = option("lattice", "Gibbs engine, for a run of ebm_cd", group="sampling", choices=gibbs.ENGINES)
    sweeps: int = option(1000, "Gibbs sweeps per completion, for a run of ebm_cd", group="sampling", low=1, high=10**9)
    checkpoint: str = option("last", "checkpoint to restore, of a run of ebm_cd", group="sampling", choices=CHECKPOINTS)

    @property
    def given(self) -> str:
        """Return the mask, or its default."""
        return self.mask or ("all" if self.noise else "top")


class Completer(NamedTuple):
    """What the command needs of a trained model of either kind.

    Attributes:
        step: training steps done.
        size: height and width of the images.
        levels: number of grey levels.
        classes: classes of a model with labels, otherwise empty.
        test: test images as states, and their labels.
        code: (key, greys) -> states.
        draw: (key, states, known, label or None) -> states.
    """

    step: int
    size: tuple[int, int]
    levels: int
    classes: list[int]
    test: Callable[[Key[Array, ""]], tuple[np.ndarray, np.ndarray]]
    code: Callable[[Key[Array, ""], np.ndarray], np.ndarray]
    draw: Callable[..., np.ndarray]


def inpaint_files(config: InpaintConfig, workdir: Path) -> Sequence[Path]:
    """Complete images with the model of a run folder and write them into it; return the files written."""
    from jaxgen.potts.figures.inpainting import inpainting_figure  # here, so that the library does without plots

    model = _completer(config, workdir)

    def key(use: str) -> Key[Array, ""]:
        return stream(config.seed, use, _USES)

    states, labels = _images(config, model, key("binarization"))
    label = _labels(config, model, labels, len(states))
    known = np.broadcast_to(pixel_mask(key("mask"), config.given, config.share, states.shape), states.shape)
    given = states
    if config.noise:
        given = np.asarray(add_noise(key("noise"), states, config.noise, model.levels))
    repeat = functools.partial(np.repeat, repeats=config.draws, axis=0)
    drawn = model.draw(key("completions"), repeat(given), repeat(known), None if label is None else repeat(label))
    name = file_name(config, model.step)
    archive, figure = workdir / "samples" / f"{name}.npz", workdir / "figures" / f"{name}.png"
    arrays = {"states": drawn, "levels": model.levels, "given": given, "known": known, "originals": states}
    if label is not None:
        arrays["labels"] = repeat(label).astype(np.uint8)
    with runs.atomic_write(archive) as temporary:
        np.savez_compressed(temporary, **arrays)
    shown = slice(None, min(len(states), 12))
    grey = functools.partial(data.decode, levels=model.levels)
    draws = grey(drawn).reshape(len(states), config.draws, *model.size)
    columns = [("image", grey(states)[shown]), ("given", grey(given)[shown])]
    columns += [(f"draw {k + 1}", draws[shown, k]) for k in range(min(config.draws, 6))]
    if config.noise:
        columns.append((f"mean of {config.draws}", np.rint(draws[shown].mean(1)).astype(np.uint8)))
    inpainting_figure(
        figure, columns, ("given", ~known[shown]), described(config.given, config.share, config.noise, known)
    )
    return [figure, archive]


def file_name(config: InpaintConfig, step: int) -> str:
    """Return a file name made of the settings, without those that have their default values."""
    files = [config.given, config.images] if config.images else [config.given]
    # Names of files can be as long as this name may be.
    stems = [os.fsencode(Path(file).stem)[:_LONGEST_STEM].decode(errors="ignore") for file in files]
    parts = ["inpaint", f"step{step}", *stems]
    defaults = InpaintConfig()
    for name in ("n", "draws", "share", "noise", "label", "sweeps", "engine", "checkpoint", "seed"):
        if getattr(config, name) != getattr(defaults, name):
            parts.append(f"{name}{getattr(config, name)}")
    return "_".join(parts)


def _completer(config: InpaintConfig, workdir: Path) -> Completer:
    """Restore the run of experiments.ebm_cd or experiments.ebm_denoising."""
    path = workdir / "config.json"
    allowed = "a folder of experiments.ebm_cd or experiments.ebm_denoising"
    if path.exists() and "noise_steps" in runs.read_json(path, "config", allowed):
        return _denoiser(config, workdir)
    return _potts_model(config, workdir)


def _potts_model(config: InpaintConfig, workdir: Path) -> Completer:
    run = Restored.of(workdir, config.checkpoint)
    task, trained = run.task, run.task.config
    how = {"beta": trained.beta, "engine": config.engine}

    def draw(key, states, known, label):
        arrays = (key, task.model, run.state.params, states)
        with runs.progress(config.sweeps, f"completing {len(states)} images", "sweep") as bar:
            options = how | {"label": label, "progress": bar.update}
            if config.noise:
                return np.asarray(denoise(*arrays, config.noise, config.sweeps, seen=known, **options))
            return np.asarray(inpaint(*arrays, known, config.sweeps, **options))

    return Completer(
        int(run.state.step),
        (task.model.lattice.height, task.model.lattice.width),
        trained.levels,
        task.classes if trained.labels else [],
        lambda key: coded_part(trained, open_data(trained), "test"),
        lambda key, images: data.encode(images, trained.levels),
        draw,
    )


def _denoiser(config: InpaintConfig, workdir: Path) -> Completer:
    task, model = denoising.restore_denoiser(workdir)
    trained = task.config
    how = denoising.Generation(trained.sweeps, trained.guidance, trained.last_beta)

    def test(key):
        images, labels = data.split(data.open(trained.dataset, trained.images, trained.data_dir).grey(), "test")
        return task.coded(key, images[: config.n]), labels[: config.n]

    def draw(key, states, known, label):
        label = np.zeros(len(states), int) if label is None else label
        drawn = denoising.generate(key, model, label, how, known=(states, known), noise=config.noise)
        # The machine draws no pixels that are always black in training; known ones are given all the same.
        return drawn if config.noise else np.where(known, states, drawn)

    classes = list(range(model.machine.n_classes)) if trained.labels else []
    return Completer(trained.steps, tuple(task.shape), trained.levels, classes, test, task.coded, draw)


def _images(
    config: InpaintConfig, model: Completer, key: Key[Array, ""]
) -> tuple[UInt8[np.ndarray, "n H W"], Array | None]:
    """Return the images to complete as states, and their labels or None."""
    if not config.images:
        states, labels = model.test(key)
        return np.asarray(states[: config.n]), np.asarray(labels[: config.n])
    images, labels = data.read_images(config.images)
    if images.shape[1:] != model.size:
        raise UserError(
            f"images is {quoted(config.images)}, whose images have shape {images.shape[1:]}; allowed: {model.size}, "
            "grey, as in training"
        )
    return model.code(key, images[: config.n]), None if labels is None else labels[: config.n]


def _labels(config: InpaintConfig, model: Completer, labels: np.ndarray | None, n: int) -> np.ndarray | None:
    """Return the class of every image, or None for a model without labels."""
    if not model.classes:
        if config.label is not None:
            raise UserError(f"label is {config.label}, but the model was trained without labels; allowed: none")
        return None
    chosen = labels if config.label is None else np.full(n, config.label)
    if chosen is None:
        raise UserError(f"label is none, and the images have no labels; allowed: {_listed(model.classes)}")
    if not np.isin(chosen, model.classes).all():
        wrong = chosen[~np.isin(chosen, model.classes)][0]
        raise UserError(
            f"label is {wrong}, a class that the model was not trained on; allowed: {_listed(model.classes)}"
        )
    return np.asarray(chosen)


def _listed(classes: list[int]) -> str:
    return ", ".join(map(str, classes))
