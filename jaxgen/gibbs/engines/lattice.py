"""The fast block Gibbs engine.

    p(x_i = a | rest) = P_a / sum_c P_c,      P_a = B_i[a] prod_j F_ij[a, x_j],      B = exp(beta b),  F = exp(beta W)
    x_i = #{ a < L - 1 : u (P_0 + .. + P_(L-1)) > P_0 + .. + P_a },                  u uniform on (0, 1], grain 2^-24

One colour of one sweep is one fused loop over (cell, chain): hash, conditionals and inverse CDF, reading the words of
`tiles` and writing words. What makes it fast: exponentials are taken once a call and not once an update; level 0 is the
reference, so P_0 = 1 and a neighbour costs (L - 1)^2 masked products; one uniform replaces L Gumbel draws; the hash is
inside the loop (`threefry`), and both its words are used, one for each quarter of a checkerboard colour.

A product of exponentials can overflow. Before the loop the largest exponent that any state could reach is bounded from
the parameters; where it exceeds LARGEST_EXPONENT, the same loop runs on sums of logarithms, for any finite parameters.
"""

import operator
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8, UInt32

from jaxgen.gibbs.couplings import Params, edge_couplings, is_tied, n_levels
from jaxgen.gibbs.engines.threefry import threefry2x32
from jaxgen.gibbs.engines.tiles import Tiles
from jaxgen.gibbs.lattice import Lattice, Offset
from jaxgen.gibbs.types import Conditions, SampleInfo, free_sites

LARGEST_EXPONENT = 80.0  # exp(88) overflows float32, and a sum of levels needs room
_MASKED_LEVELS = 8  # up to here masked products beat reading rows of a table
# 2^t on [0, 1], highest power first: Chebyshev interpolation of degree 6
_EXP2 = (
    np.polynomial.Chebyshev.interpolate(np.exp2, 6, [0, 1])
    .convert(kind=np.polynomial.Polynomial)
    .coef[::-1]
    .astype(np.float32)
)
_LANES = 16  # chains in one AVX-512 vector; a batch is filled up to a multiple


def run(
    key: PRNGKeyArray,
    lattice: Lattice,
    params: Params,
    x: UInt8[Array, "n H W"],
    n_sweeps: int,
    conditions: Conditions,
    rounds: int = 20,
) -> tuple[UInt8[Array, "n H W"], SampleInfo]:
    """`n_sweeps` sweeps of every chain. Noise is keyed by (sweep, colour) and counted by (cell, chain).

    rounds: of the hash, see `threefry2x32`.
    """
    tiles, n = Tiles(lattice), len(x)
    spare = -n % _LANES if n > 1 else 0
    chain_ids = jnp.pad(conditions.chain_ids, (0, spare))
    tables = [_quarter_tables(tiles, params, q, conditions, spare) for q in range(4)]
    held = None if conditions.clamp is None else tiles.pack(_spread(conditions.clamp, spare) * np.uint8(255))
    colours = tiles.colours()
    keys = jax.random.bits(key, (n_sweeps, len(colours), 2), jnp.uint32)

    def sweeps(tables, words, mode):
        def sweep(carry, sweep_keys):
            padded, done = carry
            for quarters, colour_key in zip(colours, sweep_keys, strict=True):
                hashes = threefry2x32((colour_key[0], colour_key[1]), _counters(tiles.shape, chain_ids), rounds)
                seen = [_for_chains(tables[q]) for q in quarters]
                padded = _update_colour(tiles, padded, quarters, seen, hashes, held, mode)
            return (padded, done + 1), None

        (padded, done), _ = jax.lax.scan(sweep, (tiles.with_halo(words), jnp.int32(0)), keys)
        return tiles.shifted(padded, (0, 0)), done

    def by_products(tables, words):
        return sweeps(jax.tree.map(jnp.exp, tables), words, _PRODUCTS)

    def by_logarithms(tables, words):
        return sweeps(tables, words, _LOGARITHMS)

    largest = jnp.stack([_exponent_bound(table) for table in tables]).max()
    words = tiles.pack(_spread(x, spare))
    words, done = jax.lax.cond(largest < LARGEST_EXPONENT, by_products, by_logarithms, tables, words)
    return tiles.unpack(words)[:n], SampleInfo(done, free_sites(x, conditions.clamp))


