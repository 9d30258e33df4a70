"""The block Gibbs engine for any graph.

    p(x_i = a | rest) ~ exp theta_a,     theta_a = beta (b_i[a] + sum_j W_ij[a, x_j])
    x_i = #{ a < L - 1 : u (P_0 + .. + P_(L-1)) > P_0 + .. + P_a },     P_a ~ exp theta_a,   u uniform, grain 2^-24

States are kept with chains on the last axis and sites in the order of `graph_plan`. One tile of one sweep gathers the
rows of its sites' neighbours, a loop per neighbour, since XLA fuses no gather from an array with an update in place of
it; one fused loop over (site, chain) joins the terms, draws the hash and writes the levels.

P_a is a product of exponentials taken once per call, relative to level 0, where the largest exponent that any state
could reach is below LARGEST_EXPONENT, a bound computed from the parameters of each call. Otherwise theta is summed,
every table column relative to its largest entry, and exponentiated per update: right for any finite parameters, up to
the rounding of a float32 sum, and for -inf. A site all of whose levels are forbidden by its neighbours keeps its state.

Noise is counted by (site number, chain number) and keyed by the sweep, so it depends neither on the tiles, nor on the
other chains, nor on the colouring.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped, UInt8

from jaxgen.gibbs.couplings import n_levels
from jaxgen.gibbs.engines.arithmetic import exp, scaled
from jaxgen.gibbs.engines.lattice import LARGEST_EXPONENT, _inverse_cdf
from jaxgen.gibbs.engines.threefry import threefry2x32
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.graph_params import GraphParams, from_lattice_params, is_spin
from jaxgen.gibbs.graph_plan import CHUNK, Run, plan
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.types import Conditions, SampleInfo, free_sites

_MASKED_LEVELS = 8  # up to here masked terms beat reading rows of a table
_LANES = 16  # chains in one AVX-512 vector; a batch is filled up to a multiple


class Table(NamedTuple):
    """What the sites of a run need to know of the parameters, tile by tile.

    bias: of every level. terms: what a neighbour adds in state c to level a, (L, C, size), or by one strength (size,)
    where the coupling is tied and L > 2. C: the most levels of a neighbour. rows: if not None, terms are numbers of
    rows: row terms + c says what a neighbour in c adds to every level.
    """

    bias: Float[Array, "tiles L size chains"]
    terms: Shaped[Array, "tiles degree *form"]
    rows: Float[Array, "rows L"] | None = None


def run(
    key: PRNGKeyArray,
    graph: Graph | Lattice,
    params: GraphParams,
    x: UInt8[Array, "n *sites"],
    n_sweeps: int,
    conditions: Conditions,
) -> tuple[UInt8[Array, "n *sites"], SampleInfo]:
    """Run `n_sweeps` sweeps of every chain, on a lattice as on its graph."""
    if isinstance(graph, Graph):
        return _run(key, graph, params, x, n_sweeps, conditions)
    n, sites, levels = len(x), graph.n_sites, n_levels(params)
    flat = conditions._replace(
        clamp=None if conditions.clamp is None else conditions.clamp.reshape(n, sites),
        field=None if conditions.field is None else conditions.field.reshape(n, sites, levels),
    )
    on_graph = (Graph.from_lattice(graph, levels), from_lattice_params(graph, params))
    moved, info = _run(key, *on_graph, x.reshape(n, sites), n_sweeps, flat)
    return moved.reshape(x.shape), info


def _run(key, graph, params, x, n_sweeps, conditions) -> tuple[UInt8[Array, "n sites"], SampleInfo]:
    """Run the sweeps. Noise is keyed by the sweep and counted by (site, chain)."""
    n = len(x)
    spare = -n % _LANES if n > 1 else 0
    layout = plan(graph, n + spare)
    chain_ids = jnp.pad(conditions.chain_ids, (0, spare))
    held = None if conditions.clamp is None else _chains_last(conditions.clamp, spare)[layout.site]
    raw = [_table(graph, params, tiles, conditions, spare) for tiles in layout.runs]
    words = jax.random.bits(key, (2,), jnp.uint32)
    tied = params["coupling"].ndim == 1

    def sweeps(tables, states, products):
        forms = [_form(tiles, tied, n) for tiles in layout.runs]
        tables = [_as_rows(table) if form == ROWS else table for table, form in zip(tables, forms, strict=True)]
        tables = jax.lax.optimization_barrier(tables)
        draws = [functools.partial(_draw, _join(form, products), products) for form in forms]

        def sweep(_, carry):
            done, states = carry
            sweep_key = threefry2x32((words[0], words[1]), (done.astype(jnp.uint32), jnp.uint32(0)))
            for tiles, table, draw in zip(layout.runs, tables, draws, strict=True):
                states = _update_run(tiles, table, states, held, (sweep_key, chain_ids), draw)
            return done + 1, states

        return jax.lax.fori_loop(0, n_sweeps, sweep, (jnp.int32(0), states))

    def by_products(raw, relative, states):
        return sweeps(jax.tree.map(jnp.exp, relative), states, products=True)

    def by_logarithms(raw, relative, states):
        return sweeps([_below_top(table) for table in raw], states, products=False)

    relative = jax.lax.optimization_barrier([_relative(table) for table in raw])
    largest = jnp.stack([_exponent_bound(table) for table in relative]).max()
    states = _chains_last(x, spare)[layout.site]
    done, states = jax.lax.cond(largest < LARGEST_EXPONENT, by_products, by_logarithms, raw, relative, states)
    return states[layout.position, :n].T, SampleInfo(done, free_sites(x, conditions.clamp))


def _chains_last(x: Array, spare: int) -> Array:
    """Return the states with sites first, then the chains and `spare` more, which start like the first.

    The results of the spare chains are dropped.
    """
    x = x.T
    return x if spare == 0 else jnp.concatenate([x, jnp.broadcast_to(x[:, :1], (len(x), spare))], 1)


# Tables.


def _table(graph: Graph, params: GraphParams, tiles: Run, conditions: Conditions, spare: int) -> Table:
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


def _relative(table: Table) -> Table:
    """Return the exponents relative to level 0.

    The terms for c = 0 are moved into the bias, so terms[0, :] = terms[:, 0] = 0.
    """
    bias, terms, _ = table
    if not _is_tied(table):
        seen = terms - terms[:, :, :1]
        bias = bias + seen[:, :, :, 0].sum(1)[..., None]
        terms = seen - seen[:, :, :, :1]
    return Table(bias - bias[:, :1], terms)


def _below_top(table: Table) -> Table:
    """Return every bias and every column of terms minus its largest entry, so that the smallest numbers are summed."""

    def below(theta, axis):
        top = theta.max(axis, keepdims=True)
        return theta - jnp.where(top == -jnp.inf, 0.0, top)

    return Table(below(table.bias, 1), table.terms if _is_tied(table) else below(table.terms, 2))


def _exponent_bound(relative: Table) -> Float[Array, ""]:
    """Return the largest |exponent| of any partial product over the neighbours' possible states; inf for NaN."""
    terms = jnp.abs(relative.terms)
    if not _is_tied(relative):
        terms = terms.max((2, 3))
    bound = (jnp.abs(relative.bias).max((1, 3)) + terms.sum(1)).max()
    return jnp.where(jnp.isnan(bound), jnp.inf, bound)


