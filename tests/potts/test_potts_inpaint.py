"""Completed and cleaned images: the exact law of the unknown pixels, by enumeration."""

import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from jaxgen import data, gibbs, potts
from jaxgen.errors import UserError
from jaxgen.potts.figures import inpainting as inpainting_figures
from jaxgen.potts.studies import inpainting
from jaxgen.potts.studies.masks import described, pixel_mask

LATTICE = gibbs.Lattice.grid(2, 3)
MODEL = potts.PottsEBM(LATTICE, levels=3, n_classes=2)
CHAINS, BETA, NOISE = 4000, 0.7, 0.4


@pytest.fixture(scope="module")
def params():
    zeros = MODEL.init(jax.random.key(0), jnp.zeros((1, 2, 3), jnp.uint8), jnp.zeros(1, jnp.uint8))["params"]
    leaves, tree = jax.tree.flatten(zeros)
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves])


def exact(params, label, log_weight):
    """All states and p(state) ~ exp(-beta E(state, label) + log_weight(state))."""
    states = np.array(list(itertools.product(range(3), repeat=6)), np.uint8).reshape(-1, 2, 3)
    energy = MODEL.apply({"params": params}, states, np.full(len(states), label))
    log_p = -BETA * np.asarray(energy, np.float64) + log_weight(states)
    p = np.exp(log_p - log_p.max())
    return states, p / p.sum()


def assert_law(drawn, states, p):
    code = 3 ** np.arange(6)
    number = np.zeros(3**6, int)
    number[states.reshape(-1, 6) @ code] = np.arange(len(states))
    count = np.bincount(number[np.asarray(drawn).reshape(-1, 6) @ code], minlength=len(states))
    assert count[p == 0].sum() == 0
    rare = CHAINS * p < 5
    observed, expected = np.append(count[~rare], count[rare].sum()), CHAINS * np.append(p[~rare], p[rare].sum())
    inside = expected > 0
    assert scipy.stats.chisquare(observed[inside], expected[inside]).pvalue > 1e-4


def test_inpainted_pixels_have_the_conditional_law_and_known_ones_stay(params):
    known = np.array([[True, False, False], [False, True, False]])
    image = np.array([[2, 0, 0], [0, 1, 0]], np.uint8)
    given = np.where(known, image, 9).astype(np.uint8)  # what is unknown is not read
    images = np.broadcast_to(given, (CHAINS, 2, 3))
    drawn = potts.inpaint(jax.random.key(2), MODEL, params, images, known, 60, label=np.ones(CHAINS, int), beta=BETA)
    fits = lambda x: np.where((x == image)[:, known].all(1), 0.0, -np.inf)  # noqa: E731
    assert_law(drawn, *exact(params, 1, fits))


def test_clean_images_have_the_law_given_the_noisy_ones(params):
    seen = np.array([[True, True, False], [True, True, True]])
    image = np.array([[2, 0, 1], [0, 1, 2]], np.uint8)
    images, label = np.broadcast_to(image, (CHAINS, 2, 3)), np.zeros(CHAINS, int)
    drawn = potts.denoise(jax.random.key(3), MODEL, params, images, NOISE, 60, seen=seen, label=label, beta=BETA)

    def log_q(x):
        q = np.where(x == image, 1 - NOISE, 0.0) + NOISE / 3
        return np.where(seen, np.log(q), 0.0).sum((1, 2))

    assert_law(drawn, *exact(params, 0, log_q))


