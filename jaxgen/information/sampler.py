"""Independent draws from a CellDistribution.

(y, c) ~ p(y, c),   x_i = lower_i(c) + u_i (upper_i(c) - lower_i(c)),   u_i uniform on [0, 1)
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxgen.errors import UserError
from jaxgen.information.cells import CellDistribution


def sample(key: Key[Array, ""], distribution: CellDistribution, n: int) -> tuple[Float[Array, "n d"], Int[Array, "n"]]:
    """Draw n points, float32, and their labels, int32 0..K-1. UserError if n < 1."""
    if n < 1:
        raise UserError(f"num_samples is {n}; allowed: 1 or more")
    joint = distribution.joint()
    steps = np.cumsum(joint.ravel() / joint.sum()).astype(np.float32)
    # The last sum may round to less than 1; a draw above it belongs to the last pair of positive mass.
    last = np.flatnonzero(joint.ravel())[-1]
    return _draw(key, steps, last, _edges(distribution), n)


def points_in_cells(
    key: Key[Array, ""], distribution: CellDistribution, per_cell: int
) -> Float[Array, "cells per_cell d"]:
    """Draw `per_cell` uniform points in every cell, cells in the order of `joint`. UserError if per_cell < 1."""
    if per_cell < 1:
        raise UserError(f"per_cell is {per_cell}; allowed: 1 or more")
    cells = math.prod(distribution.mass.shape[1:])
    x = _place(key, _edges(distribution), np.repeat(np.arange(cells), per_cell))
    return x.reshape(cells, per_cell, -1)


def _edges(distribution: CellDistribution) -> tuple[Float[np.ndarray, "_edges"], ...]:
    return tuple(np.asarray(edge, np.float32) for edge in distribution.edges)


@functools.partial(jax.jit, static_argnames="n")
def _draw(
    key: Key[Array, ""],
    steps: Float[Array, "pairs"],
    last: Int[Array, ""],
    edges: tuple[Float[Array, "_edges"], ...],
    n: int,
) -> tuple[Float[Array, "n d"], Int[Array, "n"]]:
    """Draw pairs (label, cell) by inverting their cumulative probabilities `steps`, then points of the cells."""
    key_pair, key_place = jax.random.split(key)
    pair = jnp.minimum(jnp.searchsorted(steps, jax.random.uniform(key_pair, (n,)), side="right"), last)
    label, cell = jnp.divmod(pair, math.prod(len(edge) - 1 for edge in edges))
    return _place(key_place, edges, cell), label.astype(jnp.int32)


@jax.jit
def _place(
    key: Key[Array, ""], edges: tuple[Float[Array, "_edges"], ...], cell: Int[Array, "n"]
) -> Float[Array, "n d"]:
    """Draw one uniform point in each of the cells."""
    intervals = jnp.unravel_index(cell, tuple(len(edge) - 1 for edge in edges))
    u = jax.random.uniform(key, (len(cell), len(edges)))
    columns = []
    for axis, (edge, interval) in enumerate(zip(edges, intervals, strict=True)):
        lower, upper = edge[interval], edge[interval + 1]
        # Rounding may reach the upper edge, which belongs to the next cell.
        columns.append(jnp.minimum(lower + u[:, axis] * (upper - lower), jnp.nextafter(upper, lower)))
    return jnp.stack(columns, axis=1)
