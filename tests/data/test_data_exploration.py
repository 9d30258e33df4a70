"""The exploration script prints its numbers, writes a figure and refuses what cannot be coded."""

import numpy as np
import pytest
from PIL import Image

from experiments import data_exploration
from experiments.data_exploration import ExplorationConfig


@pytest.mark.slow  # as the command does it, on all images of MNIST: 0.6 GB
def test_numbers_and_figure(tmp_path, capsys):
    data_exploration.run(ExplorationConfig(levels="2, 4"), tmp_path)
    printed = capsys.readouterr().out
    assert "mnist: 54000 training images of 28 x 28" in printed
    assert "2 levels: PSNR 20.68 dB; share of pixels 0.8677 0.1323" in printed
    assert "4 levels: PSNR 27.95 dB" in printed
    with Image.open(tmp_path / "figures" / "data.png") as picture:
        assert picture.width == 1800


def test_images_of_ones_own(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 17, (300, 8, 8))
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(300) % 3, levels=17)
    data_exploration.run(ExplorationConfig(images=str(tmp_path / "own.npz"), levels="17"), tmp_path)
    printed = capsys.readouterr().out
    assert "own: 243 training images of 8 x 8" in printed and "17 levels: PSNR inf dB" in printed


@pytest.mark.parametrize(
    "levels, message",
    [
        ("", "levels is ''; allowed: integers, 1 or more, each once"),
        ("4,x", "levels is '4,x'"),
        ("4,257", "levels is 257; allowed: an integer from 2 to 256"),
    ],
)
def test_levels_that_are_none(levels, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        data_exploration.run(ExplorationConfig(levels=levels), tmp_path)
