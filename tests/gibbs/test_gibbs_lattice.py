"""Lattices against their definition, site by site."""

import numpy as np
import pytest
from torch_reference import potts as reference

from jaxgen.gibbs import BOUNDARIES, NEIGHBOURHOODS, Lattice, offset_name
from jaxgen.gibbs.engines.tiles import CORNERS, Tiles

SMALLEST = {"4": 2, "8": 2, "G8": 5, "G12": 11, "G16": 15, "G20": 24}


def sizes(neighbourhood):
    least = SMALLEST[neighbourhood]
    return [(least, least), (least + 1, least), (least + 1, least + 3), (least + 2, least + 2), (28, 28)]


GRIDS = [
    Lattice.grid(*size, neighbourhood, boundary)
    for neighbourhood in NEIGHBOURHOODS
    for size in sizes(neighbourhood)
    for boundary in BOUNDARIES
]


def named(lattice):
    return f"{lattice.height}x{lattice.width} {len(lattice.offsets)} {lattice.boundary}"


def test_edges_of_the_common_grids():
    assert [np.prod(Lattice.grid(28, 28).edge_shape(offset)) for offset in ((0, 1), (1, 0))] == [756, 756]
    assert Lattice.grid(28, 28).n_edges == 1512 and Lattice.grid(28, 28).n_sites == 784
    assert Lattice.grid(28, 28, boundary="periodic").n_edges == 2 * 784
    assert Lattice.grid(28, 28, "8").n_edges == 1512 + 2 * 27 * 27
    assert Lattice.grid(28, 28, "G8").n_edges == 1512 + 2 * 24 * 27


def test_neighbourhoods_are_jumps_and_their_rotations():
    jumps = {"4": [(0, 1)], "8": [(0, 1), (1, 1)], "G20": [(0, 1), (4, 1), (10, 9), (11, 14), (23, 6)]}
    for n, name in enumerate(("G8", "G12", "G16")):
        jumps[name] = jumps["G20"][: n + 2]
    for name in NEIGHBOURHOODS:
        lattice = Lattice.grid(28, 28, name)
        wanted = {step for dy, dx in jumps[name] for step in ((dy, dx), (-dx, dy), (-dy, -dx), (dx, -dy))}
        assert {(s * dy, s * dx) for dy, dx in lattice.offsets for s in (1, -1)} == wanted
        assert len(lattice.offsets) == 2 * len(jumps[name])


@pytest.mark.parametrize("lattice", GRIDS, ids=named)
def test_edges_ends_and_colouring(lattice):
    sites = np.arange(2 * lattice.n_sites).reshape(2, lattice.height, lattice.width)
    for offset in lattice.offsets:
        by_loops = np.array(reference.edges(lattice.height, lattice.width, offset, lattice.boundary))
        source, target = lattice.edges(offset)
        np.testing.assert_array_equal(np.stack([source, target]), (by_loops @ [lattice.width, 1]).T)
        assert len(source) == np.prod(lattice.edge_shape(offset))
        for end, flat in zip(lattice.ends(sites, offset), (source, target), strict=True):
            assert end.shape == (2, *lattice.edge_shape(offset))
            np.testing.assert_array_equal(end.reshape(2, -1), sites.reshape(2, -1)[:, flat])
        # by the definition of a proper colouring, and not by is_proper
        colours = lattice.colouring.ravel()
        assert np.all(colours[source] != colours[target])
    assert lattice.n_edges == sum(len(lattice.edges(offset)[0]) for offset in lattice.offsets)
    assert sorted(set(lattice.colouring.ravel())) == list(range(lattice.n_colours))
    even = lattice.boundary == "open" or (lattice.height % 2 == 0 and lattice.width % 2 == 0)
    if even:
        assert lattice.n_colours == (4 if (1, 1) in lattice.offsets else 2)


@pytest.mark.parametrize("name", ["4", "G8", "G12", "G16", "G20"])
def test_odd_jumps_keep_two_blocks_of_392(name):
    colouring = Lattice.grid(28, 28, name).colouring
    assert np.bincount(colouring.ravel()).tolist() == [392, 392]


def test_a_wrong_colouring_is_found():
    lattice = Lattice.grid(4, 5, "8")
    checkerboard = Lattice.grid(4, 5).colouring
    assert Lattice.grid(4, 5).is_proper(checkerboard) and not lattice.is_proper(checkerboard)
    broken = lattice.colouring.copy()
    broken[2, 3] = broken[2, 2]
    assert lattice.is_proper(lattice.colouring) and not lattice.is_proper(broken)


def test_a_line_and_a_ring():
    line = Lattice(1, 5, ((0, 1),))
    assert line.n_colours == 2 and line.n_edges == 4
    ring = Lattice(1, 5, ((0, 1),), "periodic")
    assert ring.n_colours == 3 and ring.n_edges == 5


