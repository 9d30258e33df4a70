"""The sweeps of the lattice engine as one GPU kernel, with every chain on chip from the first sweep to the last.

    p(x_i = a | rest) = P_a / sum_c P_c,      x_i by one uniform and the inverse CDF, all as in `lattice_engine`

Same tables, same hash, same uniform for every (sweep, colour, site, global chain), same arithmetic: both engines draw
the same states. A program of the grid is a warpgroup of 128 threads with a block of chains: it copies their words
(`tiles`) into shared memory, runs all sweeps there and copies them back. Cells are on the last axis, one per thread, so
that a neighbour is a load at a fixed distance and nothing is gathered; a cell's couplings are read once for the block.

Pallas on Mosaic GPU (NVIDIA, compute capability 9.0 or later); `interpreted` runs the same kernel anywhere, slowly.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jaxtyping import Array, Float, PRNGKeyArray, UInt8, UInt32

from jaxgen.errors import UserError
from jaxgen.gibbs.couplings import Params, is_tied, n_levels
from jaxgen.gibbs.engines import lattice as by_lattice
from jaxgen.gibbs.engines.arithmetic import LOGARITHMS, PRODUCTS, layout_of
from jaxgen.gibbs.engines.sweep_keys import in_blocks
from jaxgen.gibbs.engines.threefry import threefry2x32
from jaxgen.gibbs.engines.tiles import Tiles
from jaxgen.gibbs.lattice import Lattice, Offset
from jaxgen.gibbs.types import Conditions, SampleInfo, free_sites

OLDEST_JAX = (0, 10, 2)  # whose Mosaic can shift words; the other engines need 0.10.0
THREADS = 128  # of a warpgroup: arrays in the kernel have this length
MOST_LEVELS = {"edge": 4, "tied": 16}  # an update is unrolled over (L - 1)^2 masked products, or over L
_MOST_CHAINS = 8  # of a program
_ENOUGH_PROGRAMS = 528  # four for each multiprocessor of an H200; while there are fewer, blocks are made smaller
_SHARED_WORDS = 12 * 1024  # of a program, so that four fit into the 228 KiB of a multiprocessor
_MOST_SHARED_WORDS = 56 * 1024


def on_gpu(kernel: Callable, programs: int, out_types: Sequence, scratch: tuple[int, int]) -> Callable:
    """Return kernel(program, *inputs, *outputs, scratch) by Mosaic GPU.

    `scratch` is the shape of the words in shared memory. UserError for a jax that is too old.
    """
    if jax.__version_info__ < OLDEST_JAX:
        raise UserError(
            f"jax is {jax.__version__}; allowed with engine 'kernel': {'.'.join(map(str, OLDEST_JAX))} or newer, for "
            "older ones cannot compile it; install that, or use engine 'lattice'"
        )
    from jax.experimental.pallas import mosaic_gpu  # takes a second to import, only where it is used

    def gibbs_sweeps(*refs):
        kernel(jax.lax.axis_index("program"), *refs)

    # One layout serves all arrays; inferring it, as "Warpgroup" does, takes ten times as long as all else.
    semantics = mosaic_gpu.CompilerParams(lowering_semantics=mosaic_gpu.LoweringSemantics.Lane)
    return mosaic_gpu.kernel(
        gibbs_sweeps,
        out_type=out_types,
        compiler_params=semantics,
        scratch_types=[mosaic_gpu.SMEM(scratch, jnp.uint32)],
        grid=(programs,),
        grid_names=("program",),
    )


def interpreted(kernel: Callable, programs: int, out_types: Sequence, scratch: tuple[int, int]) -> Callable:
    """Return what `on_gpu` returns, for any device, where one program runs after another."""
    return pl.pallas_call(
        lambda *refs: kernel(pl.program_id(0), *refs),
        out_shape=out_types,
        grid=(programs,),
        scratch_shapes=[pl.MemoryRef(jax.core.ShapedArray(scratch, jnp.uint32), pl.ANY)],
        interpret=True,
    )


@dataclasses.dataclass(frozen=True)
class Block:
    """What one program holds: `chains` chains, each a row of `length` cells with `reach` words before and after.

    Cells are numbered row by row, and the last ones fill up the row to a multiple of THREADS.
    """

    tiles: Tiles
    chains: int

    @classmethod
    def for_chains(cls, tiles: Tiles, n: int) -> "Block":
        """Return the layout with as many chains per block as leave enough programs; UserError if one is too large."""
        single = cls(tiles, 1)
        if single.row > _MOST_SHARED_WORDS:
            raise UserError(
                f"lattice is {tiles.lattice.height} x {tiles.lattice.width}, where a chain takes {single.row} words of "
                f"shared memory; allowed with engine='kernel': up to {_MOST_SHARED_WORDS}. Use 'lattice'"
            )
        wanted = max(1, min(n // _ENOUGH_PROGRAMS, _MOST_CHAINS, _SHARED_WORDS // single.row))
        return cls(tiles, 2 ** int(math.log2(wanted)))

    @property
    def length(self) -> int:
        """Return the number of cells, rounded up to a multiple of the threads."""
        cells = self.tiles.rows * self.tiles.columns
        return cells + -cells % THREADS

    @property
    def reach(self) -> int:
        """Return the largest distance, in cells, between a cell and a neighbour."""
        if self.tiles.lattice.boundary == "periodic":
            return self.tiles.rows * self.tiles.columns
        shifts = [self.tiles.neighbour(q, o)[1] for q in range(4) for o in by_lattice._directions(self.tiles.lattice)]
        return max((abs(dy * self.tiles.columns + dx) for dy, dx in shifts), default=0)

    @property
    def row(self) -> int:
        return self.length + 2 * self.reach

    def cells_last(self, array: Array) -> Array:
        """Return the array (..., *cells) as (..., length)."""
        flat = array.reshape(*array.shape[: array.ndim - len(self.tiles.shape)], -1)
        return jnp.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, self.length - flat.shape[-1])])

    def pack(self, x: UInt8[Array, "n H W"]) -> UInt32[Array, "n length"]:
        return self.cells_last(jnp.moveaxis(self.tiles.pack(x), -1, 0))

    def unpack(self, words: UInt32[Array, "n length"]) -> UInt8[Array, "n H W"]:
        words = words[:, : self.tiles.rows * self.tiles.columns].T
        return self.tiles.unpack(words.reshape(*self.tiles.shape, -1))

    def places(self) -> UInt32[Array, "3 length"]:
        """Return number, row and column of every cell."""
        number = jnp.arange(self.length, dtype=jnp.uint32)
        return jnp.stack([number, number // self.tiles.columns, number % self.tiles.columns])


@dataclasses.dataclass(frozen=True)
class _Cells:
    """THREADS cells of every chain of a block, for the lattice engine's update; its `padded` is the chain here."""

    block: Block
    words: Any  # reference to the words of all chains, in the kernel's memory
    start: Array
    row: Array
    column: Array

    @property
    def lattice(self) -> Lattice:
        return self.block.tiles.lattice

    def neighbour(self, quarter: int, offset: Offset) -> tuple[int, tuple[int, int]]:
        return self.block.tiles.neighbour(quarter, offset)

    def shifted(self, chain: Array, shift: tuple[int, int]) -> UInt32[Array, "threads"]:
        """Return the word `shift` cells away from every cell.

        On a torus it is one of up to four loads, by row and column.
        """
        rows, columns = self.block.tiles.rows, self.block.tiles.columns

        def load(distance):
            return self.words[chain, pl.ds(self.start + (self.block.reach + distance), THREADS)]

        if self.lattice.boundary == "open":
            return load(shift[0] * columns + shift[1])
        dy, dx = shift[0] % rows, shift[1] % columns

        def along_row(distance):
            if dx == 0:
                return load(distance)
            return jnp.where(self.column < np.uint32(columns - dx), load(distance + dx), load(distance + dx - columns))

        if dy == 0:
            return along_row(0)
        down, up = along_row(dy * columns), along_row((dy - rows) * columns)
        return jnp.where(self.row < np.uint32(rows - dy), down, up)

    def with_halo(self, words: UInt32[Array, "threads"]) -> UInt32[Array, "threads"]:
        return words


