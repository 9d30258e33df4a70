"""Look at a dataset before modelling it: samples of every class, grey values, and what level coding loses.

    python -m experiments.data_exploration --dataset=mnist --levels=2,4,16 --workdir=runs/data
    python -m experiments.data_exploration --images=my_images.npz --levels=4 --workdir=runs/my_data

prints class counts, the share of pixels at each level and the reconstruction PSNR, and draws them in
figures/data.png. The training part of the split is shown; the first images of each class stand for it.
"""

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxgen import data, runs, visualization
from jaxgen.runs import option

_CLASSES = 10  # most classes that are drawn
_EXAMPLES = 12  # images per class


@dataclasses.dataclass(frozen=True)
class ExplorationConfig:
    dataset: str = option("mnist", "images to look at", group="data", choices=("mnist", "fashion_mnist"))
    images: str = data.images_option()
    data_dir: str = option("", "folder with the dataset's four IDX files instead of the built-in ones", group="data")
    levels: str = option("2,4,16", "numbers of grey levels to code with, separated by commas", group="data")


def run(config: ExplorationConfig, workdir: Path) -> None:
    """Print the numbers and write the figure."""
    codings = runs.integers("levels", config.levels)
    dataset = data.open(config.dataset, config.images, config.data_dir).grey()
    images, labels = data.split(dataset, "train")
    reconstructions = {level: data.decode(data.encode(images, level), level) for level in codings}
    psnrs = {level: data.psnr(images, reconstructions[level]) for level in codings}

    print(f"{dataset.name}: {len(images)} training images of {images.shape[1]} x {images.shape[2]}")
    print("images per class:", " ".join(f"{number}:{count}" for number, count in enumerate(np.bincount(labels))))
    for level in codings:
        shares = np.bincount(data.encode(images, level).ravel(), minlength=level) / images.size
        print(f"{level} levels: PSNR {psnrs[level]:.2f} dB; share of pixels", " ".join(f"{s:.4f}" for s in shares))

    shown = np.unique(labels)[:_CLASSES]
    heights = (5.4, 0.5 + 1.1 * (1 + len(codings)))  # inches: the classes, then one row per reconstruction
    figure = Figure(figsize=(12, sum(heights)), dpi=150, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    left, right = top.subplots(1, 2, width_ratios=(1.25, 1))
    draw_classes(left, images, labels, shown)
    draw_histogram(right, images)
    draw_reconstructions(bottom.subplots(), images, labels, shown, reconstructions, psnrs)
    figure.suptitle(f"{dataset.name}: the {len(images):,} training images", fontsize=14)
    path = workdir / "figures" / "data.png"
    visualization.save_figure(path, figure)
    print(path)


def draw_classes(axes: Axes, images: np.ndarray, labels: np.ndarray, shown: np.ndarray) -> None:
    """Draw one row per class, with its label and its number of images; black where a class has too few."""
    examples = np.zeros((len(shown), _EXAMPLES, *images.shape[1:]), np.uint8)
    for row, number in zip(examples, shown, strict=True):
        first = images[labels == number][:_EXAMPLES]
        row[: len(first)] = first
    examples = examples.reshape(-1, *images.shape[1:])
    axes.imshow(visualization.image_grid(examples, _EXAMPLES), cmap="gray", vmin=0, vmax=255)
    names = [f"class {number} (n = {(labels == number).sum():,})" for number in shown]
    _name_rows(axes, names, images.shape[1])
    axes.set_title(f"The first {_EXAMPLES} images of each class")


def draw_histogram(axes: Axes, images: np.ndarray) -> None:
    """Draw the share of pixels at each of the 256 greys, with the bin edges of 4 levels."""
    shares = np.bincount(images.ravel(), minlength=256) / images.size
    axes.bar(np.arange(256), shares, width=1.0, color="0.35")
    axes.set_yscale("log")
    for index, edge in enumerate((0.25, 0.5, 0.75)):
        axes.axvline(255 * edge, color="C3", linestyle="--", linewidth=1, label=None if index else "edges of 4 levels")
    axes.set(xlabel="grey value (0 black, 255 white)", ylabel="share of all pixels (log scale)", xlim=(-6, 261))
    axes.set_title(f"Grey values: {shares[0]:.0%} of pixels are exactly 0")
    axes.legend()


def draw_reconstructions(
    axes: Axes, images: np.ndarray, labels: np.ndarray, shown: np.ndarray, reconstructions: dict, psnrs: dict
) -> None:
    """Draw the first image of each class as it is, then as it comes back from each number of levels."""
    first = [int(np.argmax(labels == number)) for number in shown]
    rows = [images[first], *(reconstruction[first] for reconstruction in reconstructions.values())]
    axes.imshow(visualization.image_grid(np.concatenate(rows), len(shown)), cmap="gray", vmin=0, vmax=255)
    names = ["original, 256 greys", *(f"{level} levels, PSNR {value:.1f} dB" for level, value in psnrs.items())]
    _name_rows(axes, names, images.shape[1])
    axes.set_title("Coded to a few grey levels and back (PSNR over all training images; higher is closer)")


def _name_rows(axes: Axes, names: list[str], image_height: int) -> None:
    pitch = image_height + 1
    axes.set_yticks([row * pitch + image_height / 2 for row in range(len(names))], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    runs.main(ExplorationConfig, run)
