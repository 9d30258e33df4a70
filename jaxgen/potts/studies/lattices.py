"""Which lattice is worth its edges? Models of binarised images on ever richer lattices, at equal training time.

    steps of a lattice = seconds / (seconds of one of its steps),   measured once, before its training

A lattice is the pixels' own grid, tied or with a matrix an edge, or a grid with as many hidden sites (`latent`).
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float64, UInt8

from jaxgen import data, gibbs, runs, training
from jaxgen.errors import UserError
from jaxgen.potts.config import SIDE
from jaxgen.potts.contrastive import ContrastiveSettings, contrastive_divergence, persistent_chains
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
from jaxgen.runs import option

_WARM, _TIMED = 3, 10


class LatticeKind(NamedTuple):
    """What a name stands for."""

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
    """A comparison of lattices."""

    seed: int = option(0, "seed of every training", group="study", low=0)
    lattices: str = option(",".join(LATTICES), "those compared, separated by commas", group="study")
    quick: bool = option(False, "4 lattices, 60 updates each, few chains: shows that everything runs", group="study")
    seconds: float = option(120.0, "training of each lattice, without compilation", group="study", low=1.0)
    data_dir: str = option("", "folder with MNIST's four IDX files instead of the built-in ones", group="study")

    batch_size: int = option(256, "images a step, and persistent chains", group="training", low=1)
    cd_steps: int = option(5, "Gibbs sweeps a step", group="training", low=1)
    learning_rate: float = option(2e-2, "Adam's step size, on the pixels' grid", group="training", low=0.0)
    latent_rate: float = option(2e-2, "the same with hidden sites and 8 neighbours", group="training", low=0.0)
    steps: int | None = option(None, "updates of each, in place of equal times", group="training", low=1)

    chains: int = option(5000, "samples judged, from noise, 2000 or more", group="measures", low=2000)
    sweeps: int = option(1000, "sweeps of each", group="measures", low=1)
    mixing_sweeps: int = option(10_000, "further sweeps of 64 chains, for the mixing time", group="measures", low=50)
    temperatures: int = option(4000, "of each estimate of a partition function", group="measures", low=1)
    annealed_chains: int = option(256, "chains of each", group="measures", low=2)


def effective_lattices(config: LatticesConfig) -> LatticesConfig:
    """The config with what `quick` stands for put in. ValueError naming a lattice that there is not."""
    names = config.lattices.split(",")
    if not set(names) <= set(LATTICES) or len(set(names)) < len(names):
        raise UserError(f"lattices is {config.lattices!r}; allowed: {', '.join(LATTICES)}, each once")
    if not config.quick:
        return config
    small = {"chains": 2000, "sweeps": 50, "mixing_sweeps": 100, "temperatures": 100, "annealed_chains": 32}
    return dataclasses.replace(config, lattices="tied,edge,G8,latent_G8", steps=60, **small)


@dataclasses.dataclass(frozen=True, eq=False)
class LatticeTask:
    """A model of one lattice; images are (n, 28, 28) states 0 and 1, chains are states of its whole grid."""

    config: LatticesConfig
    name: str
    model: PottsEBM
    train: UInt8[Array, "n 28 28"]

    @classmethod
    def of(cls, config: LatticesConfig, name: str, train: UInt8[Array, "n 28 28"]) -> "LatticeTask":
        """The task of a name in LATTICES."""
        kind = LATTICES[name]
        make = latent_lattice if kind.latent else gibbs.Lattice.grid
        return cls(config, name, PottsEBM(make(SIDE, SIDE, kind.neighbourhood), 2, kind.coupling), train)

    @property
    def latent(self) -> bool:
        return LATTICES[self.name].latent

    @property
    def rate(self) -> float:
        """Adam moves every coupling as far, so a hidden site's field moves by the step size times its neighbours."""
        neighbours = 2 * len(self.model.lattice.offsets)
        return self.config.latent_rate * 8 / neighbours if self.latent else self.config.learning_rate

    def initial_state(self, steps: int) -> tuple[training.TrainState, optax.GradientTransformation]:
        """Parameters, optimiser and chains before the first of `steps` updates."""
        key, key_init, key_chains = jax.random.split(jax.random.key(self.config.seed), 3)
        if self.latent:
            params = latent_init(key_init, self.model, self.train)
        else:
            params = log_marginal_init(self.model.init(key_init, self.train[:1])["params"], self.train)
        chains = persistent_chains(key_chains, self.train, self.config.batch_size)
        if self.latent:
            chains |= {"chains": draw_hidden(key_chains, self.model.lattice, params, chains["chains"])}
        tx = optax.adam(optax.cosine_decay_schedule(self.rate, steps))
        return training.create(key, params, tx, chains), tx

    def grad_fn(self) -> Callable:
        """Persistent contrastive divergence on this lattice."""
        settings = ContrastiveSettings(self.config.cd_steps, persistent=True)
        make = latent_contrastive_divergence if self.latent else contrastive_divergence
        return make(self.model, settings)

    def order(self) -> data.EpochOrder:
        """Batches, the same for every lattice."""
        key = jax.random.fold_in(jax.random.key(self.config.seed), 2**31)
        return data.EpochOrder(key, len(self.train), self.config.batch_size)

    def on_grid(self, key, params: dict, v: UInt8[Array, "n 28 28"]) -> UInt8[Array, "n H W"]:
        """States of the whole grid that show the images v, hidden sites drawn given them."""
        return draw_hidden(key, self.model.lattice, params, v) if self.latent else v

    def pixels(self, x: UInt8[Array, "n H W"]) -> UInt8[Array, "n 28 28"]:
        """What states of the grid show."""
        return visible_part(x) if self.latent else x

    def direction(self, component: Float64[np.ndarray, "28 28"]) -> Array:
        """A direction in pixels as one on the grid, 0 at hidden sites."""
        component = jnp.asarray(component, jnp.float32)
        return pixels_on_grid(component[None])[0] if self.latent else component

    def log_likelihood(self, params: dict, v: UInt8[np.ndarray, "n 28 28"], log_z: float) -> Float64[np.ndarray, "n"]:
        """log p(v) in nats, exact but for log Z."""
        if self.latent:
            return latent_log_likelihood(self.model.lattice, params, jnp.asarray(v), log_z)
        return log_likelihood(self.model, params, jnp.asarray(v), log_z)