def run(
    key: PRNGKeyArray,
    lattice: Lattice,
    params: Params,
    x: UInt8[Array, "n H W"],
    n_sweeps: int,
    conditions: Conditions,
    launch: Callable = on_gpu,
) -> tuple[UInt8[Array, "n H W"], SampleInfo]:
    """Return the states after `n_sweeps` sweeps of every chain, with the noise of the lattice engine.

    Args:
        launch: `on_gpu` or `interpreted`.

    Raises:
        UserError: where `tiles` raises it, for too many levels, too large a lattice, or a machine without a GPU.
    """
    if launch is on_gpu and jax.default_backend() != "gpu":
        raise UserError(f"engine is 'kernel' on a {jax.default_backend()}; allowed: on an NVIDIA GPU. Use 'lattice'")
    kind, tiles = "tied" if is_tied(params) else "edge", Tiles(lattice)
    if n_levels(params) > MOST_LEVELS[kind]:
        raise UserError(
            f"params['bias'] has {n_levels(params)} levels; allowed with engine='kernel' and {kind} couplings: up to "
            f"{MOST_LEVELS[kind]}. Use 'lattice'"
        )
    block = Block.for_chains(tiles, len(x))
    spare = -len(x) % block.chains
    layout = layout_of(params)
    around = {
        "chain_ids": jnp.pad(conditions.chain_ids, (0, spare)),
        "places": block.places(),
    }
    if conditions.clamp is not None:
        around["held"] = block.pack(by_lattice._spread(conditions.clamp, spare) * np.uint8(255))

    def tables_of(how):
        return [by_lattice._quarter_tables(tiles, params, q, conditions, spare, how.first) for q in range(4)]

    def sweeps(tables, words, arithmetic):
        fixed = around | {"tables": [_rows(block, table, arithmetic.first) for table in tables]}
        programs = len(words) // block.chains
        out_types = [jax.ShapeDtypeStruct(words.shape, jnp.uint32), jax.ShapeDtypeStruct((programs,), jnp.int32)]

        def launched(carry, keys):
            leaves, tree = jax.tree.flatten(fixed | {"words": carry[0], "keys": keys})
            kernel = functools.partial(_kernel, block, layout, arithmetic, tree)
            words, done = launch(kernel, programs, out_types, (block.chains, block.row))(*leaves)
            return words, carry[1] + done

        return in_blocks(key, n_sweeps, (len(tiles.colours()), 2), launched, (words, jnp.zeros(programs, jnp.int32)))

    def by_products(relative, words):
        return sweeps(jax.tree.map(jnp.exp, relative), words, PRODUCTS)

    def by_logarithms(relative, words):
        return sweeps(tables_of(LOGARITHMS), words, LOGARITHMS)

    relative = tables_of(PRODUCTS)
    largest = jnp.stack([by_lattice._exponent_bound(table) for table in relative]).max()
    words = block.pack(by_lattice._spread(x, spare))
    small = largest < by_lattice.LARGEST_EXPONENT
    words, done = jax.lax.cond(small, by_products, by_logarithms, relative, words)
    return block.unpack(words)[: len(x)], SampleInfo(done.min(), free_sites(x, conditions.clamp))


