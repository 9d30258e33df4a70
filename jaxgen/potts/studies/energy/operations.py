"""Operations and bytes of one site update of the lattice engine, by the compiler and counted by hand.

    operations: integer and floating-point ones alike, each on one element: additions, shifts, comparisons, conversions
    update     = hash + neighbours + draw + store                         of one site of one chain

XLA's cost analysis sums the instructions of the optimised program and counts the body of a loop once, whatever the
number of iterations. Therefore one sweep is compiled for two batch sizes, and the difference of the two counts is
taken: the part that grows with the number of chains.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.gibbs.engines.tiles import Tiles

_HASH_ROUND = 5  # an addition, two shifts, an "or" and an "exclusive or"
_HASH_ROUNDS = 20
_HASH_INJECTIONS = 6  # of two key words each


class Work(NamedTuple):
    """Operations, bytes and transcendental functions of one site update; `operations` excludes the last."""

    operations: float
    bytes: float
    transcendentals: float


def compiled_work(lattice: gibbs.Lattice, params: dict, chains: int, beta: float = 1.0) -> Work:
    """Return the compiler's count for one site update by `gibbs.sample(engine="lattice")`.

    Args:
        lattice: the graph.
        params: {"bias", "coupling"}; compiled in as constants, so that the program contains only that form of the
            engine (products or logarithms) which these values need.
        chains: number of chains that share the tables, 16 or more.
        beta: inverse temperature.

    Bytes are those of the arguments and results of every fused loop, without the packing of images into words and back,
    which happens once per call. A word that a loop reads at several shifts counts once per shift.
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
    """Return the operations of one update by part, and its bytes, counted from the formulas of `gibbs.engines.lattice`.

    The count holds for up to four levels and one coupling matrix per edge. It counts every neighbour of every site,
    where the compiler counts a neighbour that two sites of a tile share once, and a whole hash even if one of its words
    is used. The bytes are one word of four sites read and written per colour, and the tables read once per sweep and
    shared by the chains.

    Raises:
        UserError: tied couplings, or more than four levels, for which the engine has other forms.
    """
    levels = gibbs.n_levels(params)
    if gibbs.is_tied(params) or levels > 4:
        raise UserError(
            f"params has {levels} levels, tied {gibbs.is_tied(params)}; allowed: edge couplings, up to 4 levels"
        )
    degree, rest = 2 * len(lattice.offsets), levels - 1
    words_used = min(2, 4 // lattice.n_colours)  # of the two words of each hash
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
