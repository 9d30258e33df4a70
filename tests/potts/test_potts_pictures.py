"""Gauges that must not change the energy, maps of known couplings, half-sweeps that make whole sweeps, embeddings."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SMALL_LATTICES, empirical, exact_draws, random_params
from PIL import Image
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs, visualization
from jaxgen.potts.figures.half_sweeps import phases, phases_gif
from jaxgen.potts.figures.landscape import Landscape, embed_images, landscape_figure, nearest, prototypes
from jaxgen.potts.figures.parameter_maps import attraction, blocks_figure, parameter_figure, zero_sum
from jaxgen.potts.oracles import enumeration


@pytest.mark.parametrize("name, coupling", [("2x4 diagonals", "edge"), ("3x3 jumps", "edge"), ("2x3 open", "tied")])
def test_the_zero_sum_gauge_is_the_same_model(name, coupling):
    lattice, levels = SMALL_LATTICES[name]
    params = random_params(1, lattice, levels, coupling)
    bias, couplings = zero_sum(lattice, params)
    np.testing.assert_allclose(bias.mean(-1), 0, atol=1e-12)
    for w in couplings.values():
        np.testing.assert_allclose([w.mean(2), w.mean(3)], 0, atol=1e-12)
    moved = {gibbs.offset_name(offset): jnp.asarray(w, jnp.float32) for offset, w in couplings.items()}
    moved = {"bias": jnp.asarray(bias, jnp.float32), "coupling": moved}
    for p in (params, moved):
        p["law"] = np.asarray(enumeration.distribution(lattice, {k: p[k] for k in ("bias", "coupling")}))
    np.testing.assert_allclose(moved["law"], params["law"], rtol=1e-4)


def test_attraction_is_the_strength_of_a_potts_edge_in_every_gauge():
    w = 0.7 * np.eye(4)[None, None]
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(1, 1, 4, 1)) + rng.normal(size=(1, 1, 1, 4))
    np.testing.assert_allclose(attraction(w + ends), 0.7)
    np.testing.assert_allclose(attraction(-w), -0.7)


def test_pictures_of_parameters_and_blocks(tmp_path):
    lattice = gibbs.Lattice.grid(6, 6, "8")
    parameter_figure(tmp_path / "p.png", lattice, random_params(0, lattice, 4), "a title")
    tied = random_params(0, lattice, 16, "tied")
    parameter_figure(tmp_path / "t.png", lattice, tied | {"bias": 0 * tied["bias"]}, "a title")
    blocks_figure(tmp_path / "b.png", {"8": lattice, "4": gibbs.Lattice.grid(5, 5)})
    for name in "ptb":
        assert np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")).std() > 10


LATTICE, LEVELS = SMALL_LATTICES["3x3 diagonals"]
PARAMS = random_params(2, LATTICE, LEVELS, scale=1.0)


@pytest.mark.slow
def test_a_phase_changes_its_colour_alone_and_all_of_them_are_a_sweep():
    start = jnp.asarray(exact_draws(0, LATTICE, PARAMS, 4000))
    frames = phases(jax.random.key(0), LATTICE, PARAMS, start, [0, 3])
    assert [(phase.sweep, phase.colour) for phase in frames] == [(0, -1), *((s, c) for s in (0, 3) for c in range(4))]
    for before, after in itertools.pairwise(frames[:5]):
        changed = (np.asarray(before.x) != np.asarray(after.x)).any(0)
        assert changed.any() and not changed[LATTICE.colouring != after.colour].any()
    assert (np.asarray(frames[4].x) != np.asarray(frames[5].x)).any(0).sum() > 3  # two whole sweeps lie between
    p = np.asarray(enumeration.distribution(LATTICE, PARAMS))
    assert chi_square_p(empirical(frames[-1].x, LEVELS), p) > ALPHA
    with pytest.raises(ValueError, match=r"shown is \[3, 1\]; allowed: ascending"):
        phases(jax.random.key(0), LATTICE, PARAMS, start, [3, 1])


def test_the_animation_shows_every_phase_and_the_energy(tmp_path):
    start = jnp.asarray(exact_draws(0, LATTICE, PARAMS, 4000))  # as many as above: compiled once
    frames = phases(jax.random.key(0), LATTICE, PARAMS, start, [0])
    energy = -np.asarray(enumeration.log_weights(LATTICE, PARAMS))
    energies = [energy[enumeration.state_numbers(phase.x, LEVELS)] for phase in frames]
    phases_gif(tmp_path / "a.gif", LATTICE, LEVELS, frames, energies, np.arange(3.0) - 5)
    gif = Image.open(tmp_path / "a.gif")
    assert gif.n_frames == len(frames) + 1
    gif.seek(1)
    frame = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(frame[..., 2] - frame[..., 0]).max() > 60  # the tint of the first colour


def test_a_rare_colour_of_a_frame_between_survives(tmp_path):
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8), 3, axis=-1)
    between = grey.copy()
    between[:2, :2] = [220, 40, 60]
    visualization.save_colour_gif(tmp_path / "a.gif", [grey, between, grey], [20, 300, 20], colours=32)
    gif = Image.open(tmp_path / "a.gif")
    gif.seek(1)
    assert gif.info["duration"] == 300
    np.testing.assert_allclose(
        np.asarray(gif.convert("RGB"))[:2, :2].astype(int), np.full((2, 2, 3), [220, 40, 60]), atol=40
    )


def test_an_animation_refuses_what_does_not_fit(tmp_path):
    frame = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match=r"path is .*; allowed: a name that ends in .gif"):
        visualization.save_colour_gif(tmp_path / "a.png", [frame], [10])
    with pytest.raises(ValueError, match="frames has shapes"):
        visualization.save_colour_gif(tmp_path / "a.gif", [frame, frame[:3]], [10, 10])
    with pytest.raises(ValueError, match="milliseconds holds 2 for 1 frames"):
        visualization.save_colour_gif(tmp_path / "a.gif", [frame], [10, 10])


def test_two_heaps_of_images_stay_apart_on_both_maps_and_have_two_prototypes(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (60, 28, 28)).astype(np.uint8)
    heap = np.arange(60) % 3 == 0
    x[heap, :14] = 3
    for points in embed_images(x, 40, 0):
        assert points.shape == (60, 2)
        gap = np.linalg.norm(points[heap].mean(0) - points[~heap].mean(0))
        assert gap > 2 * max(points[part].std(0).max() for part in (heap, ~heap))
    centres = prototypes(x, 2, 0)
    basin = nearest(x, centres)
    np.testing.assert_array_equal(basin, heap.astype(int))  # the larger heap comes first
    pca, tsne = embed_images(x, 40, 0)
    names = ["one", "other"]
    landscape = Landscape(x, x.sum((1, 2)).astype(float), basin, names, (40, 12), [0, 1, 2, 3], pca, tsne)
    assert landscape.trajectories(pca).shape == (2, 4, 2)
    np.testing.assert_array_equal(landscape.trajectories(pca)[1, 0], pca[56])
    landscape_figure(tmp_path / "l.png", landscape, 4, "a title")
    assert np.asarray(Image.open(tmp_path / "l.png").convert("L")).std() > 10
