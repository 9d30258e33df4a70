"""Where the images of a run come from: a built-in dataset, or images of one's own."""

from pathlib import Path
from typing import Any

from jaxgen.data.dataset import Dataset
from jaxgen.data.datasets import SOURCES, load
from jaxgen.data.levels import FEWEST_LEVELS, MOST_LEVELS
from jaxgen.data.own_images import load_images
from jaxgen.errors import UserError, quoted
from jaxgen.runs import option


def dataset_option(help: str = "images to learn", group: str = "data") -> Any:
    """Declare the Config field `dataset` of a command that uses a built-in dataset."""
    return option("mnist", help, group=group, choices=tuple(SOURCES))


def data_dir_option(group: str = "data") -> Any:
    """Declare the Config field `data_dir` of a command that uses a built-in dataset."""
    return option(
        "",
        "folder with the four IDX files of --dataset. Without it MNIST is built in, and Fashion-MNIST is read from the "
        "Debian package dataset-fashion-mnist or downloaded once",
        group=group,
    )


def images_option(group: str = "data") -> Any:
    """Declare the Config field `images` of a family that trains on images."""
    return option(
        "",
        "images of your own in place of --dataset: FILE.npz with images (and labels), an IDX file, or a folder of PNG "
        "files whose sub-folders are classes",
        group=group,
    )


def levels_option(default: int, help: str = "grey levels per pixel", group: str = "data") -> Any:
    """Declare the Config field `levels` of a family whose pixels have discrete levels."""
    return option(default, help, group=group, low=FEWEST_LEVELS, high=MOST_LEVELS)


def name_of(dataset: str, images: str) -> str:
    """Return what the images are called in titles: the dataset, or the file or folder of one's own."""
    return Path(images).name.split(".")[0] if images else dataset


def open(dataset: str = "mnist", images: str = "", data_dir: str = "") -> Dataset:
    """Return the dataset that the flags `--dataset`, `--images` and `--data_dir` name.

    Args:
        dataset: "mnist" or "fashion_mnist"; not read if `images` is given.
        images: path for `load_images`, or "".
        data_dir: folder with the four IDX files of `dataset`, or "".

    Raises:
        UserError: both `images` and `data_dir`, or what `load` and `load_images` refuse.
    """
    if images and data_dir:
        raise UserError(f"data_dir is {quoted(data_dir)} beside images; allowed: one of the two flags")
    return load_images(images) if images else load(dataset, data_dir=data_dir or None)
