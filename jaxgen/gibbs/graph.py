"""Simple graphs whose sites may have different numbers of levels: what `gibbs.sample` runs on besides lattices.

An edge (i, j) couples x_i in 0..L_i - 1 and x_j in 0..L_j - 1. It is stored once, in the direction given, so that
coupling[e, a, b] belongs to x_i = a and x_j = b. Sites of one colour are conditionally independent given the rest.
"""

import dataclasses
import functools
import hashlib
import heapq
from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike, Int, Integer

from jaxgen.errors import UserError
from jaxgen.gibbs.lattice import Lattice

MOST_LEVELS = 256
_EDGES = "pairs of site numbers, shape (edges, 2), such as list(network.edges) of a networkx graph with nodes 0, 1, .."


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A simple undirected graph; hashable by its content, so it can be a static argument of a jitted function.

    Attributes:
        edges: pairs of sites (E, 2), each pair once, in either direction; E may be 0.
        n_sites: number of sites, isolated ones included.
        levels: number of levels, 2..256, of all sites or of each.
        colours: colour of every site, 0, 1, ..; None for a colouring by DSATUR (Brelaz 1979), which is exact for
            bipartite graphs. It fixes the order of a sweep.

    Raises:
        UserError: a site out of range, a self-loop, a repeated edge, levels out of range, or a colouring that gives
            both ends of an edge one colour; names the field.
    """

    edges: Integer[ArrayLike, "E 2"] | Sequence[Sequence[int]]
    n_sites: int
    levels: int | Sequence[int] | Integer[ArrayLike, "n"] = 2
    colours: Sequence[int] | Integer[ArrayLike, "n"] | None = None

    def __post_init__(self):
        if isinstance(self.n_sites, bool) or not isinstance(self.n_sites, int | np.integer) or self.n_sites < 1:
            raise UserError(f"n_sites is {self.n_sites!r}; allowed: an integer, 1 or more")
        edges = _integers("edges", self.edges, _EDGES)
        edges = edges.reshape(0, 2) if edges.size == 0 else edges
        levels = _integers("levels", self.levels, "2..256, one integer or one per site")
        self._check_edges(edges)
        if levels.shape not in ((), (self.n_sites,)):
            raise UserError(f"levels has shape {levels.shape}; allowed: one integer or shape ({self.n_sites},)")
        if levels.min() < 2 or levels.max() > MOST_LEVELS:
            wrong = levels.min() if levels.min() < 2 else levels.max()
            raise UserError(f"levels: a site has {wrong}; allowed: 2..{MOST_LEVELS}")
        fields = {"n_sites": int(self.n_sites), "edges": edges.astype(np.int32)}
        fields["levels"] = np.broadcast_to(levels, self.n_sites).astype(np.int32)
        if self.colours is not None:
            colours = _integers("colours", self.colours, "one integer per site, 0 or more")
            if colours.shape != (self.n_sites,) or colours.min() < 0:
                raise UserError(
                    f"colours has shape {colours.shape}, least {colours.min(initial=0)}; "
                    f"allowed: shape ({self.n_sites},), 0 or more"
                )
            self._check_proper(edges, colours)
            fields["colours"] = np.unique(colours, return_inverse=True)[1].astype(np.int32)
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)

    def _check_edges(self, edges: Integer[np.ndarray, "E 2"]) -> None:
        if edges.ndim != 2 or edges.shape[1] != 2:
            raise UserError(f"edges has shape {edges.shape}; allowed: {_EDGES}")
        outside = np.flatnonzero((edges < 0).any(1) | (edges >= self.n_sites).any(1))
        if len(outside):
            e = outside[0]
            raise UserError(f"edges[{e}] is {_pair(edges[e])}; allowed: sites 0..{self.n_sites - 1}")
        loops = np.flatnonzero(edges[:, 0] == edges[:, 1])
        if len(loops):
            e = loops[0]
            raise UserError(
                f"edges[{e}] is the self-loop {_pair(edges[e])}; allowed: two different sites. "
                "Add a self-coupling W[a, a] to the bias of its site"
            )
        ends = np.sort(edges, axis=1).astype(np.int64) @ [self.n_sites, 1]
        _, first, count = np.unique(ends, return_index=True, return_counts=True)
        if np.any(count > 1):
            e = first[count > 1].min()
            raise UserError(
                f"edges: {_pair(edges[e])} appears {count[first == e][0]} times, in either direction; allowed: once. "
                "Add the couplings of repeated edges"
            )

    def _check_proper(self, edges: Integer[np.ndarray, "E 2"], colours: Integer[np.ndarray, "n"]) -> None:
        same = np.flatnonzero(colours[edges[:, 0]] == colours[edges[:, 1]])
        if len(same):
            e = same[0]
            raise UserError(
                f"colours: edges[{e}] = {_pair(edges[e])} joins two sites of colour {colours[edges[e, 0]]}; "
                "allowed: different colours at both ends of every edge"
            )

    @classmethod
    def from_lattice(cls, lattice: Lattice, levels: int = 2) -> "Graph":
        """Return the graph of a lattice, with sites numbered y W + x and edges in the order of its offsets.

        A pair joined by two edges, as on a torus two sites wide, becomes one edge, in the place of the first.
        """
        edges, _, _ = lattice_edges(lattice)
        return cls(edges, lattice.n_sites, levels)

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self._digest == other._digest

    def __repr__(self) -> str:
        fewest, most = self.levels.min(), self.levels.max()
        levels = f"{most}" if fewest == most else f"{fewest}..{most}"
        return f"Graph(n_sites={self.n_sites}, n_edges={self.n_edges}, levels={levels})"

    @functools.cached_property
    def _digest(self) -> bytes:
        colours = b"" if self.colours is None else self.colours.tobytes()
        parts = (str(self.n_sites).encode(), self.edges.tobytes(), self.levels.tobytes(), colours)
        return hashlib.sha256(b"|".join(parts)).digest()

    @property
    def n_edges(self) -> int:
        """Return the number of edges."""
        return len(self.edges)

    @property
    def max_levels(self) -> int:
        """Return the largest number of levels of a site."""
        return int(self.levels.max())

    @functools.cached_property
    def degrees(self) -> Int[np.ndarray, "n"]:
        """Return the number of neighbours of every site."""
        return np.bincount(self.edges.ravel(), minlength=self.n_sites)

    @functools.cached_property
    def incidence(self) -> tuple[Int[np.ndarray, "{self.n_sites}+1"], Int[np.ndarray, "twoE"], Int[np.ndarray, "twoE"]]:
        """Return compressed rows: neighbours of site i, and edges to them, are entries start[i] .. start[i + 1] - 1.

        Returns (start, neighbours, edges). An edge number e in 0..E - 1 is seen from its first end; E + e is the same
        edge seen from its second end.
        """
        first, second = self.edges.T
        here, there = np.concatenate([first, second]), np.concatenate([second, first])
        order = np.argsort(here, kind="stable")
        start = np.concatenate([[0], np.cumsum(self.degrees)])
        return start, there[order], order

    @functools.cached_property
    def colouring(self) -> Int[np.ndarray, "n"]:
        """Return the colour of every site, 0 to n_colours - 1, as given or by DSATUR, checked to be proper."""
        if self.colours is not None:
            return self.colours
        colours = _dsatur(*self.incidence[:2])
        self._check_proper(self.edges, colours)
        return colours

    @property
    def n_colours(self) -> int:
        """Return the number of colours, the blocks of a sweep."""
        return int(self.colouring.max()) + 1


def lattice_edges(lattice: Lattice) -> tuple[Int[np.ndarray, "E 2"], Int[np.ndarray, "M"], np.ndarray]:
    """Return the edges of the graph of a lattice, and which of them each of the lattice's M edges is.

    Returns (edges, number, reversed): lattice edge m is graph edge number[m], in the other direction if reversed[m].
    """
    pairs = [np.stack(lattice.edges(offset), 1) for offset in lattice.offsets]
    pairs = np.concatenate([np.zeros((0, 2), np.int32), *pairs])
    ends = np.sort(pairs, axis=1)
    _, first, number = np.unique(ends, axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    edges = pairs[np.sort(first)]
    number = rank[number.ravel()]
    return edges, number, edges[number, 0] != pairs[:, 0]


def _dsatur(start: Int[np.ndarray, "bounds"], neighbours: Int[np.ndarray, "twoE"]) -> Int[np.ndarray, "bounds-1"]:
    """Colour next the site whose neighbours have the most colours, of those the one of highest degree (Brelaz 1979).

    Like networkx's strategy of that name, but with a heap, so O(E log E) instead of O(n^2).
    """
    n = len(start) - 1
    of = [neighbours[start[i] : start[i + 1]].tolist() for i in range(n)]
    colours, seen = [-1] * n, [set() for _ in range(n)]
    heap = [(0, -len(of[i]), i) for i in range(n)]
    heapq.heapify(heap)
    while heap:
        saturation, _, i = heapq.heappop(heap)
        if colours[i] >= 0 or -saturation < len(seen[i]):
            continue  # coloured already, or a newer entry is in the heap
        colour = next(c for c in range(n) if c not in seen[i])
        colours[i] = colour
        for j in of[i]:
            if colours[j] < 0 and colour not in seen[j]:
                seen[j].add(colour)
                heapq.heappush(heap, (-len(seen[j]), -len(of[j]), j))
    return np.array(colours, np.int32)


def _integers(name: str, value, allowed: str) -> Integer[np.ndarray, "..."]:
    """Return `value` as an integer array; UserError for anything else, floats that are whole numbers included."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        raise UserError(f"{name} has rows of different lengths; allowed: {allowed}") from None
    if array.ndim == 0 and array.dtype.kind not in "iu":  # a set, a dictionary, a generator, None
        raise UserError(f"{name} is a {type(value).__name__}; allowed: {allowed}")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{name} has dtype {array.dtype}; allowed: {allowed}")
    return array.astype(np.int64)


def _pair(edge: Integer[np.ndarray, "2"]) -> str:
    return f"({edge[0]}, {edge[1]})"
