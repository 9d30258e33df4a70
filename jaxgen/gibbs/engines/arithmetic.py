"""How the lattice engine and its GPU kernel compute: products of exponentials, or sums of logarithms.

    PRODUCTS     weights P_a relative to level 0, a neighbour multiplies; fast, for exponents below LARGEST_EXPONENT
    LOGARITHMS   sums of all levels, the largest is taken off before the exponential; for large parameters
                 and -inf, as exactly as float32 adds what meets at one level

Tied couplings, masked terms of a few levels and rows of many levels are read in different layouts; see `Layout`.
"""

import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxgen.gibbs.couplings import Params, is_tied, n_levels

MASKED_LEVELS = 8  # up to here masked products beat reading rows of a table
# 2^t on [0, 1], highest power first: Chebyshev interpolation of degree 6
_EXP2 = (
    np.polynomial.Chebyshev.interpolate(np.exp2, 6, [0, 1])
    .convert(kind=np.polynomial.Polynomial)
    .coef[::-1]
    .astype(np.float32)
)


def _products(weights: list[Array]) -> list[Array]:
    return weights


def _exponentials(weights: list[Array]) -> list[Array]:
    top = weights[0]
    for weight in weights[1:]:
        top = jnp.maximum(top, weight)
    return [exp(weight - top) for weight in weights]


def exp(x: Float[ArrayLike, "*k"]) -> Float[Array, "*k"]:
    """Return exp(x) for x <= 0 with a relative error up to 4e-6, and 0 below -87.

    It is 2^floor(t) times a polynomial in t - floor(t), t = x / ln 2.

    XLA never fuses its own exponential into several consumers; this it does.
    """
    t = jnp.maximum(x * np.float32(np.log2(np.e)), -126.0)
    down = t.astype(jnp.int32)
    whole = down - (down.astype(jnp.float32) > t).astype(jnp.int32)  # floor, which not every kernel language has
    rest = t - whole.astype(jnp.float32)
    power = jnp.full_like(rest, _EXP2[0])
    for coefficient in _EXP2[1:]:
        power = power * rest + coefficient
    scale = jax.lax.bitcast_convert_type((whole + 127) << 23, jnp.float32)
    return jnp.where(t > -126.0, power * scale, 0.0)


def scaled(beta: Float[ArrayLike, ""], theta: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """Return beta theta; -inf, which forbids, stays -inf at beta = 0 as well."""
    return jnp.where(theta == -jnp.inf, theta, beta * theta)


class Arithmetic(NamedTuple):
    """How a neighbour's term joins, how the joined terms become weights, and the first level that tables hold.

    first: 1 for tables relative to level 0, 0 for tables of all levels.
    """

    join: Callable
    finish: Callable
    first: int


PRODUCTS = Arithmetic(operator.mul, _products, 1)
LOGARITHMS = Arithmetic(operator.add, _exponentials, 0)


class Layout(NamedTuple):
    """How the tables of one kind of coupling are read inside the loop.

    for_chains: a table of `_quarter_tables` with an axis for the chains.
    start: (bias, shape) -> the weights before any neighbour has joined.
    add: (weights, state, term, arithmetic) -> the weights with one neighbour's term.
    split: the weights as a list of levels.
    """

    for_chains: Callable
    start: Callable
    add: Callable
    split: Callable


def layout_of(params: Params) -> Layout:
    """Return the layout: one strength per offset, masked terms of a few levels, or rows of many."""
    if is_tied(params):
        return TIED
    return MASKED if n_levels(params) <= MASKED_LEVELS else ROWS


def _spread_levels(bias: list[Array], shape: tuple[int, ...]) -> list[Array]:
    return [jnp.broadcast_to(level, shape) for level in bias]


def _tied_for_chains(table: dict) -> dict:
    """Return the bias as a list over levels, and the terms as strengths (*cells, 1)."""
    return {"bias": list(table["bias"]), "terms": [term[..., None] for term in table["terms"]]}


def _add_tied(weights, state, term, arithmetic) -> list[Array]:
    """Multiply the weight of the level that the neighbour has by the coupling's factor."""
    return [jnp.where(state == a, arithmetic.join(weight, term), weight) for a, weight in enumerate(weights)]


def _masked_for_chains(table: dict) -> dict:
    """Return the bias as a list over levels, and the terms R as a list over a of lists over c of arrays (*cells, 1)."""
    levels = range(len(table["bias"]))
    terms = [[[term[a, c][..., None] for c in levels] for a in levels] for term in table["terms"]]
    return {"bias": list(table["bias"]), "terms": terms}


def _add_masked(weights, state, term, arithmetic) -> list[Array]:
    weights, levels = list(weights), range(arithmetic.first, len(weights))
    for c in levels:
        for a in levels:
            weights[a] = jnp.where(state == c, arithmetic.join(weights[a], term[a][c]), weights[a])
    return weights


def _rows_for_chains(table: dict) -> dict:
    """Return the bias (*cells, 1 or n, L) and the terms (*cells, L, L).

    Row c of a term holds what a neighbour in state c gives each level.
    """
    return {"bias": jnp.moveaxis(table["bias"], 0, -1), "terms": table["terms"]}


def _add_rows(weights, state, term, arithmetic) -> Array:
    row = jnp.take_along_axis(term, state[..., None].astype(jnp.int32), axis=-2, mode="promise_in_bounds")
    return arithmetic.join(weights, row)


TIED = Layout(_tied_for_chains, _spread_levels, _add_tied, list)
MASKED = Layout(_masked_for_chains, _spread_levels, _add_masked, list)
ROWS = Layout(
    _rows_for_chains,
    lambda bias, shape: bias,
    _add_rows,
    lambda rows: [rows[..., a] for a in range(rows.shape[-1])],
)
