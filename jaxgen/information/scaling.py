"""Excess risk against the number of examples, width and depth: networks of one shape trained as one ensemble.

Every network has its own initial parameters, its own examples and its own draws from them. It is tested on validation
examples during training, and the parameters of its best test are used, so that the result of a small sample is not
dominated by overfitting.
"""

import dataclasses
import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from jaxgen import runs, training
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
class EnsembleOptions:
    """How an ensemble is trained: Adam with a cosine decay."""

    steps: int
    batch_size: int = 512
    learning_rate: float = 1e-2
    points_per_cell: int = 64

    def __post_init__(self):
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; allowed: an integer, 1 or more")


class Point(NamedTuple):
    """One trained network.

    Attributes:
        n_examples: number of its training examples.
        width: units per hidden layer.
        depth: hidden layers.
        excess: excess risk in nats.
        standard_error: of the excess.
        table_excess: excess of the table of counts of the same examples, in nats.
    """

    n_examples: int
    width: int
    depth: int
    excess: float
    standard_error: float
    table_excess: float


class Grid(NamedTuple):
    """Which networks are trained: the values of each curve, and the value of each quantity where it is not varied."""

    examples: Sequence[int]
    widths: Sequence[int]
    depths: Sequence[int]
    width: int
    depth: int
    many: int
    repeats: int


def train_ensemble(
    key: Key[Array, ""],
    distribution: CellDistribution,
    widths: Sequence[int],
    sizes: Sequence[int],
    options: EnsembleOptions,
) -> list[Point]:
    """Train one network of these hidden widths per entry of `sizes`, network i on sizes[i] examples, and measure each.

    Raises:
        UserError: no sizes, or one below 1.
        NonFiniteError: a network's loss is not finite.
    """
    if not len(sizes) or min(sizes) < 1:
        raise UserError(f"sizes are {tuple(sizes)}; allowed: one or more, each 1 or more")
    key_data, key_nets, key_validation, key_cells = jax.random.split(key, 4)
    # In one pool, so that no two networks share an example.
    pool = dict(zip("xy", sample(key_data, distribution, sum(sizes)), strict=True))
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    model = MLP(tuple(widths), distribution.n_labels)
    validation = dict(zip("xy", sample(key_validation, distribution, _VALIDATION), strict=True))
    keys, places = jax.random.split(key_nets, len(sizes)), (firsts, np.asarray(sizes))
    # On the host, where a slice needs no compilation.
    params, pool = jax.device_get((_train(keys, model, pool, places, validation, options), pool))
    points = []
    for i, (first, size) in enumerate(zip(firsts, sizes, strict=True)):
        log_q = log_probabilities(model, training.member(params, i))
        averages = excess.cell_averages(key_cells, distribution, log_q, options.points_per_cell)
        counted = excess.count_table(distribution, **{k: v[first : first + size] for k, v in pool.items()})
        table = bounds.cross_entropy(distribution, counted) - bounds.conditional_entropy(distribution)
        points.append(Point(size, max(widths), len(widths), averages.excess, averages.standard_error, table))
    return points


def scaling_curves(
    key: Key[Array, ""],
    distribution: CellDistribution,
    grid: Grid,
    options: EnsembleOptions,
) -> dict[str, list[Point]]:
    """Train the networks of three curves: by number of examples, by width and by depth.

    Returns:
        Points by the name of the curve, "examples", "width" and "depth". A shape that lies on two curves is trained
        once.
    """
    key_examples, key_shapes = jax.random.split(key)

    def networks(key: Key[Array, ""], width: int, depth: int, sizes: Sequence[int]) -> list[Point]:
        return train_ensemble(key, distribution, [width] * depth, sizes, options)

    shapes = [(width, grid.depth) for width in grid.widths] + [(grid.width, depth) for depth in grid.depths]
    points = {
        shape: networks(jax.random.fold_in(key_shapes, number), *shape, [grid.many] * grid.repeats)
        for number, shape in enumerate(dict.fromkeys(shapes))
    }
    return {
        "examples": networks(key_examples, grid.width, grid.depth, list(grid.examples) * grid.repeats),
        "width": [point for width in grid.widths for point in points[width, grid.depth]],
        "depth": [point for depth in grid.depths for point in points[grid.width, depth]],
    }


def curve_rows(curves: Mapping[str, Sequence[Point]]) -> list[runs.Row]:
    """Return the median and the range of the networks of every point."""
    field = {"examples": "n_examples", "width": "width", "depth": "depth"}
    rows = []
    for name, points in curves.items():
        for value in sorted({getattr(point, field[name]) for point in points}):
            group = [point for point in points if getattr(point, field[name]) == value]
            excesses = [point.excess for point in group]
            note = f"median of {len(group)} networks, range {min(excesses):.4f} to {max(excesses):.4f}"
            if name == "examples":
                note += f"; table of counts {statistics.median(point.table_excess for point in group):.4f}"
            rows.append(runs.Row(f"excess risk, {name} = {value}", statistics.median(excesses), "nats", "", note))
    return rows


def _train(
    keys: Key[Array, "nets"],
    model: MLP,
    pool: dict[str, Array],
    places: tuple[Int[np.ndarray, "nets"], Int[np.ndarray, "nets"]],
    validation: dict[str, Array],
    options: EnsembleOptions,
) -> PyTree:
    """Return the parameters of the best validation test of every network; `places` are first examples and counts."""
    tx = build_optimiser("adam", options.learning_rate, "cosine", options.steps)
    loss_fn = cross_entropy_loss(model)
    n = len(keys)
    update = training.make_train_step(training.vmapped_grad_fn(training.from_loss(loss_fn), n), tx)
    firsts, counts = (jnp.asarray(place, jnp.int32) for place in places)

    def init(key: Key[Array, ""]) -> tuple[PyTree, Key[Array, ""]]:
        key_init, key_draws = jax.random.split(key)
        return model.init(key_init, pool["x"][:1])["params"], key_draws

    params, keys_draws = jax.jit(jax.vmap(init))(keys)
    state = training.create(keys[0], params, tx)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: training.TrainState, pool: dict[str, Array]):
        def draw(key: Key[Array, ""], first: Array, count: Array) -> Array:
            return first + jax.random.randint(jax.random.fold_in(key, state.step), (options.batch_size,), 0, count)

        index = jax.vmap(draw)(keys_draws, firsts, counts).T.ravel()  # example b of network m at b M + m
        return update(
            state, {name: array[index] for name, array in pool.items()} | {"position": jnp.arange(len(index))}
        )

    @jax.jit
    def keep_best(best: tuple[Array, PyTree], params: PyTree) -> tuple[Array, PyTree]:
        # One network after another: all at once would need memory for the activations of all of them.
        loss = jax.lax.map(lambda p: loss_fn(p, keys[0], validation)[0], params)
        better = loss < best[0]
        chosen = jax.tree.map(
            lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), params, best[1]
        )
        return jnp.where(better, loss, best[0]), chosen

    best = (jnp.full(n, jnp.inf), jax.tree.map(jnp.copy, state.params))
    every = math.ceil(options.steps / _TESTS)
    from tqdm import tqdm  # here, so that the library does without it

    for number in tqdm(range(1, options.steps + 1), desc=f"{n} networks {model.widths}", mininterval=5.0):
        state, metrics = step(state, pool)
        if number % every == 0 or number == options.steps:
            if not np.isfinite(metrics["loss"]):
                raise training.NonFiniteError(f"loss is {float(metrics['loss'])} at step {number}")
            best = keep_best(best, state.params)
    return best[1]
