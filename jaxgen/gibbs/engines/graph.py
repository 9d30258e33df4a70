"""The block Gibbs engine for any graph.

    p(x_i = a | rest) ~ exp theta_a,     theta_a = beta (b_i[a] + sum_j W_ij[a, x_j])
    x_i = #{ a < L - 1 : u (P_0 + .. + P_(L-1)) > P_0 + .. + P_a },     P_a ~ exp theta_a,   u uniform, grain 2^-24

States are kept with chains on the last axis and sites in the order of `graph_plan`. One tile of one sweep is one fused
loop over (pair of sites, chain): it reads the rows of the neighbours, joins the terms, draws one hash for both sites
and writes both levels in a word of 16 bits. The words are then copied to their places among the states. By itself XLA
would update the states in that very loop, and such a loop runs on one thread and fuses no gather from what it updates;
a conditional that is always true keeps the two apart. One chain leaves nothing to share among threads; there one gather
fetches all neighbours, and the update is in place.

P_a is a product of exponentials taken once per call, relative to level 0, where the largest exponent that any state
could reach is below LARGEST_EXPONENT, a bound computed from the parameters of each call. Otherwise theta is summed,
every table column relative to its largest entry, and exponentiated per update: right for any finite parameters, up to
the rounding of a float32 sum, and for -inf. A site all of whose levels are forbidden by its neighbours keeps its state.

Noise is counted by (first site of the pair, chain number) and keyed by the sweep, so it depends neither on the tiles
nor on the other chains.
"""

import functools
import operator
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt8, UInt16, UInt32

from jaxgen.gibbs.couplings import n_levels
from jaxgen.gibbs.engines.arithmetic import exp
from jaxgen.gibbs.engines.graph_tables import (
    ROWS,
    Table,
    as_rows,
    below_top,
    exponent_bound,
    form_of,
    join_of,
    make_table,
    relative_to_level_0,
)
from jaxgen.gibbs.engines.lattice import LARGEST_EXPONENT, _inverse_cdf
from jaxgen.gibbs.engines.threefry import threefry2x32
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.graph_params import GraphParams, from_lattice_params
from jaxgen.gibbs.graph_plan import CHUNK, Run, plan
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.types import Conditions, SampleInfo, free_sites

_LANES = 16  # chains in one AVX-512 vector; a batch is filled up to a multiple


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
    """Run the sweeps."""
    n = len(x)
    spare = -n % _LANES if n > 1 else 0
    layout = plan(graph, n + spare)
    chain_ids = jnp.pad(conditions.chain_ids, (0, spare))
    held = None if conditions.clamp is None else _chains_last(conditions.clamp, spare)[layout.site]
    raw = [make_table(graph, params, tiles, conditions, spare) for tiles in layout.runs]
    words = jax.random.bits(key, (2,), jnp.uint32)
    tied = params["coupling"].ndim == 1

    def sweeps(tables, states, products):
        forms = [form_of(tiles, tied, n) for tiles in layout.runs]
        tables = [as_rows(table) if form == ROWS else table for table, form in zip(tables, forms, strict=True)]
        tables = jax.lax.optimization_barrier(tables)
        draws = [functools.partial(_draw, join_of(form, products), products) for form in forms]

        def sweep(_, carry):
            done, states = carry
            sweep_key = threefry2x32((words[0], words[1]), (done.astype(jnp.uint32), jnp.uint32(0)))
            noise = sweep_key, chain_ids, done >= 0
            for tiles, table, draw in zip(layout.runs, tables, draws, strict=True):
                states = _update_run(tiles, table, states, held, noise, draw)
            return done + 1, states

        return jax.lax.fori_loop(0, n_sweeps, sweep, (jnp.int32(0), states))

    def by_products(raw, relative, states):
        return sweeps(jax.tree.map(jnp.exp, relative), states, products=True)

    def by_logarithms(raw, relative, states):
        return sweeps([below_top(table) for table in raw], states, products=False)

    relative = jax.lax.optimization_barrier([relative_to_level_0(table) for table in raw])
    largest = jnp.stack([exponent_bound(table) for table in relative]).max()
    states = _chains_last(x, spare)[layout.site]
    done, states = jax.lax.cond(largest < LARGEST_EXPONENT, by_products, by_logarithms, raw, relative, states)
    return states[layout.position, :n].T, SampleInfo(done, free_sites(x, conditions.clamp))


def _chains_last(x: Array, spare: int) -> Array:
    """Return the states with sites first, then the chains and `spare` more, which start like the first.

    The results of the spare chains are dropped.
    """
    x = x.T
    return x if spare == 0 else jnp.concatenate([x, jnp.broadcast_to(x[:, :1], (len(x), spare))], 1)


