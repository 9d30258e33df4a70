"""A comparison of lattices: models of binarised images on increasingly rich lattices, trained for equal time.

    steps of a lattice = seconds / (seconds per step),   where a step is timed once, before the training

A lattice is the grid of the pixels, with tied couplings or one matrix per edge, or a grid with as many hidden sites as
pixels (`jaxgen.potts.latent`).
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float64, UInt8

from jaxgen import data, gibbs, runs, training
from jaxgen.errors import UserError
from jaxgen.potts.contrastive import ContrastiveSettings, contrastive_divergence, persistent_chains
from jaxgen.potts.keys import hidden_key, lattice_order_key, run_keys
from jaxgen.potts.latent import (
    draw_hidden,
    latent_contrastive_divergence,
    latent_init,
    latent_lattice,
    latent_log_likelihood,
    pixels_on_grid,
    visible_part,
)
from jaxgen.potts.likelihood.log_likelihood import log_likelihood
from jaxgen.potts.model import PottsEBM, log_marginal_init
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS

_WARM, _TIMED = 3, 10


class LatticeKind(NamedTuple):
    """The lattice and the couplings of a name in LATTICES; `latent` adds one hidden site per pixel."""

    neighbourhood: str
    coupling: str = "edge"
    latent: bool = False


LATTICES = {
    "tied": LatticeKind("4", "tied"),
    "edge": LatticeKind("4"),
    "8": LatticeKind("8"),
    "G8": LatticeKind("G8"),
    "G12": LatticeKind("G12"),
    "G16": LatticeKind("G16"),
    "latent_G8": LatticeKind("G8", latent=True),
    "latent_G16": LatticeKind("G16", latent=True),
    "latent_window": LatticeKind("window", latent=True),
}


@dataclasses.dataclass(frozen=True)
class LatticesConfig:
    """The settings of a comparison of lattices."""

    seed: int = seed_option("seed of every training", group="study")
    lattices: str = option(",".join(LATTICES), "names of those compared, separated by commas", group="study")
    quick: bool = option(
        False, "4 lattices, 60 updates each and few chains, to check that everything runs", group="study"
    )
    seconds: float = option(
        120.0, "training time per lattice, without compilation", group="study", low=1.0, high=86_400.0
    )
    images: str = data.images_option(group="study")
    data_dir: str = option("", "folder with MNIST's four IDX files instead of the built-in ones", group="study")

    batch_size: int = option(256, "images per step, and persistent chains", group="training", low=1, high=60_000)
    cd_steps: int = option(5, "Gibbs sweeps per step", group="training", low=1, high=10**9)
    learning_rate: float = option(2e-2, "step size of Adam without hidden sites", group="training", low=0.0, high=10.0)
    latent_rate: float = option(
        2e-2, "step size of Adam with hidden sites and 8 neighbours", group="training", low=0.0, high=10.0
    )
    steps: int | None = option(
        None, "updates per lattice, instead of equal times", group="training", low=1, high=MOST_STEPS
    )

    chains: int = option(5000, "samples judged, drawn from noise", group="measures", low=2000, high=1_000_000)
    sweeps: int = option(1000, "sweeps per sample", group="measures", low=1, high=10**9)
    mixing_sweeps: int = option(
        10_000, "further sweeps of 64 chains, for the mixing time", group="measures", low=50, high=10**9
    )
    temperatures: int = option(
        4000, "temperatures per estimate of a partition function", group="measures", low=1, high=10_000_000
    )
    annealed_chains: int = option(256, "chains per estimate", group="measures", low=2, high=1_000_000)


def with_quick(config: LatticesConfig) -> LatticesConfig:
    """Return the config with the overrides of `quick` applied. UserError naming an unknown lattice."""
    names = config.lattices.split(",")
    if not set(names) <= set(LATTICES) or len(set(names)) < len(names):
        raise UserError(f"lattices is {config.lattices!r}; allowed: {', '.join(LATTICES)}, each once")
    if not config.quick:
        return config
    small = {"chains": 2000, "sweeps": 50, "mixing_sweeps": 100, "temperatures": 100, "annealed_chains": 32}
    return dataclasses.replace(config, lattices="tied,edge,G8,latent_G8", steps=60, **small)


class Images(NamedTuple):
    """Fixed binarisations of the images, states 0 and 1, and the reference that samples are judged against."""

    train: UInt8[Array, "n h w"]
    test: UInt8[np.ndarray, "m h w"]
    reference: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class LatticeTask:
    """The task of training and measuring the model of one lattice.

    Attributes:
        config: the settings of the comparison.
        name: one of LATTICES.
        model: the model; images are (n, h, w), chains are states of its whole grid.
        images: training and test images.
        steps: parameter updates.
    """

    config: LatticesConfig
    name: str
    model: PottsEBM
    images: Images
    steps: int = 1

    @classmethod
    def of(cls, config: LatticesConfig, name: str, images: Images) -> "LatticeTask":
        """Return the task of a name in LATTICES."""
        kind = LATTICES[name]
        make = latent_lattice if kind.latent else gibbs.Lattice.grid
        lattice = make(*images.train.shape[1:], kind.neighbourhood)
        return cls(config, name, PottsEBM(lattice, 2, kind.coupling), images)

    @property
    def title(self) -> str:
        """Return what is trained, in a line for records."""
        return f"binarised {data.name_of('mnist', self.config.images)}, lattice {self.name}, {self.steps} updates"

    @property
    def latent(self) -> bool:
        """Return whether the grid has hidden sites."""
        return LATTICES[self.name].latent

    @property
    def rate(self) -> float:
        """Return the step size of Adam.

        Adam changes every coupling by about the step size, so the field of a hidden site changes by the step size times
        its number of neighbours.
        """
        neighbours = 2 * len(self.model.lattice.offsets)
        return self.config.latent_rate * 8 / neighbours if self.latent else self.config.learning_rate

    def initial_state(self) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Return parameters, optimiser and chains before the first step."""
        keys, train = run_keys(self.config.seed), self.images.train
        if self.latent:
            params = latent_init(keys.init, self.model, train)
        else:
            params = log_marginal_init(self.model.init(keys.init, train[:1])["params"], train)
        chains = persistent_chains(keys.chains, train, self.config.batch_size)
        if self.latent:
            chains |= {"chains": draw_hidden(hidden_key(keys.chains), self.model.lattice, params, chains["chains"])}
        tx = optax.adam(optax.cosine_decay_schedule(self.rate, self.steps))
        return training.create(keys.steps, params, tx, chains), tx

    def grad_fn(self) -> Callable:
        """Return the gradient of persistent contrastive divergence on this lattice."""
        settings = ContrastiveSettings(self.config.cd_steps, persistent=True)
        make = latent_contrastive_divergence if self.latent else contrastive_divergence
        return make(self.model, settings)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that training batches are gathered from."""
        return {"image": self.images.train}

    def order(self) -> data.EpochOrder:
        """Return the batches, the same for every lattice."""
        return data.EpochOrder(lattice_order_key(self.config.seed), len(self.images.train), self.config.batch_size)

    def fit_options(self) -> training.FitOptions:
        """Return when `fit` logs and saves."""
        return training.FitOptions(self.steps, max(1, self.steps // 50), eval_every=self.steps, checkpoint_every=500)

    def hooks(self, log: runs.Logger) -> list[training.Hook]:
        """Return no hooks, which would take time from the training."""
        return []

    def report(self, state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
        """Measure likelihood, samples and mixing of this lattice alone."""
        from jaxgen.potts.studies.lattices.measure import figure_rows, measure_lattice  # they measure a LatticeTask

        figures, _ = measure_lattice(self, state.params, folder.path / "measured")
        rows = figure_rows(self.name, figures, self.config.chains, len(self.images.test))
        return runs.Report(self.title, "Potts energy-based model", rows)

    def on_grid(self, key, params: dict, v: UInt8[Array, "n h w"]) -> UInt8[Array, "n H W"]:
        """Return states of the whole grid with the images v at its visible sites and hidden sites drawn given them."""
        return draw_hidden(key, self.model.lattice, params, v) if self.latent else v

    def pixels(self, x: UInt8[Array, "n H W"]) -> UInt8[Array, "n h w"]:
        """Return the images at the visible sites of states of the grid."""
        return visible_part(x) if self.latent else x

    def direction(self, component: Float64[np.ndarray, "h w"]) -> Array:
        """Return a direction in the space of pixels as one on the grid, 0 at hidden sites."""
        component = jnp.asarray(component, jnp.float32)
        return pixels_on_grid(component[None])[0] if self.latent else component

    def log_likelihood(self, params: dict, v: UInt8[np.ndarray, "n h w"], log_z: float) -> Float64[np.ndarray, "n"]:
        """Return log p(v) of every image in nats, exact up to log Z."""
        if self.latent:
            return latent_log_likelihood(self.model.lattice, params, jnp.asarray(v), log_z)
        return log_likelihood(self.model, params, jnp.asarray(v), log_z)


@dataclasses.dataclass(frozen=True)
class LatticeRun:
    """The config of the run folder of one lattice."""

    name: str = option("edge", "name of the lattice", group="run", choices=tuple(LATTICES))
    seed: int = seed_option("seed of the training", group="run")
    steps: int = option(1, "parameter updates", group="run", low=1, high=MOST_STEPS)
    batch_size: int = option(256, "images per step", group="run", low=1, high=60_000)
    cd_steps: int = option(5, "Gibbs sweeps per step", group="run", low=1, high=10**9)
    learning_rate: float = option(2e-2, "step size of Adam", group="run", low=0.0, high=10.0)


def planned(task: LatticeTask, workdir: Path) -> LatticeTask:
    """Return the task with its number of steps: the one set, or as many as fit into the training time.

    The number is written to `steps_NAME.json` in `workdir`, and read from there when the command is started again.
    """
    config, plan = task.config, workdir / f"steps_{task.name}.json"
    if not plan.exists():
        steps = config.steps or max(1, math.floor(config.seconds / step_seconds(task)))
        with runs.atomic_write(plan) as temporary:
            temporary.write_text(json.dumps({"steps": steps}) + "\n")
    return dataclasses.replace(
        task, steps=runs.read_json(plan, "the plan", "the file that the study wrote", ("steps",))["steps"]
    )


def train_lattice(task: LatticeTask, workdir: Path) -> dict:
    """Train to the end, from the last checkpoint if there is one; return the parameters."""
    config = task.config
    run = LatticeRun(task.name, config.seed, task.steps, config.batch_size, config.cd_steps, task.rate)
    with runs.RunFolder.open(workdir / "runs" / task.name, run) as folder:
        return training.train(task, folder).params


def step_seconds(task: LatticeTask) -> float:
    """Return the median wall time of a training step, compiled and warm."""
    state, tx = dataclasses.replace(task, steps=_WARM + _TIMED).initial_state()
    step, order = training.parallel_step(task.grad_fn(), tx), task.order()
    replicas, arrays = training.replicate_state(state), training.replicate_data(task.arrays())
    seconds = []
    for number in range(_WARM + _TIMED):
        start = time.perf_counter()
        replicas, metrics = step(replicas, arrays, training.shard_index(order.indices(number)))
        jax.block_until_ready((replicas.params, metrics))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[_WARM:]))
