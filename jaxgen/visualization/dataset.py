"""A dataset in numbers and in one figure: samples of every class, grey values, and what level coding loses.

PSNR = 10 log10(255^2 / mean (x - decode(encode(x)))^2)    in dB over all training images; higher is closer
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxgen import data, runs
from jaxgen.runs import option
from jaxgen.visualization.grids import image_grid, save_figure

_CLASSES = 10  # most classes that are drawn
_EXAMPLES = 12  # images per class


@dataclasses.dataclass(frozen=True)
class ExplorationConfig:
    """Which images are shown, and in which codings."""

    dataset: str = data.dataset_option("images to look at")
    images: str = data.images_option()
    data_dir: str = data.data_dir_option()
    levels: str = option("2,4,16", "numbers of grey levels to code with, separated by commas", group="data")


class Coded(NamedTuple):
    """The images coded to some levels: the states, what decodes from them, and the PSNR of that in dB."""

    states: UInt8[np.ndarray, "n H W"]
    decoded: UInt8[np.ndarray, "n H W"]
    psnr: float


def explore(config: ExplorationConfig, path: Path) -> str:
    """Draw the training part of a dataset to `path`, and return its numbers as text.

    Raises:
        UserError: levels that are no numbers or out of range, or images that cannot be read.
    """
    levels = runs.integers("levels", config.levels)
    dataset = data.open(config.dataset, config.images, config.data_dir).grey()
    images, labels = data.split(dataset, "train")
    coded = {}
    for level in levels:
        states = data.encode(images, level)
        decoded = data.decode(states, level)
        coded[level] = Coded(states, decoded, data.psnr(images, decoded))
    dataset_figure(path, dataset.name, images, labels, coded)
    return summary(dataset.name, images, labels, coded)


def summary(
    name: str, images: UInt8[np.ndarray, "n H W"], labels: Integer[np.ndarray, "n"], coded: dict[int, Coded]
) -> str:
    """Return size, class counts, and for each coding the PSNR and the share of pixels at each level, as text."""
    lines = [f"{name}: {len(images)} training images of {images.shape[1]} x {images.shape[2]}"]
    lines.append("images per class: " + " ".join(f"{c}:{count}" for c, count in enumerate(np.bincount(labels))))
    for level, (states, _, psnr) in coded.items():
        shares = np.bincount(states.ravel(), minlength=level) / images.size
        shown = " ".join(f"{share:.4f}" for share in shares)
        lines.append(f"{level} levels: PSNR {psnr:.2f} dB; share of pixels {shown}")
    return "\n".join(lines)


def dataset_figure(
    path: Path,
    name: str,
    images: UInt8[np.ndarray, "n H W"],
    labels: Integer[np.ndarray, "n"],
    coded: dict[int, Coded],
) -> None:
    """Write the figure of the classes, of the grey values and of the codings."""
    shown = np.unique(labels)[:_CLASSES]
    heights = (5.4, 0.5 + 1.1 * (1 + len(coded)))  # inches: the classes, then one row per coding
    figure = Figure(figsize=(12, sum(heights)), dpi=150, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    left, right = top.subplots(1, 2, width_ratios=(1.25, 1))
    draw_classes(left, images, labels, shown)
    draw_histogram(right, images)
    draw_codings(bottom.subplots(), images, [int(np.argmax(labels == number)) for number in shown], coded)
    figure.suptitle(f"{name}: the {len(images):,} training images", fontsize=14)
    save_figure(path, figure)


def draw_classes(
    axes: Axes,
    images: UInt8[np.ndarray, "n H W"],
    labels: Integer[np.ndarray, "n"],
    shown: Integer[np.ndarray, "classes"],
) -> None:
    """Draw one row per class, with its label and its number of images; black where a class has too few."""
    examples = np.zeros((len(shown), _EXAMPLES, *images.shape[1:]), np.uint8)
    for row, number in zip(examples, shown, strict=True):
        first = images[labels == number][:_EXAMPLES]
        row[: len(first)] = first
    examples = examples.reshape(-1, *images.shape[1:])
    axes.imshow(image_grid(examples, _EXAMPLES), cmap="gray", vmin=0, vmax=255)
    names = [f"class {number} (n = {(labels == number).sum():,})" for number in shown]
    _name_rows(axes, names, images.shape[1])
    axes.set_title(f"The first {_EXAMPLES} images of each class")


def draw_histogram(axes: Axes, images: UInt8[np.ndarray, "n H W"]) -> None:
    """Draw the share of pixels at each of the 256 grey values, with the bin edges of 4 levels."""
    shares = np.bincount(images.ravel(), minlength=256) / images.size
    axes.bar(np.arange(256), shares, width=1.0, color="0.35")
    axes.set_yscale("log")
    for index, edge in enumerate((0.25, 0.5, 0.75)):
        axes.axvline(255 * edge, color="C3", linestyle="--", linewidth=1, label=None if index else "edges of 4 levels")
    axes.set(xlabel="grey value (0 black, 255 white)", ylabel="share of all pixels (log scale)", xlim=(-6, 261))
    axes.set_title(f"Grey values: {shares[0]:.0%} of pixels are exactly 0")
    axes.legend()


def draw_codings(
    axes: Axes, images: UInt8[np.ndarray, "n H W"], chosen: Sequence[int], coded: dict[int, Coded]
) -> None:
    """Draw the chosen images as they are, then as they decode from each number of levels."""
    rows = [images[chosen], *(coding.decoded[chosen] for coding in coded.values())]
    axes.imshow(image_grid(np.concatenate(rows), len(chosen)), cmap="gray", vmin=0, vmax=255)
    names = [
        "original, 256 grey values",
        *(f"{level} levels, PSNR {coding.psnr:.1f} dB" for level, coding in coded.items()),
    ]
    _name_rows(axes, names, images.shape[1])
    axes.set_title("Coded to a few grey levels and back (PSNR over all training images; higher is closer)")


def _name_rows(axes: Axes, names: Sequence[str], image_height: int) -> None:
    pitch = image_height + 1
    axes.set_yticks([row * pitch + image_height / 2 for row in range(len(names))], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