def _update_run(tiles: Run, table: Table, states, held, noise, draw) -> UInt8[Array, "positions chains"]:
    """Redraw the sites of one run, tile after tile, given all others."""
    (sweep_key, chain_ids, always), chains = noise, states.shape[1]
    n_tiles, size = tiles.sites.shape
    apart = chains > 1  # the members of a pair: then their levels can share a word
    parts = tiles.members if apart else 1
    part = size // parts
    pair = np.arange(part) % (size // tiles.members)
    fixed = (jnp.asarray(tiles.neighbours), jnp.asarray(tiles.sites[:, pair], jnp.uint32))

    def one_tile(t, states):
        pick = functools.partial(jax.lax.dynamic_index_in_dim, index=t, axis=0, keepdims=False)
        if n_tiles == 1:  # without slices
            pick = operator.itemgetter(0)
        bias, terms, neighbours, numbers = map(pick, (table.bias, table.terms, *fixed))
        first = tiles.start + t * size
        old = [jax.lax.dynamic_slice_in_dim(states, first + k * part, part) for k in range(parts)]

        def redrawn():
            words = threefry2x32(sweep_key, (numbers[:, None], chain_ids[None]))
            if parts < tiles.members:
                words = [jnp.where(np.arange(size)[:, None] < size // 2, *words)]
            drawn = draw(Table(bias, terms, table.rows), neighbours, states, words[:parts])
            for k, (level, keep) in enumerate(drawn):
                if held is not None:
                    here = jax.lax.dynamic_slice_in_dim(held, first + k * part, part)
                    keep = here if keep is None else here | keep
                yield level if keep is None else jnp.where(keep, old[k], level)

        if apart:
            word = jax.lax.cond(always, lambda: _packed(redrawn()), lambda: _packed(old))
            levels = [(word >> (8 * k)).astype(states.dtype) for k in range(parts)]
        else:
            levels = redrawn()
        for k, level in enumerate(levels):
            states = jax.lax.dynamic_update_slice_in_dim(states, level, first + k * part, 0)
        return states

    return one_tile(0, states) if n_tiles == 1 else jax.lax.fori_loop(0, n_tiles, one_tile, states)


def _packed(levels: Iterable[UInt8[Array, "pairs chains"]]) -> UInt16[Array, "pairs chains"]:
    """Return the levels of the first members of the pairs in the low bytes, of the second in the high bytes."""
    return functools.reduce(operator.or_, (level.astype(jnp.uint16) << (8 * k) for k, level in enumerate(levels)))


def _draw(join: Callable, products: bool, table: Table, neighbours, states, words) -> list[tuple[Array, Array | None]]:
    """Return the new levels of the sites of one tile, and which sites are forbidden every level, where that can be.

    words: random words of the sites, in one part or in two; the result has as many.
    """
    bias, terms, rows = table
    part, chains = words[0].shape
    degree, parts = len(neighbours), [slice(k * part, (k + 1) * part) for k in range(len(words))]

    def start(sites):
        return [jnp.broadcast_to(level[sites], (len(level[sites]), chains)) for level in bias]

    def seen(sites):
        return states.at[sites].get(mode="promise_in_bounds")

    def visit(weights, neighbours, terms):
        of_each = seen(neighbours) if chains == 1 else map(seen, neighbours)
        for state, term in zip(of_each, terms, strict=True):
            weights = join(weights, term, rows, state)
        return weights

    def chunk(k, weights):
        some = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=k * CHUNK, slice_size=CHUNK)
        return visit(weights, some(neighbours), some(terms))

    if degree <= CHUNK:
        weights = [visit(start(sites), neighbours[:, sites], terms[..., sites]) for sites in parts]
    else:
        joined = jax.lax.fori_loop(0, degree // CHUNK, chunk, start(slice(None)))
        weights = [[weight[sites] for weight in joined] for sites in parts]
    return [_draw_levels(products, *each, states.dtype) for each in zip(weights, words, strict=True)]


def _draw_levels(products: bool, weights: list[Array], word: UInt32[Array, "part chains"], dtype) -> tuple:
    """Return the levels drawn by random words, and which sites are forbidden every level, where that can be."""
    forbidden = None
    if not products:
        top = functools.reduce(jnp.maximum, weights)
        forbidden = top == -jnp.inf
        weights = [exp(weight - jnp.where(forbidden, 0.0, top)) for weight in weights]
    return _inverse_cdf(weights, word).astype(dtype), forbidden
