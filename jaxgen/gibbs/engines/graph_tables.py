"""What the graph engine reads of the parameters, and how the term of a neighbour joins the weights of all levels."""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt8

from jaxgen.gibbs.engines.arithmetic import scaled
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.graph_params import GraphParams, is_spin
from jaxgen.gibbs.graph_plan import Run
from jaxgen.gibbs.types import Conditions

MASKS, STRENGTHS, ROWS = "masks", "strengths", "rows"  # forms of the terms of a table
_MASKED_LEVELS = 8  # up to here masked terms beat reading rows of a table


class Table(NamedTuple):
    """What the sites of a run need to know of the parameters, tile by tile.

    bias: of every level. terms: what a neighbour adds in state c to level a, (L, C, size), or by one strength (size,)
    where the coupling is tied and L > 2. C: the most levels of a neighbour. rows: if not None, terms are numbers of
    rows: row terms + c says what a neighbour in c adds to every level.
    """

    bias: Float[Array, "tiles L size chains"]
    terms: Shaped[Array, "tiles degree *form"]
    rows: Float[Array, "rows L"] | None = None


def make_table(graph: Graph, params: GraphParams, tiles: Run, conditions: Conditions, spare: int) -> Table:
    """Return beta b and beta W as seen from the sites of one run; many levels have the form of few."""
    bias, coupling = params["bias"], params["coupling"]
    if conditions.field is None:
        bias = bias[None]
    else:
        bias = bias + conditions.field
        bias = jnp.concatenate([bias, jnp.broadcast_to(bias[:1], (spare, *bias.shape[1:]))])
    if is_spin(params):
        bias, coupling = jnp.stack([-bias, bias], -1), 2.0 * coupling  # J s s' = 2 J delta(s, s') - J
    bias = jnp.transpose(bias[:, tiles.sites, : tiles.levels], (1, 3, 2, 0))
    if coupling.ndim == 1:
        terms = jnp.concatenate([coupling, coupling, jnp.zeros(1)])[tiles.edges]
        if tiles.levels == 2:
            terms = jnp.where(np.eye(2, tiles.others, dtype=bool)[..., None], terms[:, :, None, None], 0.0)
    else:
        both = jnp.concatenate([coupling, coupling.swapaxes(1, 2), jnp.zeros((1, *coupling.shape[1:]))])
        both = both[:, : tiles.levels, : tiles.others].reshape(len(both), -1)
        # The barriers keep XLA from fusing the gather with the transposition: whole rows are copied, then turned.
        terms = jax.lax.optimization_barrier(jax.lax.optimization_barrier(both)[tiles.edges])
        n_tiles, degree, size = tiles.edges.shape
        terms = jnp.moveaxis(terms, -1, 2).reshape(n_tiles, degree, tiles.levels, tiles.others, size)
    return Table(scaled(conditions.beta, bias), scaled(conditions.beta, terms))


def _is_tied(table: Table) -> bool:
    return table.terms.ndim == 3


def relative_to_level_0(table: Table) -> Table:
    """Return the exponents relative to level 0.

    The terms for c = 0 are moved into the bias, so terms[0, :] = terms[:, 0] = 0.
    """
    bias, terms, _ = table
    if not _is_tied(table):
        seen = terms - terms[:, :, :1]
        bias = bias + seen[:, :, :, 0].sum(1)[..., None]
        terms = seen - seen[:, :, :, :1]
    return Table(bias - bias[:, :1], terms)


def below_top(table: Table) -> Table:
    """Return every bias and every column of terms minus its largest entry, so that the smallest numbers are summed."""

    def below(theta, axis):
        top = theta.max(axis, keepdims=True)
        return theta - jnp.where(top == -jnp.inf, 0.0, top)

    return Table(below(table.bias, 1), table.terms if _is_tied(table) else below(table.terms, 2))


def exponent_bound(table: Table) -> Float[Array, ""]:
    """Return the largest |exponent| of any partial product over the neighbours' possible states; inf for NaN.

    table: relative to level 0.
    """
    terms = jnp.abs(table.terms)
    if not _is_tied(table):
        terms = terms.max((2, 3))
    bound = (jnp.abs(table.bias).max((1, 3)) + terms.sum(1)).max()
    return jnp.where(jnp.isnan(bound), jnp.inf, bound)


def as_rows(table: Table) -> Table:
    """Return the table with numbers of rows as terms."""
    n_tiles, degree, levels, others, size = table.terms.shape
    rows = jnp.transpose(table.terms, (0, 1, 4, 3, 2)).reshape(-1, levels)
    number = others * jnp.arange(n_tiles * degree * size, dtype=jnp.int32)
    return Table(table.bias, number.reshape(n_tiles, degree, size), rows)


def form_of(tiles: Run, tied: bool, n_chains: int) -> str:
    """Return which form of terms is fastest.

    Rows are read site by site; masks compare whole vectors, of one chain only where the tile is not cut from a table.
    """
    if tied and tiles.levels > 2:
        return STRENGTHS
    most = max(tiles.levels, tiles.others)
    in_loop = len(tiles.sites) > 1
    return ROWS if most > _MASKED_LEVELS or (n_chains == 1 and most > 2 and in_loop) else MASKS


def join_of(form: str, products: bool) -> Callable:
    """Return the function join(weights, term, rows, state of the neighbour) -> weights."""
    combine = operator.mul if products else operator.add
    if form == MASKS:
        return _join_products if products else _join_sums
    return functools.partial(_join_strengths if form == STRENGTHS else _join_rows, combine)


def _join_products(
    weights: list, term: Float[Array, "L C size"], rows: None, state: UInt8[Array, "size chains"]
) -> list:
    """Join exponentials relative to level 0. For a neighbour in state 0, and for level 0, the factor is 1."""
    weights = list(weights)
    for c in range(1, term.shape[1]):
        for a in range(1, len(weights)):
            weights[a] = jnp.where(state == c, weights[a] * term[a, c][:, None], weights[a])
    return weights


def _join_sums(weights: list, term: Float[Array, "L C size"], rows: None, state: UInt8[Array, "size chains"]) -> list:
    """Join logarithms."""
    joined = []
    for weight, of_level in zip(weights, term, strict=True):
        added = of_level[0][:, None]
        for c in range(1, len(of_level)):
            added = jnp.where(state == c, of_level[c][:, None], added)
        joined.append(weight + added)
    return joined


def _join_strengths(
    combine: Callable, weights: list, term: Float[Array, "size"], rows: None, state: UInt8[Array, "size chains"]
) -> list:
    """Join tied couplings, which favour the level that the neighbour has."""
    strength = term[:, None]
    return [jnp.where(state == a, combine(weight, strength), weight) for a, weight in enumerate(weights)]


def _join_rows(
    combine: Callable,
    weights: list,
    term: Int[Array, "size"],
    rows: Float[Array, "rows L"],
    state: UInt8[Array, "size chains"],
) -> list:
    row = rows.at[term[:, None] + state].get(mode="promise_in_bounds")
    return [combine(weight, row[..., a]) for a, weight in enumerate(weights)]