def test_a_graph_is_inpainted_as_a_lattice_is():
    graph = gibbs.Graph([(0, 1), (1, 2)], 3, [2, 4, 3])
    model = potts.GraphEBM(graph)
    params = model.init(jax.random.key(0), jnp.zeros((1, 3), jnp.uint8))["params"]
    images = np.tile(np.array([[1, 3, 0]], np.uint8), (400, 1))
    drawn = np.asarray(potts.inpaint(jax.random.key(1), model, params, images, np.array([False, True, False]), 2))
    assert (drawn[:, 1] == 3).all()
    assert set(drawn[:, 0]) == {0, 1} and set(drawn[:, 2]) == {0, 1, 2}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"known": np.ones((2, 2), bool)}, r"mask is bool \(2, 2\); allowed: bool \(2, 3\) or \(4, 2, 3\)"),
        ({"known": np.ones((2, 3))}, "mask is float64"),
        ({"label": None}, "label is None; allowed for a model of 2 classes: one class per image"),
        ({"label": np.zeros(3, int)}, r"label has shape \(3,\); allowed: \(4,\)"),
        ({"label": np.full(4, 2)}, "label has a value of 2; allowed: 0 to 1"),
        ({"n_sweeps": 0}, "n_sweeps is 0; allowed"),
        ({"images": np.full((4, 2, 3), 3)}, "images has a value of 3; allowed: 0 to 2"),
        ({"images": np.full((4, 2, 3), 256)}, "images has a value of 256; allowed: 0 to 2"),
        ({"images": np.full((4, 2, 3), -1)}, "images has a value of -1; allowed: 0 to 2"),
        ({"images": np.full((4, 2, 3), 0.5)}, "images is float64; allowed: integers 0 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(params, changes, message):
    arguments = {"known": np.ones((2, 3), bool), "n_sweeps": 2, "label": np.zeros(4, int)}
    arguments = arguments | {"images": np.zeros((4, 2, 3), np.uint8)} | changes
    with pytest.raises(UserError, match=message):
        potts.inpaint(jax.random.key(0), MODEL, params, **arguments)
    if "images" in changes:
        with pytest.raises(UserError, match=message):
            potts.denoise(jax.random.key(0), MODEL, params, changes["images"], 0.1, label=np.zeros(4, int))
    with pytest.raises(UserError, match="noise is 0; allowed: above 0"):
        potts.denoise(jax.random.key(0), MODEL, params, np.zeros((4, 2, 3), np.uint8), 0)


def test_masks_by_side_at_random_and_from_files(tmp_path):
    def mask(name, share=0.5):
        return pixel_mask(jax.random.key(0), str(name), share, (3, 4, 6))

    assert mask("top")[:2].all() and not mask("top")[2:].any()
    assert mask("bottom", 0.25)[3].all() and mask("bottom", 0.25).sum() == 6
    np.testing.assert_array_equal(mask("left"), ~mask("right"))
    random = mask("random", 0.25)
    assert random.shape == (3, 4, 6) and (random.sum((1, 2)) == 6).all() and (random[0] != random[1]).any()
    picture = np.zeros((4, 6), np.uint8)
    picture[1] = 255
    Image.fromarray(picture).save(tmp_path / "hole.png")
    np.savez(tmp_path / "hole.npz", mask=np.stack([picture > 0] * 3))
    np.testing.assert_array_equal(mask(tmp_path / "hole.png"), picture > 0)
    assert mask(tmp_path / "hole.npz").shape == (3, 4, 6)
    np.savez(tmp_path / "grey.npz", mask=picture)
    np.savez(tmp_path / "small.npz", mask=np.ones((4, 5), bool))
    for name, message in {
        "middle": "mask is 'middle'; allowed: top, bottom",
        tmp_path / "grey.npz": "holds a mask of uint8; allowed: a boolean array mask",
        tmp_path / "small.npz": r"shape \(4, 5\); allowed: \(4, 6\) or \(3, 4, 6\)",
    }.items():
        with pytest.raises(UserError, match=message):
            mask(name)
    assert described("random", 0.2, 0.0, random) == (
        "given: 20 % of the pixels, chosen at random; the model drew the rest"
    )


def test_images_to_complete_keep_their_order_and_may_be_few(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6)).astype(np.uint8)
    np.savez(tmp_path / "few.npz", images=images, labels=np.array([2, 0, 1]))
    read, labels = data.read_images(tmp_path / "few.npz")
    np.testing.assert_array_equal(read, images)
    assert labels.tolist() == [2, 0, 1]
    Image.fromarray(images[1]).save(tmp_path / "one.png")
    read, labels = data.read_images(tmp_path / "one.png")
    np.testing.assert_array_equal(read, images[1:2])
    assert labels is None


def test_the_name_of_the_files_written_fits_whatever_the_mask_is_called():
    """A name too long for the file system would be refused only after everything is drawn."""
    for letter in ("m", "\u00e9", "\u4e16", "\U0001f600", "\udcff"):
        long = letter * (240 // len(letter.encode(errors="surrogateescape")))
        config = inpainting.InpaintConfig(mask=f"{long}.png", images=f"x/{long}.npz", share=0.123456789, noise=1 / 3)
        assert len(os.fsencode(inpainting.file_name(config, 10**9))) < 230
    assert inpainting.file_name(inpainting.InpaintConfig(mask="a/hole.png"), 5) == "inpaint_step5_hole"


def test_by_default_half_an_image_is_given_and_all_of_a_noisy_one():
    assert inpainting.InpaintConfig().given == "top" and inpainting.InpaintConfig(noise=0.2).given == "all"
    assert inpainting.InpaintConfig(noise=0.2, mask="left").given == "left"


@pytest.mark.parametrize("draws", [1, 6])
def test_the_longest_title_fits_into_the_figure(draws, tmp_path, monkeypatch):
    figures, known = [], np.ones((2, 8, 8), bool)
    monkeypatch.setattr(inpainting_figures, "save_figure", lambda path, figure: figures.append(figure))
    columns = [(name, np.zeros((2, 8, 8), np.uint8)) for name in ("image", "given", *["draw"] * draws)]
    title = described("random", 0.123, 0.123, ~known)
    inpainting_figures.inpainting_figure(tmp_path / "x.png", columns, ("given", ~known), title)
    (figure,) = figures
    figure.canvas.draw()
    box, page = figure._suptitle.get_window_extent(), figure.bbox
    # Pixels of the 8 x 8 images are drawn 4 times as large; 2 lie between the images, in two rows.
    assert figure.axes[0].images[0].get_array().shape == (2 * 32 + 2, 34 * len(columns) - 2, 3)
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and box.y1 <= page.y1