def _as_rows(table: Table) -> Table:
    n_tiles, degree, levels, others, size = table.terms.shape
    rows = jnp.transpose(table.terms, (0, 1, 4, 3, 2)).reshape(-1, levels)
    number = others * jnp.arange(n_tiles * degree * size, dtype=jnp.int32)
    return Table(table.bias, number.reshape(n_tiles, degree, size), rows)


# How the term of one neighbour of every site of a tile joins the weights (size, chains) of all levels.

MASKS, STRENGTHS, ROWS = "masks", "strengths", "rows"


def _form(tiles: Run, tied: bool, n_chains: int) -> str:
    """Return which form of terms is fastest.

    Rows are read site by site; masks compare whole vectors, of one chain only where the tile is not cut from a table.
    """
    if tied and tiles.levels > 2:
        return STRENGTHS
    most = max(tiles.levels, tiles.others)
    in_loop = len(tiles.sites) > 1
    return ROWS if most > _MASKED_LEVELS or (n_chains == 1 and most > 2 and in_loop) else MASKS


def _join(form: str, products: bool) -> Callable:
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


# Updates.


def _update_run(tiles: Run, table: Table, states, held, noise, draw) -> UInt8[Array, "positions chains"]:
    """Redraw the sites of one run, tile after tile, given all others."""
    n_tiles, size = tiles.sites.shape
    sweep_key, chain_ids = noise
    fixed = (jnp.asarray(tiles.neighbours), jnp.asarray(tiles.sites, jnp.uint32))
    shape = (size, states.shape[1])

    def one_tile(t, states):
        pick = functools.partial(jax.lax.dynamic_index_in_dim, index=t, axis=0, keepdims=False)
        if n_tiles == 1:  # without slices
            pick = operator.itemgetter(0)
        bias, terms, neighbours, sites = map(pick, (table.bias, table.terms, *fixed))
        local = Table(bias, terms, table.rows)
        counter = (jnp.broadcast_to(sites[:, None], shape), jnp.broadcast_to(chain_ids, shape))
        word, _ = threefry2x32(sweep_key, counter)
        drawn, keep = draw(local, neighbours, states, word)
        first = tiles.start + t * size
        if held is not None:
            here = jax.lax.dynamic_slice_in_dim(held, first, size)
            keep = here if keep is None else here | keep
        if keep is not None:
            drawn = jnp.where(keep, jax.lax.dynamic_slice_in_dim(states, first, size), drawn)
        return jax.lax.dynamic_update_slice_in_dim(states, drawn, first, 0)

    return one_tile(0, states) if n_tiles == 1 else jax.lax.fori_loop(0, n_tiles, one_tile, states)


def _draw(join: Callable, products: bool, table: Table, neighbours, states, word) -> tuple[Array, Array | None]:
    """Return the new states of the sites of one tile, and which sites are forbidden every level, where that can be."""
    bias, terms, rows = table
    weights = [jnp.broadcast_to(level, word.shape) for level in bias]

    def visit(weights, neighbours, terms):
        for sites, term in zip(neighbours, terms, strict=True):
            weights = join(weights, term, rows, states.at[sites].get(mode="promise_in_bounds"))
        return weights

    def chunk(k, weights):
        some = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=k * CHUNK, slice_size=CHUNK)
        return visit(weights, some(neighbours), some(terms))

    degree = len(neighbours)
    if degree <= CHUNK:
        weights = visit(weights, neighbours, terms)
    else:
        weights = jax.lax.fori_loop(0, degree // CHUNK, chunk, weights)
    forbidden = None
    if not products:
        top = functools.reduce(jnp.maximum, weights)
        forbidden = top == -jnp.inf
        weights = [exp(weight - jnp.where(forbidden, 0.0, top)) for weight in weights]
    return _inverse_cdf(weights, word).astype(states.dtype), forbidden
