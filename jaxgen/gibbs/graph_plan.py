"""How a sweep over a graph is laid out: which sites are updated together, and where their neighbours are.

A *block* is what one Gibbs step redraws: the sites of one colour, one number of levels and one bucket of degrees. Each
block is cut into *tiles* of equal size; the tiles of all blocks of a bucket share one compiled loop body, so compile
time does not grow with the graph. A bucket's sites have their neighbour lists filled up to the bucket's degree; buckets
are chosen so that a hub does not fill up everybody else's list.

The order of the blocks and the noise of a site depend on the graph alone; the size of the tiles depends on the number
of chains as well, and changes nothing but speed: sites of one block are independent given the others.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from jaxgen.gibbs.graph import Graph

CHUNK = 16  # neighbours per pass of the loop over the neighbours of a bucket of high degree
_UNROLLED = 150  # terms of all loop bodies, up to which every block has its own body
_STEP_COST = 30_000  # what starting one tile costs, in site updates
_BLOCK_COST = 500  # the same, in neighbours visited, for choosing buckets
_SITE_COST = 8  # an update without neighbours, in neighbours visited


class Run(NamedTuple):
    """Tiles of one bucket that are executed by one loop body.

    levels: of the sites. others: the most levels of a neighbour. start: position of the first site.
    sites: site numbers. Two sites of a block make a pair that shares one hash; the first half of a tile has the first
        members of its pairs. The last tile of a block is filled up with repetitions of its first pair. A block of one
        site has no pairs.
    neighbours: their positions. edges: edge numbers as in `Graph.incidence`; what fills up the list is 2 E, an edge
    without coupling.
    """

    levels: int
    others: int
    start: int
    sites: Int[np.ndarray, "tiles size"]
    neighbours: Int[np.ndarray, "tiles degree size"]
    edges: Int[np.ndarray, "tiles degree size"]

    @property
    def members(self) -> int:
        """Sites that share one hash: 2, or 1 in blocks of a single site."""
        return min(self.sites.shape[1], 2)


class Plan(NamedTuple):
    """The runs of a sweep in their order, the site at every position, and the first position of every site."""

    runs: tuple[Run, ...]
    site: Int[np.ndarray, "positions"]
    position: Integer[np.ndarray, "n"]


class Bucket(NamedTuple):
    """degree: of the filled-up neighbour lists. blocks: sites of each colour, ascending."""

    levels: int
    degree: int
    blocks: tuple[Int[np.ndarray, "_sites"], ...]


def blocks(graph: Graph) -> list[Int[np.ndarray, "_sites"]]:
    """Return the blocks of a sweep in their order."""
    return [block for bucket in _buckets(graph) for block in bucket.blocks]


@functools.lru_cache(maxsize=64)
def plan(graph: Graph, n_chains: int) -> Plan:
    """Return the layout for a number of chains."""
    pieces, start = [], 0
    buckets = _buckets(graph)
    terms = sum(len(b.blocks) * (b.degree * (b.levels - 1) ** 2 + _SITE_COST) for b in buckets)
    unrolled = _UNROLLED * (2 if n_chains == 1 else 1)  # one chain gains more from bodies of their own
    for bucket in buckets:
        whole = [_in_halves(_pairs(block)[None]) if len(block) > 1 else block[None] for block in bucket.blocks]
        for tiles in whole if terms <= unrolled else [_tiles(bucket, n_chains)]:
            pieces.append((bucket, start, tiles))
            start += tiles.size
    site = np.concatenate([tiles.ravel() for _, _, tiles in pieces])
    _, position = np.unique(site, return_index=True)
    runs = tuple(_run(graph, bucket, first, tiles, position) for bucket, first, tiles in pieces)
    return Plan(runs, site, position)


def _run(graph: Graph, bucket: Bucket, start: int, tiles: Int[np.ndarray, "tiles size"], position) -> Run:
    first, neighbours, edges = graph.incidence
    rows = tiles[:, None, :]
    slot = first[rows] + np.arange(bucket.degree)[:, None]
    real = slot < first[rows + 1]
    slot = np.where(real, slot, 0)
    if bucket.degree == 0:
        return Run(bucket.levels, 2, start, tiles, slot, slot)
    there = np.where(real, neighbours[slot], rows)
    others = int(graph.levels[there[real]].max())
    edge = np.where(real, edges[slot], 2 * graph.n_edges)
    return Run(bucket.levels, others, start, tiles, position[there].astype(np.int32), edge.astype(np.int32))


@functools.lru_cache(maxsize=64)
def _buckets(graph: Graph) -> tuple[Bucket, ...]:
    """Return the sites in buckets by levels, then by degree, and in blocks by colour."""
    buckets = []
    for levels in np.unique(graph.levels):
        of_levels = np.flatnonzero(graph.levels == levels)
        lowest = 0
        for highest in _degree_limits(graph.degrees[of_levels], graph.colouring[of_levels]):
            degree = graph.degrees[of_levels]
            sites = of_levels[(degree >= lowest) & (degree <= highest)]
            colours = graph.colouring[sites]
            filled = highest if highest <= CHUNK else -(-highest // CHUNK) * CHUNK
            buckets.append(Bucket(int(levels), filled, tuple(sites[colours == c] for c in np.unique(colours))))
            lowest = highest + 1
    return tuple(buckets)


def _degree_limits(degrees: Int[np.ndarray, "_sites"], colours: Int[np.ndarray, "_sites"]) -> list[int]:
    """Return the highest degree of each bucket, ascending, by dynamic programming over the distinct degrees.

    The cost of a bucket is the neighbours its sites visit, with those that fill up, and a constant per block.
    """
    distinct, count = np.unique(degrees, return_counts=True)
    below = np.concatenate([[0], np.cumsum(count)])
    block_cost = _BLOCK_COST * min(len(np.unique(colours)), 4)
    best, cut = np.zeros(len(distinct) + 1), np.zeros(len(distinct) + 1, int)
    for k in range(1, len(distinct) + 1):
        sites = below[k] - below[:k]
        cost = best[:k] + sites * (distinct[k - 1] + _SITE_COST) + block_cost
        cut[k] = np.argmin(cost)
        best[k] = cost[cut[k]]
    limits, k = [], len(distinct)
    while k:
        limits.append(int(distinct[k - 1]))
        k = cut[k]
    return limits[::-1]


def _tiles(bucket: Bucket, n_chains: int) -> Int[np.ndarray, "tiles size"]:
    """Return the blocks of a bucket in tiles of the size that costs least."""
    if max(map(len, bucket.blocks)) == 1:
        return np.stack(bucket.blocks)
    blocks = [_pairs(block) for block in bucket.blocks]
    sizes = np.array([len(pairs) for pairs in blocks])
    parts = np.unique([-(-size // k) for size in sizes for k in range(1, 9)] + [min(32, sizes.max())])
    steps = -(-sizes[:, None] // parts)
    size = parts[np.argmin((steps * (2 * parts * n_chains + _STEP_COST)).sum(0))]
    filled = [np.concatenate([pairs, np.repeat(pairs[:1], -len(pairs) % size, 0)]) for pairs in blocks]
    return _in_halves(np.concatenate(filled).reshape(-1, size, 2))


def _pairs(block: Int[np.ndarray, "_sites"]) -> Int[np.ndarray, "pairs 2"]:
    """Return the sites of a block in pairs of neighbours in their order; the first site fills up the last pair."""
    return np.append(block, block[: len(block) % 2]).reshape(-1, 2)


def _in_halves(tiles: Int[np.ndarray, "tiles pairs 2"]) -> Int[np.ndarray, "tiles size"]:
    """Return tiles that have the first members of all pairs in their first half and the second in the other."""
    return tiles.swapaxes(1, 2).reshape(len(tiles), -1)
