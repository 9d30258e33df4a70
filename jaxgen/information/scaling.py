"""Excess risk against the number of examples, width and depth: networks of one shape trained together by vmap.

Every network has its own start, its own examples and its own order. It is tested on validation examples on the way and
the parameters of the best test are kept, so that a small sample is judged by what it can teach, not by overfitting.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree
from tqdm import tqdm

from jaxgen import training
from jaxgen.errors import UserError
from jaxgen.information import bounds, excess
from jaxgen.information.cells import CellDistribution
from jaxgen.information.config import build_optimiser
from jaxgen.information.mlp import MLP, log_probabilities
from jaxgen.information.sampler import sample
from jaxgen.information.task import cross_entropy_loss

_VALIDATION = 20_000
_TESTS = 40


@dataclasses.dataclass(frozen=True)
class TogetherOptions:
    """How networks that train together are trained: Adam with a cosine."""

    steps: int
    batch_size: int = 512
    learning_rate: float = 1e-2
    points_per_cell: int = 64

    def __post_init__(self):
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; allowed: an integer, 1 or more")


class Point(NamedTuple):
    """One trained network: its shape and number of examples, its excess with standard error, and that of the table of
    counts of the same examples, in nats."""

    n_examples: int
    width: int
    depth: int
    excess: float
    standard_error: float
    table_excess: float


def train_together(
    key: Key[Array, ""],
    distribution: CellDistribution,
    widths: Sequence[int],
    sizes: Sequence[int],
    options: TogetherOptions,
) -> list[Point]:
    """Train one network of these hidden widths a size, network i on sizes[i] examples, and measure each.

    Raises:
        ValueError: no sizes, or one below 1.
        NonFiniteError: a network's loss is not finite.
    """
    if not len(sizes) or min(sizes) < 1:
        raise UserError(f"sizes are {tuple(sizes)}; allowed: one or more, each 1 or more")
    key_data, key_nets, key_validation, key_cells = jax.random.split(key, 4)
    # One after another in one pool, so that no two networks share an example.
    pool = dict(zip("xy", sample(key_data, distribution, sum(sizes)), strict=True))
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    model = MLP(tuple(widths), distribution.n_labels)
    validation = dict(zip("xy", sample(key_validation, distribution, _VALIDATION), strict=True))
    keys, places = jax.random.split(key_nets, len(sizes)), (firsts, np.asarray(sizes))
    # On the host, where a slice needs no compilation.
    params, pool = jax.device_get((_train(keys, model, pool, places, validation, options), pool))
    points = []
    for i, (first, size) in enumerate(zip(firsts, sizes, strict=True)):
        log_q = log_probabilities(model, jax.tree.map(lambda leaf, i=i: leaf[i], params))
        averages = excess.cell_averages(key_cells, distribution, log_q, options.points_per_cell)
        counted = excess.count_table(distribution, **{k: v[first : first + size] for k, v in pool.items()})
        table = bounds.cross_entropy(distribution, counted) - bounds.conditional_entropy(distribution)
        points.append(Point(size, max(widths), len(widths), averages.excess, averages.standard_error, table))
    return points


def _train(
    keys: Key[Array, "nets"],
    model: MLP,
    pool: dict[str, Array],
    places: tuple[Int[np.ndarray, "nets"], Int[np.ndarray, "nets"]],
    validation: dict[str, Array],
    options: TogetherOptions,
) -> PyTree:
    """Parameters of the best validation test of every network, stacked; `places` are the first examples and counts."""
    tx = build_optimiser("adam", options.learning_rate, "cosine", options.steps)
    loss_fn = cross_entropy_loss(model)
    update = training.make_train_step(training.from_loss(loss_fn), tx)

    def start(key: Key[Array, ""]) -> training.TrainState:
        key_init, key_steps = jax.random.split(key)
        return training.create(key_steps, model.init(key_init, pool["x"][:1])["params"], tx)

    def net_step(state: training.TrainState, first: Array, count: Array, pool: dict[str, Array]):
        drawn = jax.random.randint(jax.random.fold_in(state.key, state.step), (options.batch_size,), 0, count)
        return update(state, {name: array[first + drawn] for name, array in pool.items()})

    step = jax.jit(jax.vmap(net_step, in_axes=(0, 0, 0, None)), donate_argnums=0)

    @jax.jit
    def keep_best(best: tuple[Array, PyTree], params: PyTree) -> tuple[Array, PyTree]:
        # One network after another: all at once would hold every network's activations of 20,000 examples.
        loss = jax.lax.map(lambda one: loss_fn(one, keys[0], validation)[0], params)
        better = loss < best[0]
        chosen = jax.tree.map(
            lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), params, best[1]
        )
        return jnp.where(better, loss, best[0]), chosen

    firsts, counts = (jnp.asarray(place, jnp.int32) for place in places)
    state = jax.jit(jax.vmap(start))(keys)
    best = (jnp.full(len(counts), jnp.inf), jax.tree.map(jnp.copy, state.params))
    every = math.ceil(options.steps / _TESTS)
    for number in tqdm(range(1, options.steps + 1), desc=f"{len(counts)} networks {model.widths}", mininterval=5.0):
        state, metrics = step(state, firsts, counts, pool)
        if number % every == 0 or number == options.steps:
            if not np.isfinite(metrics["loss"]).all():
                raise training.NonFiniteError(f"loss is {np.asarray(metrics['loss'])} at step {number}")
            best = keep_best(best, state.params)
    return best[1]
