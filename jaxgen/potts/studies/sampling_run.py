"""The command that draws samples of a trained model, with a choice of start, engine, temperature, class and clamp."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt8
from tqdm import tqdm

from jaxgen import data, gibbs, runs
from jaxgen.data.own_images import LARGEST_SIDE
from jaxgen.errors import UserError
from jaxgen.potts.config import coded_part, open_data
from jaxgen.potts.evaluate import noise
from jaxgen.potts.model import label_field
from jaxgen.potts.studies.restored import CHECKPOINTS, Restored
from jaxgen.runs import option, seed_option
from jaxgen.training.keys import seed_key

_FRAMES, _STAGES = 60, 10


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """The settings of a set of samples."""

    seed: int = seed_option("seed of the start and of the sweeps", group="sampling")
    n: int = option(64, "images", group="sampling", low=1, high=1_000_000)
    sweeps: int = option(1000, "Gibbs sweeps", group="sampling", low=1, high=10**9)
    start: str = option("noise", "first states", group="sampling", choices=("noise", "data", "chains"))
    engine: str = option("lattice", "Gibbs engine", group="sampling", choices=gibbs.ENGINES)
    beta: float = option(1.0, "inverse temperature, relative to that of training", group="sampling", low=0.0, high=1e6)
    label: int | None = option(
        None, "class to sample, for a model with labels", group="sampling", low=0, high=255, former="digit"
    )
    clamp_top: int = option(
        0, "number of upper rows clamped to the values of test images", group="sampling", low=0, high=LARGEST_SIDE
    )
    checkpoint: str = option("last", "which checkpoint to restore", group="sampling", choices=CHECKPOINTS)
    gif: bool = option(False, "also animate the run", group="output")


class Drawn(NamedTuple):
    """Samples drawn from a trained model.

    Attributes:
        frames: states at the start and after every stage.
        reference: as many test images as there are samples.
        label: the class of every chain, or None.
    """

    frames: list[UInt8[Array, "n H W"]]
    reference: UInt8[Array, "n H W"]
    label: Array | None


def draw(config: SampleConfig, run: Restored) -> Drawn:
    """Draw samples with a progress bar. UserError for settings that do not fit the model."""
    model, params = run.task.model, run.state.params
    key_start, key_sweeps = jax.random.split(seed_key(config.seed))
    label = _labels(config, run)
    if config.clamp_top > model.lattice.height:
        raise UserError(
            f"clamp_top is {config.clamp_top}; allowed: 0 to {model.lattice.height}, the height of the images"
        )
    x, reference = _start(config, run, key_start)
    clamp = None
    if config.clamp_top:
        clamp = jnp.zeros((model.lattice.height, model.lattice.width), bool).at[: config.clamp_top].set(True)
        x = jnp.where(clamp, reference, x)
    frames = [x]
    stages = gibbs.sample_stages(
        key_sweeps,
        model.lattice,
        params,
        x,
        config.sweeps,
        max(1, config.sweeps // (_FRAMES if config.gif else _STAGES)),
        engine=config.engine,
        beta=config.beta * run.task.config.beta,
        clamp=clamp,
        field=None if label is None else label_field(params, label),
    )
    with tqdm(total=config.sweeps, desc=f"sampling {config.n} chains", unit="sweep") as bar:
        for done, states, _ in stages:
            frames.append(jax.block_until_ready(states))
            bar.update(done - bar.n)
    return Drawn(frames, reference, label)


def sample_files(config: SampleConfig, workdir: Path) -> Sequence[Path]:
    """Draw samples with the model of a run folder and write them into it; return the files written."""
    from jaxgen.potts.figures.samples import (  # here, so that the library does without plots
        animation,
        of_classes,
        samples_figure,
    )

    run = Restored.of(workdir, config.checkpoint)
    drawn, levels = draw(config, run), run.task.config.levels
    name = file_name(config, int(run.state.step))
    archive, figure = workdir / "samples" / f"{name}.npz", workdir / "figures" / f"{name}.png"
    labels = {} if drawn.label is None else {"labels": np.asarray(drawn.label)}
    with runs.atomic_write(archive) as temporary:
        np.savez_compressed(temporary, states=np.asarray(drawn.frames[-1]), levels=levels, **labels)
    title = f"{config.sweeps} sweeps from {config.start}{of_classes(drawn.label)}"
    samples_figure(figure, drawn.frames[-1], drawn.reference, levels, title, config.clamp_top)
    if not config.gif:
        return [figure, archive]
    animation(figure.with_suffix(".gif"), drawn.frames, levels)
    return [figure, archive, figure.with_suffix(".gif")]


def file_name(config: SampleConfig, step: int) -> str:
    """Return a file name made of the settings, without those that have their default values."""
    parts = [f"step{step}", f"n{config.n}", f"sweeps{config.sweeps}", config.start, f"seed{config.seed}"]
    defaults = SampleConfig()
    for name in ("beta", "label", "clamp_top", "engine"):
        if getattr(config, name) != getattr(defaults, name):
            parts.append(f"{name}{getattr(config, name)}")
    return "_".join(parts)


def _labels(config: SampleConfig, run: Restored) -> Array | None:
    """Return the class of every chain, or None for a model without labels."""
    if run.task.train_label is None or config.label is not None:
        chosen = run.chosen_class(config.label)
        return None if chosen is None else jnp.full(config.n, chosen, jnp.uint8)
    return run.task.chain_labels(config.n)


def _start(
    config: SampleConfig, run: Restored, key: Key[Array, ""]
) -> tuple[UInt8[Array, "n H W"], UInt8[Array, "n H W"]]:
    """Return the first states, and as many test images."""
    trained = run.task.config
    states, labels = coded_part(trained, open_data(trained), "test")
    if config.label is not None:
        states, labels = data.select(states, labels, [config.label], run.task.n_classes)
    reference = jnp.asarray(states[np.arange(config.n) % len(states)])
    if config.start == "noise":
        return noise(key, run.task.model, config.n), reference
    if config.start == "data":
        return reference, reference
    if run.state.carry is None:
        raise UserError("start is 'chains', but the run was trained without --persistent; allowed: noise, data")
    chains = run.state.carry["chains"]
    if config.n > len(chains):
        raise UserError(f"n is {config.n}; allowed with start='chains': up to {len(chains)}, the chains of the run")
    return chains[: config.n], reference
