"""The exploration script prints its numbers and writes a figure; importing it defines no flags."""

from absl import flags
from PIL import Image

from experiments import data_exploration


def test_numbers_and_figure(tmp_path, capsys):
    data_exploration.explore("mnist", [2, 4], str(tmp_path / "data.png"))
    printed = capsys.readouterr().out
    assert "mnist: 54000 training images of 28 x 28" in printed
    assert "2 levels: PSNR 20.68 dB; share of pixels 0.8677 0.1323" in printed
    assert "4 levels: PSNR 27.95 dB" in printed
    with Image.open(tmp_path / "data.png") as picture:
        assert picture.width == 1800
    assert "levels" not in flags.FLAGS
