"""Grids: every image in its place, files that read back to the same greys, and refusals by name."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgen.data import decode
from jaxgen.visualization import Panel, image_grid, samples_figure, save_gif, save_image

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)


@pytest.mark.parametrize("pad", [0, 1, 2])
def test_every_image_is_in_its_place(pad):
    grid = image_grid(IMAGES, columns=3, pad=pad)
    assert grid.shape == (2 * 3 + pad, 3 * 4 + 2 * pad)
    expected = np.full(grid.shape, 128)
    for index, image in enumerate(IMAGES):
        row, column = divmod(index, 3)
        expected[row * (3 + pad) :, column * (4 + pad) :][:3, :4] = image
    np.testing.assert_array_equal(grid, expected)


def test_default_columns_are_about_square():
    assert image_grid(np.zeros((10, 2, 2), np.uint8), pad=0).shape == (3 * 2, 4 * 2)
    assert image_grid(np.zeros((9, 2, 2), np.uint8), pad=0).shape == (3 * 2, 3 * 2)


def test_floats_are_rounded_to_the_nearest_grey():
    greys = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for values in (greys / 255, jnp.asarray(greys / 255, jnp.float32), jnp.asarray(greys)):
        np.testing.assert_array_equal(image_grid(values), greys[0])
    np.testing.assert_array_equal(image_grid(np.full((1, 1, 1), 0.999)), 255)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (IMAGES[0], {}, r"images has shape \(3, 4\)"),
        (IMAGES[:0], {}, r"images has shape \(0, 3, 4\)"),
        (IMAGES.astype(np.int32), {}, "images has dtype int32"),
        (IMAGES.astype(float), {}, "images has values 4.0 to 248.0; allowed: float in"),
        (np.full((1, 2, 2), -0.1), {}, "images has values -0.1"),
        (np.full((1, 2, 2), np.nan), {}, "images has values nan"),
        (IMAGES, {"columns": 0}, "columns is 0; allowed: 1 or more"),
        (IMAGES, {"pad": -1}, "pad is -1; allowed: 0 or more"),
    ],
)
def test_grid_refuses_by_name(images, options, message):
    with pytest.raises(ValueError, match=message):
        image_grid(images, **options)


def test_image_file_holds_the_greys_enlarged(tmp_path):
    path = tmp_path / "new" / "a.png"
    save_image(path, IMAGES[0], scale=3)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.kron(IMAGES[0], np.ones((3, 3), np.uint8)))
    assert list(path.parent.iterdir()) == [path]


def test_gif_holds_frames_and_time(tmp_path):
    path = tmp_path / "a.gif"
    save_gif(path, list(IMAGES), fps=12.5, scale=2)
    with Image.open(path) as gif:
        assert gif.n_frames == len(IMAGES)
        assert gif.info["loop"] == 0
        for index, image in enumerate(IMAGES):
            gif.seek(index)
            assert gif.info["duration"] == 80
            np.testing.assert_array_equal(np.asarray(gif.convert("L")), np.kron(image, np.ones((2, 2), np.uint8)))


def test_files_refuse_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"path is .*a\.jpg'; allowed: a name that ends in \.png"):
        save_image(tmp_path / "a.jpg", IMAGES[0])
    with pytest.raises(ValueError, match=r"array is uint8 of shape \(5, 3, 4\)"):
        save_image(tmp_path / "a.png", IMAGES)
    with pytest.raises(ValueError, match="scale is 0; allowed: 1 or more"):
        save_image(tmp_path / "a.png", IMAGES[0], scale=0)
    with pytest.raises(ValueError, match=r"path is .*a\.png'; allowed: a name that ends in \.gif"):
        save_gif(tmp_path / "a.png", IMAGES, fps=5)
    with pytest.raises(ValueError, match=r"frames has shapes \[\]"):
        save_gif(tmp_path / "a.gif", [], fps=5)
    with pytest.raises(ValueError, match=r"frames has shapes \[\(2, 4\), \(3, 4\)\]"):
        save_gif(tmp_path / "a.gif", [IMAGES[0], IMAGES[1][:2]], fps=5)
    for fps in (0, 51):
        with pytest.raises(ValueError, match=f"fps is {fps}; allowed: 0.01 to 50"):
            save_gif(tmp_path / "a.gif", IMAGES, fps=fps)
    with pytest.raises(ValueError, match="panels is empty"):
        samples_figure(tmp_path / "a.png", [])
    with pytest.raises(ValueError, match=r"path is .*; allowed: a name that ends in \.png, \.pdf, \.svg"):
        samples_figure(tmp_path / "a", [("data", IMAGES)])
    assert list(tmp_path.iterdir()) == []


def test_figure_draws_each_panel_decoded_in_its_order(tmp_path):
    """The brightness of the two halves tells white data on the left from black states on the right."""
    path = tmp_path / "a.png"
    states = np.full((9, 8, 8), 3, np.uint8)
    samples_figure(path, [("data", states, 4), Panel("samples", np.zeros((9, 8, 8)))], title="run")
    picture = np.asarray(Image.open(path).convert("L"), float)
    height, width = picture.shape
    assert width == 2 * 540
    left, right = (picture[height // 4 : -height // 8, start:][:, 50 : width // 2 - 50] for start in (0, width // 2))
    assert np.median(left) == decode(np.uint8([3]), 4)[0] == 255
    assert np.median(right) == 0
    with pytest.raises(ValueError, match="states has values 3 to 3; allowed: 0 to 1"):
        samples_figure(path, [("data", states, 2)])
