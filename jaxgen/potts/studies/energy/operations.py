"""What one site update of the fast Gibbs engine costs in operations and bytes: as compiled, and by hand.

    operations = integer and floating point alike, each of one element: an add, a shift, a comparison, a conversion
    update     = hash + neighbours + draw + store                         of one site of one chain

The compiler's account (XLA's cost analysis) sums the instructions of the optimised program, a loop's body once whatever
its length. Two batch sizes are therefore compiled with one sweep, and their difference is taken, which leaves what
grows with the chains.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.gibbs.engines.tiles import Tiles

_HASH_ROUND = 5  # add, two shifts, or, exclusive or
_HASH_ROUNDS = 20
_HASH_INJECTIONS = 6  # of two key words each


class Work(NamedTuple):
    """Operations, bytes and transcendentals of one site update; `operations` does not include transcendentals."""

    operations: float
    bytes: float
    transcendentals: float


def compiled_work(lattice: gibbs.Lattice, params: dict, chains: int, beta: float = 1.0) -> Work:
    """Return the compiler's account of one update by `gibbs.sample(engine="lattice")`.

    Args:
        lattice: the graph.
        params: {"bias", "coupling"}; compiled in as constants, so that of the engine's two forms (products,
            logarithms) only the one that these values need is in the program.
        chains: 16 or more; the tables are shared by so many.
        beta: inverse temperature.

    The bytes are those of arguments and results of every fused loop, less those of packing images into words and back,
    which a call does once. A word that a loop reads at several shifts counts at each of them.
    """
    tiles = Tiles(lattice)

    def sweep(x):
        return gibbs.sample(jax.random.key(0), lattice, params, x, 1, beta=beta)[0]

    def repack(x):
        return tiles.unpack(tiles.shifted(tiles.with_halo(tiles.pack(x)), (0, 0)))

    more = 2 * chains
    updates = (more - chains) * lattice.n_sites
    swept, packed = (_account(f, lattice, more) - _account(f, lattice, chains) for f in (sweep, repack))
    operations, moved, transcendentals = (swept / updates).tolist()
    return Work(operations, moved - float(packed[1]) / updates, transcendentals)


def _account(program, lattice: gibbs.Lattice, chains: int) -> Float[np.ndarray, "3"]:
    """Return operations, bytes and transcendentals of a compiled function of `chains` images."""
    x = jax.ShapeDtypeStruct((chains, lattice.height, lattice.width), jnp.uint8)
    account = jax.jit(program).lower(x).compile().cost_analysis()
    return np.array([account.get(name, 0.0) for name in ("flops", "bytes accessed", "transcendentals")])


def counted_by_hand(lattice: gibbs.Lattice, params: dict, chains: int) -> tuple[dict[str, float], float]:
    """Return operations of one update by part, and bytes, read off the formulas of `gibbs.engines.lattice`.

    For up to four levels and one matrix per edge. Every neighbour of a site is counted again, which the compiler does
    not do where two sites of a tile share one; so is all of a hash of which one word is used. The bytes are
    a word of four sites read and written once per colour, and the tables once per sweep, shared by the chains.

    Raises:
        UserError: tied couplings, or more than four levels, for which the engine has other forms.
    """
    levels = gibbs.n_levels(params)
    if gibbs.is_tied(params) or levels > 4:
        raise UserError(f"params: got {levels} levels, tied {gibbs.is_tied(params)}; allowed: edge couplings, up to 4")
    degree, rest = 2 * len(lattice.offsets), levels - 1
    words_used = min(2, 4 // lattice.n_colours)  # of the two of each hash
    parts = {
        "hash": (_HASH_ROUNDS * _HASH_ROUND + 2 * _HASH_INJECTIONS) / words_used,
        # shift and mask; a comparison for every level of the neighbour; multiply and select for every pair
        "neighbours": degree * (2 + rest + 2 * rest**2),
        # cumulative sums; uniform: shift, two conversions, add, multiply; threshold; compare, convert, add
        "draw": rest + 5 + 1 + 3 * rest,
        "store": 4,  # shift, or, two masks
    }
    tables = 4 * (rest + degree * rest**2) / chains
    return parts, 2 * lattice.n_colours + tables
