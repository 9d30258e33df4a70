"""Where the images of a run come from: a built-in dataset, or images of one's own."""

from pathlib import Path
from typing import Any

from jaxgen.data.dataset import Dataset
from jaxgen.data.datasets import load
from jaxgen.data.own_images import load_images
from jaxgen.errors import UserError, quoted
from jaxgen.runs import option


def images_option(group: str = "data") -> Any:
    """Declare the Config field `images` of a family that trains on images."""
    return option(
        "",
        "images of your own in place of --dataset: FILE.npz with images (and labels), an IDX file, or a folder of PNG "
        "files whose sub-folders are classes",
        group=group,
    )


def name_of(dataset: str, images: str) -> str:
    """Return what the images are called in titles: the dataset, or the file or folder of one's own."""
    return Path(images).expanduser().name.split(".")[0] if images else dataset


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
