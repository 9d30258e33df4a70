"""The fast block Gibbs engine.

    p(x_i = a | rest) = P_a / sum_c P_c,      P_a = B_i[a] prod_j F_ij[a, x_j],      B = exp(beta b),  F = exp(beta W)
    x_i = #{ a < L - 1 : u (P_0 + .. + P_(L-1)) > P_0 + .. + P_a },                  u uniform on (0, 1], grain 2^-24

One colour of one sweep is one fused loop over (cell, chain): hash, conditionals and inverse CDF, reading the words of
`tiles` and writing words. Reasons for its speed: exponentials are taken once per call, not once per update; level 0 is
the reference, so P_0 = 1 and a neighbour costs (L - 1)^2 masked products; one uniform replaces L Gumbel draws; the hash
is inside the loop (`threefry`), and both its words are used, one for each quarter of a checkerboard colour.

A product of exponentials can overflow. Before the loop the largest exponent that any state could reach is bounded from
the parameters; where it exceeds LARGEST_EXPONENT, or is infinite, the same loop runs on sums of logarithms. There no
level is the reference, since a difference of two levels loses the rest where one of them is huge: every level sums its
own parameters, and the largest sum is taken off before the exponential. So a level of -1e8 leaves the law
of the others exact, and -inf forbids a level or a pair of levels. What float32 cannot add is lost: a bias of 1 beside
a coupling of 1e8 at the same level. Where every level of a site is forbidden, its state is not defined.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8, UInt32

from jaxgen.gibbs.couplings import Params, edge_couplings, is_tied, n_levels
from jaxgen.gibbs.engines.arithmetic import LOGARITHMS, MASKED_LEVELS, PRODUCTS, layout_of
from jaxgen.gibbs.engines.sweep_keys import in_blocks
from jaxgen.gibbs.engines.threefry import threefry2x32
from jaxgen.gibbs.engines.tiles import Tiles
from jaxgen.gibbs.lattice import Lattice, Offset
from jaxgen.gibbs.types import Conditions, SampleInfo, free_sites

LARGEST_EXPONENT = 80.0  # exp(88) overflows float32, and a sum of levels needs room
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
    """Return the states after `n_sweeps` sweeps of every chain.

    Noise is keyed by (sweep, colour) and counted by (cell, chain).

    rounds: of the hash, see `threefry2x32`.
    """
    tiles, n = Tiles(lattice), len(x)
    spare = -n % _LANES if n > 1 else 0
    chain_ids = jnp.pad(conditions.chain_ids, (0, spare))
    layout = layout_of(params)
    held = None if conditions.clamp is None else tiles.pack(_spread(conditions.clamp, spare) * np.uint8(255))
    colours = tiles.colours()

    def sweeps(tables, words, arithmetic):
        def sweep(carry, sweep_keys):
            padded, done = carry
            for quarters, colour_key in zip(colours, sweep_keys, strict=True):
                hashes = threefry2x32((colour_key[0], colour_key[1]), _counters(tiles.shape, chain_ids), rounds)
                seen = [layout.for_chains(tables[q]) for q in quarters]
                padded = _update_colour(tiles, padded, quarters, seen, hashes, held, layout, arithmetic)
            return (padded, done + 1), None

        def block(carry, keys):
            return jax.lax.scan(sweep, carry, keys)[0]

        start = (tiles.with_halo(words), jnp.int32(0))
        padded, done = in_blocks(key, n_sweeps, (len(colours), 2), block, start)
        return tiles.shifted(padded, (0, 0)), done

    def by_products(relative, words):
        return sweeps(jax.tree.map(jnp.exp, relative), words, PRODUCTS)

    def by_logarithms(relative, words):
        tables = [_quarter_tables(tiles, params, q, conditions, spare, LOGARITHMS.first) for q in range(4)]
        return sweeps(tables, words, LOGARITHMS)

    relative = [_quarter_tables(tiles, params, q, conditions, spare, PRODUCTS.first) for q in range(4)]
    largest = jnp.stack([_exponent_bound(table) for table in relative]).max()
    words = tiles.pack(_spread(x, spare))
    # Written so that NaN, which -inf less -inf gives, goes to the logarithms.
    words, done = jax.lax.cond(largest < LARGEST_EXPONENT, by_products, by_logarithms, relative, words)
    return tiles.unpack(words)[:n], SampleInfo(done, free_sites(x, conditions.clamp))


def _spread(x: Array, spare: int) -> Array:
    """Return the chains and `spare` more, which start like the first; the results of the spare chains are dropped."""
    return x if spare == 0 else jnp.concatenate([x, jnp.broadcast_to(x[:1], (spare, *x.shape[1:]))])


def _counters(shape: tuple[int, ...], chain_ids: UInt32[Array, "n"]) -> tuple[Array, Array]:
    cells = jnp.arange(np.prod(shape), dtype=jnp.uint32).reshape(*shape, 1)
    cell = jax.lax.broadcast_in_dim(cells, (*shape, len(chain_ids)), tuple(range(len(shape) + 1)))
    return cell, jnp.broadcast_to(chain_ids, cell.shape)


def _quarter_tables(tiles: Tiles, params: Params, quarter: int, conditions: Conditions, spare: int, first: int) -> dict:
    """Return beta b and beta W as seen from the sites of one quarter.

    bias: (L, *cells, 1 or n). terms, one per neighbour: its tied strength (*cells,), or R[a, c] as (L, L, *cells) or,
    in rows c, (*cells, L, L). Where a site has no such neighbour the term is 0.

    With first = 1 all is relative to level 0: R[0, :] = R[:, 0] = 0, and the terms for c = 0 are moved into the bias.
    With first = 0 the largest level is taken off the bias and off each column c of R, which changes no conditional.
    """
    lattice, levels, tied = tiles.lattice, n_levels(params), is_tied(params)
    bias, terms = params["bias"][..., None], []
    if conditions.field is not None:
        bias = bias + jnp.moveaxis(_spread(conditions.field, spare), 0, -1)
    for seen in _seen_from_sites(lattice, params):
        if not tied and first:
            seen = seen - seen[..., :1, :]
            bias = bias + seen[..., :1]
            seen = seen - seen[..., :1]
        elif not tied:
            seen = _less_largest(seen)
        term = _times(conditions.beta, tiles.quarter(seen, quarter))
        if not tied:
            term = jnp.moveaxis(term, (-2, -1), (0, 1)) if levels <= MASKED_LEVELS else jnp.swapaxes(term, -2, -1)
        terms.append(term)
    bias = bias - bias[..., :1, :] if first else _less_largest(bias)
    return {"bias": jnp.moveaxis(tiles.quarter(_times(conditions.beta, bias), quarter), -2, 0), "terms": terms}


def _less_largest(array: Float[Array, "*k L m"]) -> Float[Array, "*k L m"]:
    """Return the levels (axis -2) minus the largest of them, unless all are forbidden."""
    largest = array.max(-2, keepdims=True)
    return array - jnp.where(largest == -jnp.inf, 0, largest)


def _times(beta: Float[Array, ""], array: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """Return beta times an array; what is forbidden stays forbidden at beta = 0."""
    return jnp.where(array == -jnp.inf, array, beta * array)


def _directions(lattice: Lattice) -> list[Offset]:
    """Return every offset and its reverse."""
    return [(sign * dy, sign * dx) for dy, dx in lattice.offsets for sign in (1, -1)]


def _seen_from_sites(lattice: Lattice, params: Params) -> Iterator[Float[Array, "H W *rest"]]:
    """Return W_ij[x_i, x_j] at every site i for each of `_directions`.

    The shape is (H, W, L, L) or, tied, (H, W); a site without that neighbour has 0.
    """
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
    """Return the largest |exponent| of any partial product over the possible states; NaN if it is not known."""
    bound = jnp.abs(table["bias"]).max((0, -1))
    for term in table["terms"]:
        if term.ndim > bound.ndim:
            term = jnp.abs(term).max((0, 1) if len(table["bias"]) <= MASKED_LEVELS else (-2, -1))
        bound = bound + jnp.abs(term)
    return bound.max()


def _update_colour(tiles, padded, quarters, tables, hashes, held, layout, arithmetic) -> UInt32[Array, "*padded n"]:
    """Redraw the sites of one colour, given all others."""
    centre = tiles.shifted(padded, (0, 0))
    drawn, redrawn = jnp.zeros_like(centre), np.uint32(0)
    for quarter, table, word in zip(quarters, tables, hashes, strict=False):
        byte = np.uint32(8 * quarter)
        drawn = drawn | (_inverse_cdf(_weights(tiles, padded, quarter, table, layout, arithmetic), word) << byte)
        redrawn = redrawn | (np.uint32(255) << byte)
    unchanged = ~redrawn if held is None else ~redrawn | held
    return tiles.with_halo((centre & unchanged) | (drawn & ~unchanged))


def _weights(tiles, padded, quarter, table, layout, arithmetic) -> list[Float[Array, "*cells n"]]:
    """Return the weight P_a of every level a for the sites of one quarter; `table` comes from `layout.for_chains`."""
    weights = layout.start(table["bias"], tiles.shifted(padded, (0, 0)).shape)
    for offset, term in zip(_directions(tiles.lattice), table["terms"], strict=True):
        there, shift = tiles.neighbour(quarter, offset)
        state = (tiles.shifted(padded, shift) >> np.uint32(8 * there)) & np.uint32(255)
        weights = layout.add(weights, state, term, arithmetic)
    return arithmetic.finish(layout.split(weights))


def _inverse_cdf(weights: list[Float[Array, "*k"]], word: UInt32[Array, "*k"]) -> UInt32[Array, "*k"]:
    """Return the level whose share of the total weight contains a uniform number."""
    cumulative = [weights[0]]
    for weight in weights[1:]:
        cumulative.append(cumulative[-1] + weight)
    uniform = ((word >> np.uint32(8)).astype(jnp.int32).astype(jnp.float32) + 0.5) * np.float32(2**-24)
    threshold = uniform * cumulative[-1]
    level = jnp.zeros_like(word)
    for below in cumulative[:-1]:
        level = level + (threshold > below).astype(jnp.uint32)
    return level
