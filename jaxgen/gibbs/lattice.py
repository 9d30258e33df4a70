"""Lattice graphs: which sites of an image are joined, and which may be updated at the same time.

An *offset* (dy, dx) joins every site i = (y, x) to j = (y + dy, x + dx). An edge is stored once, at its source i; the
couplings of one offset are an array (h, w, L, L) over the sources: h = H - |dy|, w = W - |dx| with open boundaries,
h = H, w = W on a torus. A *colouring* gives joined sites different colours; the sites of one colour are conditionally
independent given the rest, so block Gibbs sampling updates them together.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Int, Shaped

from jaxgen.errors import UserError

Offset = tuple[int, int]

_JUMPS = {
    "4": [(0, 1)],
    "8": [(0, 1), (1, 1)],
    "G8": [(0, 1), (4, 1)],
    "G12": [(0, 1), (4, 1), (10, 9)],
    "G16": [(0, 1), (4, 1), (10, 9), (11, 14)],
    "G20": [(0, 1), (4, 1), (10, 9), (11, 14), (23, 6)],
}
NEIGHBOURHOODS = tuple(_JUMPS)
BOUNDARIES = ("open", "periodic")


@dataclasses.dataclass(frozen=True)
class Lattice:
    """A height x width grid of sites; hashable, so it can be a static argument of a jitted function.

    height, width: integers, 1 or more.
    offsets: the edge directions (dy, dx), any sequence of pairs of integers (stored as a tuple), each with
        dy > 0, or dy = 0 and dx > 0.
    boundary: "open" (edges that would leave the grid are absent) or "periodic" (a torus; where two edges join the same
        pair of sites, as on a torus two sites wide, both count).

    Raises UserError naming the field: a size under 1, an unknown boundary, an offset that is repeated, not in the
    half-plane above, that joins a site to itself, or that joins no two sites of a grid this small.
    """

    height: int
    width: int
    offsets: Sequence[Sequence[int]]
    boundary: str = "open"

    @classmethod
    def grid(cls, height: int, width: int, neighbourhood: str = "4", boundary: str = "open") -> "Lattice":
        """Return the lattice of a named neighbourhood; offsets that join nothing on a grid this small are left out.

        "4": nearest neighbours. "8": diagonals too. "G8", "G12", "G16", "G20": nearest neighbours and the jumps (4, 1),
        (10, 9), (11, 14), (23, 6), each with its rotation by 90 degrees (Jelincic et al. 2025, appendix); every jump
        changes the parity of y + x, so two colours still suffice. UserError for another neighbourhood or boundary.
        """
        if neighbourhood not in NEIGHBOURHOODS:
            raise UserError(f"neighbourhood is {neighbourhood!r}; allowed: {', '.join(NEIGHBOURHOODS)}")
        offsets = []
        for dy, dx in _JUMPS[neighbourhood]:
            rotated = (dx, -dy)
            offsets += [(dy, dx), rotated if dx > 0 else (-rotated[0], -rotated[1])]
        bare = cls(height, width, (), boundary)
        return cls(height, width, tuple(offset for offset in offsets if not bare._fault(offset)), boundary)

    def __post_init__(self):
        if self.boundary not in BOUNDARIES:
            raise UserError(f"boundary is {self.boundary!r}; allowed: {', '.join(BOUNDARIES)}")
        for name in ("height", "width"):
            if not _is_integer(getattr(self, name)) or getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)!r}; allowed: an integer, 1 or more")
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "offsets", _pairs(self.offsets))
        for dy, dx in self.offsets:
            if dy < 0 or (dy == 0 and dx <= 0):
                raise UserError(f"offsets has {(dy, dx)}; allowed: dy > 0, or dy = 0 and dx > 0")
            if fault := self._fault((dy, dx)):
                raise UserError(f"offsets has {(dy, dx)}, which {fault}; leave it out")
        if len(set(self.offsets)) < len(self.offsets):
            raise UserError(f"offsets is {self.offsets}; allowed: each offset once")

    def _fault(self, offset: Offset) -> str:
        """Return why an offset cannot be part of the lattice; empty if it can."""
        dy, dx = offset
        if self.boundary == "open" and (dy >= self.height or abs(dx) >= self.width):
            return f"joins no two sites of an open {self.height} x {self.width} grid"
        if self.boundary == "periodic" and dy % self.height == 0 and dx % self.width == 0:
            return f"joins a site to itself on a {self.height} x {self.width} torus"
        return ""

    @property
    def n_sites(self) -> int:
        """Return the number of sites."""
        return self.height * self.width

    @property
    def n_edges(self) -> int:
        """Return the number of edges."""
        return sum(int(np.prod(self.edge_shape(offset))) for offset in self.offsets)

    def edge_shape(self, offset: Offset) -> tuple[int, int]:
        """Return (h, w), the shape of the grid of sources of the edges of one offset."""
        if self.boundary == "periodic":
            return self.height, self.width
        return self.height - abs(offset[0]), self.width - abs(offset[1])

    def edges(self, offset: Offset) -> tuple[Int[np.ndarray, "edges"], Int[np.ndarray, "edges"]]:
        """Return the flat site numbers y W + x of sources and targets, in row-major order of the coupling array."""
        sites = np.arange(self.n_sites, dtype=np.int32).reshape(1, self.height, self.width)
        source, target = self.ends(sites, offset)
        return np.asarray(source).ravel(), np.asarray(target).ravel()

    def ends(
        self, x: Shaped[Array | np.ndarray, "n H W"], offset: Offset
    ) -> tuple[Shaped[Array | np.ndarray, "n h w"], Shaped[Array | np.ndarray, "n h w"]]:
        """Return the values at both ends of every edge of one offset: two arrays (n, h, w), sources and targets."""
        dy, dx = offset
        if self.boundary == "periodic":
            xp = np if isinstance(x, np.ndarray) else x.__array_namespace__()
            return x, xp.roll(x, (-dy, -dx), (1, 2))
        h, w = self.edge_shape(offset)
        left, right = max(0, -dx), max(0, dx)
        return x[:, :h, left : left + w], x[:, dy : dy + h, right : right + w]

    @functools.cached_property
    def colouring(self) -> Int[np.ndarray, "H W"]:
        """Return the colour of every site, 0 to n_colours - 1: checkerboard, 2 x 2 tiles, or greedy; verified."""
        y, x = np.indices((self.height, self.width))
        for colours in ((y + x) % 2, 2 * (y % 2) + x % 2):
            if self.is_proper(colours):
                return np.unique(colours, return_inverse=True)[1].reshape(colours.shape).astype(np.int32)
        colours = self._greedy_colouring()
        if not self.is_proper(colours):
            raise RuntimeError(f"{self}: the greedy colouring gives both ends of an edge one colour")
        return colours

    @property
    def n_colours(self) -> int:
        """Return the number of colours, the blocks of a sweep."""
        return int(self.colouring.max()) + 1

    def is_proper(self, colours: Int[np.ndarray, "H W"]) -> bool:
        """Return whether no edge joins two sites of one colour."""
        flat = np.asarray(colours).ravel()
        pairs = (self.edges(offset) for offset in self.offsets)
        return all(np.all(flat[source] != flat[target]) for source, target in pairs)

    def _greedy_colouring(self) -> Int[np.ndarray, "H W"]:
        """Give each site, in raster order, the least colour that none of its neighbours has."""
        neighbours = [set() for _ in range(self.n_sites)]
        for offset in self.offsets:
            for i, j in zip(*self.edges(offset), strict=True):
                neighbours[i].add(j)
                neighbours[j].add(i)
        colours = np.full(self.n_sites, -1)
        for i in range(self.n_sites):
            taken = {colours[j] for j in neighbours[i]}
            colours[i] = next(c for c in range(len(taken) + 1) if c not in taken)
        return colours.reshape(self.height, self.width).astype(np.int32)


def _is_integer(value) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _pairs(offsets) -> tuple[Offset, ...]:
    """Return the offsets as a tuple of pairs of Python integers, so that the lattice is hashable."""
    try:
        pairs = tuple(tuple(offset) for offset in offsets)
    except TypeError:
        pairs = None
    if pairs is None or any(len(pair) != 2 or not all(map(_is_integer, pair)) for pair in pairs):
        raise UserError(f"offsets is {offsets!r}; allowed: pairs of integers (dy, dx)")
    return tuple((int(dy), int(dx)) for dy, dx in pairs)


def offset_name(offset: Offset) -> str:
    """Return the key of an offset in a parameter tree: "dy,dx", a string because checkpoints need string keys."""
    return f"{offset[0]},{offset[1]}"