def test_lattices_are_values():
    assert Lattice.grid(3, 4) == Lattice.grid(3, 4) and hash(Lattice.grid(3, 4)) == hash(Lattice.grid(3, 4))
    assert Lattice.grid(3, 4) != Lattice.grid(4, 3)
    assert [offset_name(offset) for offset in Lattice.grid(3, 3, "8").offsets] == ["0,1", "1,0", "1,1", "1,-1"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((3, 3, ((0, 1),), "closed"), "boundary is 'closed'; allowed: open, periodic"),
        ((0, 3, ((0, 1),)), "height is 0; allowed: an integer, 1 or more"),
        ((3, -1, ((0, 1),)), "width is -1; allowed: an integer, 1 or more"),
        ((3, 3, ((-1, 0),)), r"offsets has \(-1, 0\); allowed: dy > 0, or dy = 0 and dx > 0"),
        ((3, 3, ((0, 0),)), r"offsets has \(0, 0\); allowed: dy > 0"),
        ((3, 3, ((0, 3),)), r"offsets has \(0, 3\), which joins no two sites of an open 3 x 3 grid"),
        ((3, 4, ((3, 4),), "periodic"), r"offsets has \(3, 4\), which joins a site to itself on a 3 x 4 torus"),
        ((3, 3, ((0, 1), (1, 0), (0, 1))), "allowed: each offset once"),
        ((3.0, 3, ((0, 1),)), "height is 3.0; allowed: an integer"),
        ((3, 3, ((0, 1, 2),)), "offsets is .*; allowed: pairs of integers"),
        ((3, 3, (0, 1)), "offsets is .*; allowed: pairs of integers"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        Lattice(*arguments)


def test_refused_grids():
    with pytest.raises(ValueError, match="neighbourhood is '6'; allowed: 4, 8, G8, G12, G16, G20"):
        Lattice.grid(4, 4, "6")


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_grids_leave_out_offsets_that_join_nothing(boundary):
    assert Lattice.grid(1, 5, boundary=boundary).offsets == ((0, 1),)
    assert Lattice.grid(5, 1, boundary=boundary).offsets == ((1, 0),)
    assert Lattice.grid(1, 1, "8", boundary).offsets == ()
    assert Lattice.grid(4, 9, "G8").offsets == ((0, 1), (1, 0), (1, -4))


def test_more_than_256_colours_are_proper():
    complete = Lattice(1, 300, tuple((0, dx) for dx in range(1, 300)))
    assert complete.n_colours == 300 and complete.is_proper(complete.colouring)


def test_offsets_of_any_sequence_are_hashable():
    lattice = Lattice(4, 4, [[0, 1], (np.int64(1), 0)])
    assert lattice == Lattice.grid(4, 4) and hash(lattice) == hash(Lattice.grid(4, 4))


ODD_TORI = [grid for grid in GRIDS if grid.boundary == "periodic" and (grid.height % 2 or grid.width % 2)]


@pytest.mark.parametrize("lattice", ODD_TORI, ids=named)
def test_tiles_refuse_odd_tori(lattice):
    with pytest.raises(ValueError, match=r"allowed with engine='lattice': one .* 2 x 2 tiles.*'thrml'"):
        Tiles(lattice)


TILED = [Lattice.grid(3, 2), Lattice.grid(5, 7, "G8"), Lattice.grid(6, 4, "8", "periodic")]


@pytest.mark.parametrize("lattice", TILED, ids=named)
def test_tiles_hold_the_image_and_shift_to_the_neighbours(lattice):
    tiles = Tiles(lattice)
    x = np.random.default_rng(0).integers(1, 255, (2, lattice.height, lattice.width), np.uint8)
    words = tiles.pack(x)
    np.testing.assert_array_equal(tiles.unpack(words), x)
    assert sorted(quarter for colour in tiles.colours() for quarter in colour) == [0, 1, 2, 3]
    padded = tiles.with_halo(words)
    for offset in lattice.offsets:
        for here, there, step in ((*lattice.edges(offset), 1), (*lattice.edges(offset)[::-1], -1)):
            y, x_ = np.divmod(here, lattice.width)
            for quarter, corner in enumerate(CORNERS):
                to, shift = tiles.neighbour(quarter, (step * offset[0], step * offset[1]))
                shifted = np.asarray(tiles.shifted(padded, shift)).reshape(tiles.rows, tiles.columns, 2) >> 8 * to & 255
                mine = (y % 2 == corner[0]) & (x_ % 2 == corner[1])
                expected = x.reshape(2, -1)[:, there[mine]].T
                np.testing.assert_array_equal(shifted[y[mine] // 2, x_[mine] // 2], expected)