def _rows(block: Block, table: dict, first: int) -> dict:
    """Return one `_quarter_tables` entry, cells last: bias (L, 1 or n, length), terms (length,) or (L, L, length).

    Of relative tables (first = 1) the first row and column are 0 and left out.
    """
    tied = table["terms"] and table["terms"][0].ndim == len(block.tiles.shape)
    terms = [block.cells_last(term if tied else term[first:, first:]) for term in table["terms"]]
    return {"bias": block.cells_last(jnp.moveaxis(table["bias"], -1, 1)), "terms": terms}


def _kernel(block: Block, layout, arithmetic, tree, program: Array, *refs) -> None:
    """Run all sweeps of one block of chains."""
    *inputs, out, sweeps_done, words = refs
    given = jax.tree.unflatten(tree, inputs)
    first = program * block.chains
    chunks = block.length // THREADS

    def copy(source, first_source, shift_source, target, first_target, shift_target):
        @pl.loop(0, block.chains)
        def _(chain):
            @pl.loop(0, chunks)
            def _(chunk):
                values = source[first_source + chain, pl.ds(chunk * THREADS + shift_source, THREADS)]
                target[first_target + chain, pl.ds(chunk * THREADS + shift_target, THREADS)] = values

    def sweep(t, done):
        for colour, quarters in enumerate(block.tiles.colours()):
            key = given["keys"][t, colour, 0], given["keys"][t, colour, 1]

            @pl.loop(0, chunks)
            def _(chunk, key=key, quarters=quarters):
                _update_chunk(block, layout, arithmetic, quarters, key, given, words, first, chunk * THREADS)

        return done + 1

    copy(given["words"], first, 0, words, 0, block.reach)
    sweeps_done[program] = jax.lax.fori_loop(0, given["keys"].shape[0], sweep, jnp.int32(0))
    copy(words, 0, block.reach, out, first, 0)


def _update_chunk(block, layout, arithmetic, quarters, key, given, words, first, start) -> None:
    """Redraw the sites of one colour in THREADS cells of all chains of the block."""
    here = pl.ds(start, THREADS)
    number, row, column = (given["places"][k, here] for k in range(3))
    cells = _Cells(block, words, start, row, column)
    tables = [given["tables"][q] for q in quarters]
    terms = [[_read(term, here, arithmetic.first) for term in table["terms"]] for table in tables]
    alike = given["tables"][0]["bias"].shape[1] == 1
    shared = [_bias(table, 0, here) for table in tables] if alike else None

    @pl.loop(0, block.chains)
    def _(chain):
        biases = shared or [_bias(table, first + chain, here) for table in tables]
        seen = [{"bias": bias, "terms": term} for bias, term in zip(biases, terms, strict=True)]
        hashes = threefry2x32(key, (number, given["chain_ids"][first + chain]))
        held = given["held"][first + chain, here] if "held" in given else None
        new = by_lattice._update_colour(cells, chain, quarters, seen, hashes, held, layout, arithmetic)
        words[chain, pl.ds(start + block.reach, THREADS)] = new


def _bias(table: dict, chain: Array | int, here) -> list[Float[Array, "threads"]]:
    return [table["bias"][a, chain, here] for a in range(table["bias"].shape[0])]


def _read(term, here, first: int) -> Array | list:
    """Return a strength, or the rows of a matrix, numbered by levels from `first`."""
    if len(term.shape) == 1:
        return term[here]
    left_out = [None] * first
    rows = [left_out + [term[a, c, here] for c in range(term.shape[1])] for a in range(term.shape[0])]
    return left_out + rows