def _products(weights: list[Array]) -> list[Array]:
    return weights


def _exponentials(weights: list[Array]) -> list[Array]:
    top = weights[0]
    for weight in weights[1:]:
        top = jnp.maximum(top, weight)
    return [_exp(weight - top) for weight in weights]


def _exp(x: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """exp(x) for x <= 0 to 4e-6 relative, 0 below -87: 2^floor(t) times a polynomial in t - floor(t), t = x / ln 2.

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


# (how a neighbour's term joins, how the joined terms become weights)
_PRODUCTS = (operator.mul, _products)
_LOGARITHMS = (operator.add, _exponentials)


def _spread(x: Array, spare: int) -> Array:
    """`spare` more chains, which start like the first; their results are dropped."""
    return x if spare == 0 else jnp.concatenate([x, jnp.broadcast_to(x[:1], (spare, *x.shape[1:]))])


def _counters(shape: tuple[int, ...], chain_ids: UInt32[Array, "n"]) -> tuple[Array, Array]:
    cells = jnp.arange(np.prod(shape), dtype=jnp.uint32).reshape(*shape, 1)
    cell = jax.lax.broadcast_in_dim(cells, (*shape, len(chain_ids)), tuple(range(len(shape) + 1)))
    return cell, jnp.broadcast_to(chain_ids, cell.shape)


def _quarter_tables(tiles: Tiles, params: Params, quarter: int, conditions: Conditions, spare: int) -> dict:
    """beta b and beta W as seen from the sites of one quarter, relative to level 0.

    bias: (L, *cells, 1 or n). terms, one a neighbour: its tied strength (*cells,), or R[a, c] as (L, L, *cells) or, in
    rows c, (*cells, L, L). R[0, :] = R[:, 0] = 0: the terms for c = 0 are moved into the bias. Where a site has no such
    neighbour the term is 0.
    """
    lattice, levels = tiles.lattice, n_levels(params)
    bias, terms = params["bias"][..., None], []
    if conditions.field is not None:
        bias = bias + jnp.moveaxis(_spread(conditions.field, spare), 0, -1)
    for seen in _seen_from_sites(lattice, params):
        if not is_tied(params):
            seen = seen - seen[..., :1, :]
            bias = bias + seen[..., :1]
            seen = seen - seen[..., :1]
        term = conditions.beta * tiles.quarter(seen, quarter)
        if not is_tied(params):
            term = jnp.moveaxis(term, (-2, -1), (0, 1)) if levels <= _MASKED_LEVELS else jnp.swapaxes(term, -2, -1)
        terms.append(term)
    bias = conditions.beta * (bias - bias[..., :1, :])
    return {"bias": jnp.moveaxis(tiles.quarter(bias, quarter), -2, 0), "terms": terms}


def _directions(lattice: Lattice) -> list[Offset]:
    """Every offset and its reverse."""
    return [(sign * dy, sign * dx) for dy, dx in lattice.offsets for sign in (1, -1)]


def _seen_from_sites(lattice: Lattice, params: Params) -> Iterator[Float[Array, "H W *rest"]]:
    """For each of `_directions`, W_ij[x_i, x_j] at every site i: (H, W, L, L) or, tied, (H, W); 0 if it has none."""
    tied = is_tied(params)
    for k, (offset, coupling) in enumerate(edge_couplings(lattice, params)):
        (dy, dx), (h, w) = offset, lattice.edge_shape(offset)
        if tied:
            coupling = jnp.broadcast_to(params["coupling"][k], (h, w))
        back = coupling if tied else coupling.swapaxes(2, 3)
        if lattice.boundary == "periodic":
            yield coupling
            yield jnp.roll(back, (dy, dx), (0, 1))
        else:
            zeros = jnp.zeros((lattice.height, lattice.width, *coupling.shape[2:]), coupling.dtype)
            left, right = max(0, -dx), max(0, dx)
            yield zeros.at[:h, left : left + w].set(coupling)
            yield zeros.at[dy:, right : right + w].set(back)


def _exponent_bound(table: dict) -> Float[Array, ""]:
    """The largest |exponent| that any partial product could reach, whatever the neighbours' states."""
    bound = jnp.abs(table["bias"]).max((0, -1))
    for term in table["terms"]:
        if term.ndim > bound.ndim:
            term = jnp.abs(term).max((0, 1) if len(table["bias"]) <= _MASKED_LEVELS else (-2, -1))
        bound = bound + jnp.abs(term)
    return bound.max()


def _update_colour(tiles, padded, quarters, tables, hashes, held, mode) -> UInt32[Array, "*padded n"]:
    """Redraw the sites of one colour, given all others; `mode` says how terms join and become weights."""
    centre = tiles.shifted(padded, (0, 0))
    drawn, redrawn = jnp.zeros_like(centre), np.uint32(0)
    for quarter, table, word in zip(quarters, tables, hashes, strict=False):
        byte = np.uint32(8 * quarter)
        drawn = drawn | (_inverse_cdf(_weights(tiles, padded, quarter, table, mode), word) << byte)
        redrawn = redrawn | (np.uint32(255) << byte)
    kept = ~redrawn if held is None else ~redrawn | held
    return tiles.with_halo((centre & kept) | (drawn & ~kept))


def _for_chains(table: dict) -> dict:
    """A table of `_quarter_tables` with an axis for the chains.

    bias: a list of levels. terms: tied strengths (*cells, 1), or R as a list (a = 1..) of lists (c = 1..). For many
    levels: bias (*cells, 1 or n, L) and terms (*cells, L, L), whose row c holds what a neighbour in c gives each level.
    """
    bias, terms, levels = table["bias"], table["terms"], range(1, len(table["bias"]))
    if not terms or terms[0].ndim == bias.ndim - 2:
        return {"bias": list(bias), "terms": [term[..., None] for term in terms]}
    if len(bias) > _MASKED_LEVELS:
        return {"bias": jnp.moveaxis(bias, 0, -1), "terms": terms}
    return {"bias": list(bias), "terms": [[[term[a, c][..., None] for c in levels] for a in levels] for term in terms]}


def _weights(tiles, padded, quarter, table, mode) -> list[Float[Array, "*cells n"]]:
    """P_a for every level a of the sites of one quarter; `table` as `_for_chains` gives it."""
    join, finish = mode
    shape = tiles.shifted(padded, (0, 0)).shape
    rows = table["bias"]
    weights = [jnp.broadcast_to(bias, shape) for bias in rows] if isinstance(rows, list) else []
    for offset, term in zip(_directions(tiles.lattice), table["terms"], strict=True):
        there, shift = tiles.neighbour(quarter, offset)
        state = (tiles.shifted(padded, shift) >> np.uint32(8 * there)) & np.uint32(255)
        if isinstance(term, list):
            for c in range(1, len(weights)):
                for a in range(1, len(weights)):
                    weights[a] = jnp.where(state == c, join(weights[a], term[a - 1][c - 1]), weights[a])
        elif weights:  # tied: level a is favoured where the neighbour has it
            weights = [jnp.where(state == a, join(weight, term), weight) for a, weight in enumerate(weights)]
        else:
            row = jnp.take_along_axis(term, state[..., None].astype(jnp.int32), axis=-2, mode="promise_in_bounds")
            rows = join(rows, row)
    return finish(weights or [rows[..., a] for a in range(rows.shape[-1])])


def _inverse_cdf(weights: list[Float[Array, "*k"]], word: UInt32[Array, "*k"]) -> UInt32[Array, "*k"]:
    """The level whose share of the total weight a uniform number falls into."""
    cumulative = [weights[0]]
    for weight in weights[1:]:
        cumulative.append(cumulative[-1] + weight)
    uniform = ((word >> np.uint32(8)).astype(jnp.int32).astype(jnp.float32) + 0.5) * np.float32(2**-24)
    threshold = uniform * cumulative[-1]
    level = jnp.zeros_like(word)
    for below in cumulative[:-1]:
        level = level + (threshold > below).astype(jnp.uint32)
    return level
