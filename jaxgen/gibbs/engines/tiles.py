"""The fast engine's layout: the image in 2 x 2 tiles, one tile per word, chains on the last axis.

Word X[cell, chain] holds the four sites of a tile, a byte each. Sites in the same corner of their tiles form a
*quarter*: quarters 0 and 1 are the two even sites of a checkerboard, 2 and 3 the two odd ones. A neighbour is then
found in a fixed byte of the word a fixed number of cells away, without gathers, masks or parity tests, and one two-word
hash serves both quarters of a checkerboard colour.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped, UInt8, UInt32

from jaxgen.errors import UserError
from jaxgen.gibbs.lattice import Lattice, Offset

CORNERS = ((0, 0), (1, 1), (0, 1), (1, 0))  # (y, x) of quarter 0..3 within a tile


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Cells of a lattice in 2 x 2 tiles; a grid of odd size is filled up with sites that nothing is joined to.

    Open boundaries: cells are numbered row by row along one axis, and a neighbour outside the grid is whatever word the
    shift meets there; its coupling is zero. Torus: cells keep two axes, and shifts wrap round.

    Raises:
        UserError: no colouring of the lattice consists of whole quarters, as on a torus of odd size.
    """

    lattice: Lattice

    def __post_init__(self):
        colouring = self.lattice.colouring
        if any(len(np.unique(colouring[y::2, x::2])) > 1 for y, x in CORNERS) or self._odd_torus():
            raise UserError(
                f"lattice is {self.lattice.boundary}, {self.lattice.height} x {self.lattice.width}, with offsets "
                f"{self.lattice.offsets}; allowed with engine='lattice': one that is coloured by 2 x 2 tiles. Use "
                "'graph', 'thrml' or 'sequential'"
            )

    def _odd_torus(self) -> bool:
        return self.lattice.boundary == "periodic" and bool(self.lattice.height % 2 or self.lattice.width % 2)

    @property
    def rows(self) -> int:
        """Return the number of rows of tiles."""
        return -(-self.lattice.height // 2)

    @property
    def columns(self) -> int:
        """Return the number of columns of tiles."""
        return -(-self.lattice.width // 2)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the cells: (rows * columns,) for open boundaries, (rows, columns) on a torus."""
        if self.lattice.boundary == "open":
            return (self.rows * self.columns,)
        return (self.rows, self.columns)

    def colours(self) -> list[tuple[int, ...]]:
        """Return the quarters of every colour."""
        colouring = self.lattice.colouring
        of_quarter = [colouring[y::2, x::2].ravel()[:1] for y, x in CORNERS]  # empty for a corner outside the grid
        return [tuple(q for q in range(4) if c in of_quarter[q]) for c in range(self.lattice.n_colours)]

    def neighbour(self, quarter: int, offset: Offset) -> tuple[int, tuple[int, int]]:
        """Return (quarter, shift in cells) of the sites that lie `offset` away from the sites of a quarter."""
        y, x = (corner + step for corner, step in zip(CORNERS[quarter], offset, strict=True))
        return CORNERS.index((y % 2, x % 2)), (y // 2, x // 2)

    def quarter(self, sites: Shaped[Array, "H W *rest"], quarter: int, fill=0) -> Shaped[Array, "..."]:
        """Return the values of the sites of one quarter, with `fill` at the sites that complete an odd grid."""
        lattice = self.lattice
        pad = [(0, 2 * self.rows - lattice.height), (0, 2 * self.columns - lattice.width)]
        sites = jnp.pad(sites, pad + [(0, 0)] * (sites.ndim - 2), constant_values=fill)
        y, x = CORNERS[quarter]
        return sites[y::2, x::2].reshape(*self.shape, *sites.shape[2:])

    def pack(self, x: UInt8[Array, "n H W"]) -> UInt32[Array, "*cells n"]:
        """Pack images into words."""
        chains_last = jnp.moveaxis(x, 0, -1)
        words = [self.quarter(chains_last, q).astype(jnp.uint32) << np.uint32(8 * q) for q in range(4)]
        return words[0] | words[1] | words[2] | words[3]

    def unpack(self, words: UInt32[Array, "*cells n"]) -> UInt8[Array, "n H W"]:
        """Unpack words into images."""
        corner = dict(zip(CORNERS, range(4), strict=True))
        quarters = [(words >> np.uint32(8 * corner[y, x])).astype(jnp.uint8) for y in (0, 1) for x in (0, 1)]
        tiles = jnp.stack(quarters).reshape(2, 2, self.rows, self.columns, -1)  # y in tile, x in tile, row, column, n
        image = jnp.transpose(tiles, (4, 2, 0, 3, 1)).reshape(-1, 2 * self.rows, 2 * self.columns)
        return image[:, : self.lattice.height, : self.lattice.width]

    def with_halo(self, words: UInt32[Array, "*cells n"]) -> UInt32[Array, "*padded n"]:
        """Return the words with as many more on every side as the longest shift needs, wrapped on a torus."""
        pad = [(reach, reach) for reach in self._reach()] + [(0, 0)]
        if self.lattice.boundary == "open":
            beyond = jnp.zeros((pad[0][0], words.shape[1]), words.dtype)
            padded = jnp.concatenate([beyond, words, beyond])
        else:
            padded = jnp.pad(words, pad, mode="wrap")
        # Without the barrier XLA turns each slice of this into a pad of `words`, and computes `words` again for each.
        return jax.lax.optimization_barrier(padded)

    def shifted(self, padded: UInt32[Array, "*padded n"], shift: tuple[int, int]) -> UInt32[Array, "*cells n"]:
        """Return the word `shift` cells away from every cell, a static slice of what `with_halo` returns."""
        reach = self._reach()
        starts = [shift[0] * self.columns + shift[1]] if self.lattice.boundary == "open" else list(shift)
        for axis, (start, r, size) in enumerate(zip(starts, reach, self.shape, strict=True)):
            padded = jax.lax.slice_in_dim(padded, r + start, r + start + size, axis=axis)
        return padded

    def _reach(self) -> tuple[int, ...]:
        offsets = [(s * dy, s * dx) for dy, dx in self.lattice.offsets for s in (1, -1)]
        shifts = [self.neighbour(q, offset)[1] for q in range(4) for offset in offsets] or [(0, 0)]
        if self.lattice.boundary == "open":
            return (max(abs(dy * self.columns + dx) for dy, dx in shifts),)
        return tuple(max(abs(shift[axis]) for shift in shifts) for axis in (0, 1))