@dataclasses.dataclass(frozen=True)
class LatticeRun:
    """What a run folder of one lattice is known by."""

    name: str = option("edge", "of LATTICES", group="run", choices=tuple(LATTICES))
    seed: int = option(0, "of the training", group="run", low=0)
    steps: int = option(1, "updates", group="run", low=1)
    batch_size: int = option(256, "images a step", group="run", low=1)
    cd_steps: int = option(5, "sweeps a step", group="run", low=1)
    learning_rate: float = option(2e-2, "of Adam", group="run", low=0.0)


def train_lattice(task: LatticeTask, workdir: Path) -> tuple[dict, int]:
    """Train from where the folder is to the end; the parameters, and the updates that fitted into the time."""
    config, arrays = task.config, {"image": task.train}
    plan = workdir / f"steps_{task.name}.json"
    if not plan.exists():
        steps = config.steps or max(1, math.floor(config.seconds / step_seconds(task)))
        with runs.atomic_write(plan) as temporary:
            temporary.write_text(json.dumps({"steps": steps}) + "\n")
    steps = json.loads(plan.read_text())["steps"]
    state, tx = task.initial_state(steps)
    run = LatticeRun(task.name, config.seed, steps, config.batch_size, config.cd_steps, task.rate)
    options = training.FitOptions(steps, log_every=max(1, steps // 50), eval_every=steps, checkpoint_every=500)
    with runs.RunFolder.open(workdir / "runs" / task.name, run) as folder:
        step = training.parallel_step(task.grad_fn(), tx)
        return training.fit(state, step, arrays, task.order(), folder, options).params, steps


def step_seconds(task: LatticeTask) -> float:
    """Median wall time of a training step, compiled and warm."""
    state, tx = task.initial_state(_WARM + _TIMED)
    step, order = training.parallel_step(task.grad_fn(), tx), task.order()
    stacked, arrays = training.replicate_state(state), training.replicate_data({"image": task.train})
    seconds = []
    for number in range(_WARM + _TIMED):
        start = time.perf_counter()
        stacked, metrics = step(stacked, arrays, training.shard_index(order.indices(number)))
        jax.block_until_ready((stacked.params, metrics))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[_WARM:]))
