"""Sample from a trained Potts energy-based model.

  python -m experiments.ebm_sample --workdir=runs/digit3 --n=64 --sweeps=1000
  python -m experiments.ebm_sample --workdir=runs/digit3 --n=16 --clamp_top=14   inpaint the lower half of test images
  python -m experiments.ebm_sample --workdir=runs/digit3 --n=64 --gif            from noise to digit, as an animation

Writes figures/NAME.png, samples/NAME.npz and, with --gif, figures/NAME.gif into the run folder; NAME is the settings.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxgen import data, gibbs, potts, runs, training, visualization
from jaxgen.errors import UserError
from jaxgen.potts.config import SIDE, classes
from jaxgen.runs import option, seed_option

_FRAMES = 60


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    seed: int = seed_option("seed of the start and of the sweeps", group="sampling")
    n: int = option(64, "images", group="sampling", low=1, high=1_000_000)
    sweeps: int = option(1000, "Gibbs sweeps", group="sampling", low=1, high=10**9)
    start: str = option("noise", "first states", group="sampling", choices=("noise", "data", "chains"))
    engine: str = option("lattice", "Gibbs engine", group="sampling", choices=gibbs.ENGINES)
    beta: float = option(1.0, "inverse temperature, times that of training", group="sampling", low=0.0, high=1e6)
    digit: int | None = option(None, "class to sample, for a model with labels", group="sampling", low=0, high=9)
    clamp_top: int = option(0, "rows held at test images' values", group="sampling", low=0, high=SIDE)
    checkpoint: str = option("last", "which one to restore", group="sampling", choices=("last", "best"))
    gif: bool = option(False, "also animate the run", group="output")


def run(config: SampleConfig, workdir: Path) -> None:
    """Restore, sample, write."""
    runs.configure()
    task, state = potts.restore_run(workdir, config.checkpoint)
    model, trained = task.model, task.config
    key_start, key_sweeps = jax.random.split(jax.random.key(config.seed))
    label = _labels(config, task)
    x, reference = _start(config, task, state, key_start)
    clamp = None
    if config.clamp_top:
        clamp = jnp.zeros((model.lattice.height, model.lattice.width), bool).at[: config.clamp_top].set(True)
        x = jnp.where(clamp, reference, x)
    every = max(1, config.sweeps // (_FRAMES if config.gif else 10))
    frames = [x]
    stages = gibbs.sample_stages(
        key_sweeps,
        model.lattice,
        state.params,
        x,
        config.sweeps,
        every,
        engine=config.engine,
        beta=config.beta * trained.beta,
        clamp=clamp,
        field=None if label is None else potts.label_field(state.params, label),
    )
    with tqdm(total=config.sweeps, desc=f"sampling {config.n} chains", unit="sweep") as bar:
        for done, states, _ in stages:
            frames.append(jax.block_until_ready(states))
            bar.update(done - bar.n)
    _write(workdir, config, int(state.step), trained.levels, frames, reference, label)


def _labels(config: SampleConfig, task: potts.PottsTask):
    """The class of every chain, or None for a model without labels."""
    if task.train_label is None:
        if config.digit is not None:
            raise UserError(f"digit is {config.digit}, but the model was trained without labels; allowed: none")
        return None
    if config.digit is not None:
        return jnp.full(config.n, config.digit, jnp.uint8)
    return task.chain_labels(config.n)


def _start(config: SampleConfig, task: potts.PottsTask, state: training.TrainState, key):
    """First states, and as many test images."""
    trained = task.config
    images, labels = data.split(data.load(trained.dataset, data_dir=trained.data_dir or None), "test")
    images, labels = data.select(images, labels, classes(trained))
    if config.digit is not None:
        images, labels = data.select(images, labels, [config.digit])
    reference = jnp.asarray(data.encode(images[np.arange(config.n) % len(images)], trained.levels))
    if config.start == "noise":
        return potts.noise(key, task.model, config.n), reference
    if config.start == "data":
        return reference, reference
    if state.carry is None:
        raise UserError("start is 'chains', but the run was trained without --persistent; allowed: noise, data")
    chains = state.carry["chains"]
    if config.n > len(chains):
        raise UserError(f"n is {config.n}; allowed with start='chains': up to {len(chains)}, the chains of the run")
    return chains[: config.n], reference


def _write(workdir, config, step, levels, frames, reference, label) -> None:
    parts = [f"step{step}", f"n{config.n}", f"sweeps{config.sweeps}", config.start, f"seed{config.seed}"]
    defaults = SampleConfig()
    for name in ("beta", "digit", "clamp_top", "engine"):
        if getattr(config, name) != getattr(defaults, name):
            parts.append(f"{name}{getattr(config, name)}")
    name = "_".join(parts)
    sampled = frames[-1]
    arrays = {"states": np.asarray(sampled), "levels": levels}
    if label is not None:
        arrays["labels"] = np.asarray(label)
    with runs.atomic_write(workdir / "samples" / f"{name}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    panels = [(f"{config.sweeps} sweeps from {config.start}", sampled, levels)]
    if config.clamp_top:
        held = reference.at[:, config.clamp_top :].set(0)
        panels = [("test images", reference, levels), (f"upper {config.clamp_top} rows held", held, levels), *panels]
    figure = workdir / "figures" / f"{name}.png"
    visualization.samples_figure(figure, panels)
    print(f"{figure}\n{workdir / 'samples' / name}.npz")
    if config.gif:
        grids = [visualization.image_grid(data.decode(frame, levels)) for frame in frames]
        visualization.save_gif(figure.with_suffix(".gif"), [*grids, *[grids[-1]] * 20], fps=15, scale=2)
        print(figure.with_suffix(".gif"))


if __name__ == "__main__":
    runs.main(SampleConfig, run)
