"""Pictures of a trained model: its parameters, the blocks of its lattice, its energy landscape, its dynamics."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxgen import gibbs
from jaxgen.potts.evaluate import noise
from jaxgen.potts.figures.half_sweeps import advance, phases, phases_gif
from jaxgen.potts.figures.landscape import Landscape, embed_images, landscape_figure, nearest, prototypes
from jaxgen.potts.figures.parameter_maps import blocks_figure, parameter_figure
from jaxgen.potts.model import label_field
from jaxgen.potts.studies.restored import CHECKPOINTS, Restored
from jaxgen.potts.task import PottsTask
from jaxgen.runs import option, seed_option
from jaxgen.training.keys import seed_key

_CHAINS_SHOWN = 3
_CHAINS_TO_CHOOSE_FROM = 16
_PROTOTYPES = 6


@dataclasses.dataclass(frozen=True)
class PicturesConfig:
    """The settings of the pictures."""

    seed: int = seed_option("seed of starts, sweeps and maps", group="pictures")
    images: int = option(
        1000, "training images, and half as many samples, on the maps", group="pictures", low=100, high=1_000_000
    )
    sweeps: int = option(4000, "sweeps from noise", group="pictures", low=16, high=10**9)
    checkpoint: str = option("last", "which checkpoint to restore", group="run", choices=CHECKPOINTS)


def draw_pictures(config: PicturesConfig, workdir: Path) -> Sequence[Path]:
    """Draw all pictures of a trained model into its run folder; return the files written."""
    run = Restored.of(workdir, config.checkpoint)
    task, params = run.task, run.state.params
    title = f"{run.title}, {int(run.state.step)} steps"
    draw = {
        "parameters.png": lambda path: parameter_figure(path, task.model.lattice, params, title),
        "blocks.png": lambda path: blocks_figure(path, lattices(task)),
        "landscape.png": lambda path: draw_landscape(path, config, task, params, title),
        "dynamics.gif": lambda path: draw_dynamics(path, config, task, params),
    }
    for name, picture in tqdm(draw.items(), desc="drawing", unit="picture"):
        picture(workdir / "figures" / name)
    return [workdir / "figures" / name for name in draw]


def lattices(task: PottsTask) -> dict[str, gibbs.Lattice]:
    """Return the lattice of the run first, then those of the other neighbourhoods."""
    config = task.config
    names = dict.fromkeys([config.neighbourhood, *gibbs.NEIGHBOURHOODS])
    size = task.model.lattice.height, task.model.lattice.width
    return {name: gibbs.Lattice.grid(*size, name, config.boundary) for name in names}


def conditions(task: PottsTask, params: dict, label) -> dict:
    """Return the keyword arguments of `gibbs.sample` for chains of these classes."""
    field = None if label is None else label_field(params, label)
    return {"engine": task.config.engine, "beta": task.config.beta, "field": field}


def draw_landscape(path: Path, config: PicturesConfig, task: PottsTask, params: dict, title: str) -> None:
    """Draw samples, record a few chains, embed all states in two dimensions and plot them."""
    key_choice, key_start, key_sweeps = jax.random.split(seed_key(config.seed), 3)
    chosen = jax.random.choice(key_choice, len(task.train), (min(config.images, len(task.train)),), replace=False)
    train, m = np.asarray(task.train)[chosen], config.images // 2
    label = task.chain_labels(m)
    x = noise(key_start, task.model, m)
    # The last chains of the batch, whose states are also recorded during sampling, are spread over the classes.
    followed = np.linspace(0, m - 1, _CHAINS_SHOWN).astype(int)
    steps, seen = [0], [np.asarray(x)[followed]]
    while steps[-1] < config.sweeps:
        stretch = min(max(1, steps[-1]), config.sweeps - steps[-1])
        key = jax.random.fold_in(key_sweeps, steps[-1])
        x = advance(key, task.model.lattice, params, x, stretch, **conditions(task, params, label))
        steps.append(steps[-1] + stretch)
        seen.append(np.asarray(x)[followed])
    paths = np.stack(seen, axis=1).reshape(-1, *train.shape[1:])
    images = np.concatenate([train, np.asarray(x), paths])
    labels = None
    if label is not None:
        parts = [
            np.asarray(task.train_label)[chosen],
            np.asarray(label),
            np.asarray(label)[followed].repeat(len(steps)),
        ]
        labels = np.concatenate(parts)
    basin, names = basins(config, task, images, labels)
    pca, tsne = embed_images(images, len(train), config.seed)
    energy = task.model.apply({"params": params}, jnp.asarray(images), None if labels is None else jnp.asarray(labels))
    landscape = Landscape(images, np.asarray(energy), basin, names, (len(train), m), steps, pca, tsne)
    landscape_figure(path, landscape, task.model.levels, title)


def basins(config: PicturesConfig, task: PottsTask, images, labels) -> tuple[np.ndarray, list[str]]:
    """Return numbers and names of the basins: classes for a model with labels, otherwise nearest prototypes."""
    if labels is not None:
        selected = task.classes
        return np.searchsorted(selected, labels), [f"class {y}" for y in selected]
    centres = prototypes(np.asarray(task.train), _PROTOTYPES, config.seed)
    return nearest(images, centres), [f"prototype {k + 1}" for k in range(_PROTOTYPES)]


def draw_dynamics(path: Path, config: PicturesConfig, task: PottsTask, params: dict) -> None:
    """Animate one of a few chains."""
    key_start, key_sweeps = jax.random.split(jax.random.fold_in(seed_key(config.seed), 1))
    label = task.chain_labels(_CHAINS_TO_CHOOSE_FROM)
    x = noise(key_start, task.model, _CHAINS_TO_CHOOSE_FROM)
    shown = sorted({*range(4), *np.geomspace(4, config.sweeps - 1, 16).astype(int).tolist()})
    states = phases(key_sweeps, task.model.lattice, params, x, shown, **conditions(task, params, label))
    energy = jax.jit(lambda x, label: task.model.apply({"params": params}, x, label))
    energies = [np.asarray(energy(phase.x, label)) for phase in states]
    own = None if task.train_label is None else task.train_label[:2000]
    of_training = np.asarray(energy(task.train[:2000], own))
    phases_gif(path, task.model.lattice, task.model.levels, states, energies, of_training)
