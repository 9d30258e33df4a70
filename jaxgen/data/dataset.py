"""A dataset in memory, its three parts, and the choice of classes."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxgen.errors import UserError, quoted

PARTS = ("train", "validation", "test")


class Dataset(NamedTuple):
    """Images and labels; the arrays are read-only.

    Attributes:
        name: what the images are, for titles and records.
        train_images: uint8 grey, 0 (background) to 255; (n, H, W), or (n, H, W, 3) for colour.
        train_labels: uint8, 0 to n_classes - 1; all 0 for images without classes.
        test_images, test_labels: the same.
        fingerprint: SHA-256 of the content: two datasets with one fingerprint hold the same images and labels.
        n_validation: the last of the training images that `split` sets aside for validation.
        n_classes: number of classes.
        levels: number of grey levels that the images are known to have; 256 unless their file states another.
        built_in: whether this is MNIST or Fashion-MNIST as published, not images of one's own.
    """

    name: str
    train_images: UInt8[np.ndarray, "n H W *C"]
    train_labels: UInt8[np.ndarray, "n"]
    test_images: UInt8[np.ndarray, "m H W *C"]
    test_labels: UInt8[np.ndarray, "m"]
    fingerprint: str
    n_validation: int = 6_000
    n_classes: int = 10
    levels: int = 256
    built_in: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of the images."""
        return self.train_images.shape[1:3]

    @property
    def channels(self) -> int:
        """Return the number of channels: 1 for grey images, 3 for colour."""
        return 1 if self.train_images.ndim == 3 else self.train_images.shape[3]

    def grey(self) -> "Dataset":
        """Return the dataset itself. UserError if its images have colours, for models of one value per pixel."""
        if self.channels != 1:
            raise UserError(
                f"images has {self.channels} channels in {self.name}; allowed: grey images, (n, height, width); "
                "convert them first, or train a diffusion model"
            )
        return self


def split(dataset: Dataset, part: str) -> tuple[UInt8[np.ndarray, "n H W *C"], UInt8[np.ndarray, "n"]]:
    """Return the images and labels of one part of the fixed three-way split, as views.

    train is the training images without the last `n_validation`, validation is these, test the test images. Both the
    published order of the built-in datasets and the order of `load_images` are mixed over classes, so that no seed
    enters the split.

    Args:
        dataset: from `load`, `load_images` or `open`.
        part: "train", "validation" or "test".

    Raises:
        UserError: another part.
    """
    if part not in PARTS:
        raise UserError(f"part is {part!r}; allowed: {', '.join(PARTS)}")
    if part == "test":
        return dataset.test_images, dataset.test_labels
    cut = len(dataset.train_images) - dataset.n_validation
    chosen = slice(cut) if part == "train" else slice(cut, None)
    return dataset.train_images[chosen], dataset.train_labels[chosen]


def select(
    images: UInt8[np.ndarray, "n ..."], labels: UInt8[np.ndarray, "n"], classes: Sequence[int], n_classes: int = 10
) -> tuple[UInt8[np.ndarray, "m ..."], UInt8[np.ndarray, "m"]]:
    """Return copies of the examples whose label is one of `classes`, in their order.

    Args:
        images: any array with one example per row.
        labels: class of each example, 0 to n_classes - 1.
        classes: classes to keep, for example (3,).
        n_classes: number of classes of the dataset.

    Raises:
        UserError: no class, a class outside 0 to n_classes - 1, or images and labels of different lengths.
    """
    if len(images) != len(labels):
        raise UserError(f"labels has {len(labels)} numbers for {len(images)} images; allowed: one label per image")
    if len(classes) == 0 or any(number not in range(n_classes) for number in classes):
        raise UserError(f"classes is {quoted(list(classes))}; allowed: one or more of 0 to {n_classes - 1}")
    chosen = np.isin(labels, list(classes))
    return images[chosen], labels[chosen]


def parse_classes(
    text: str, n_classes: int = 10, name: str = "classes", named: tuple[str, ...] = ("all",)
) -> list[int]:
    """Return the classes that a flag names: "all", or numbers such as "3" or "0,1,7".

    Args:
        text: the value of the flag.
        n_classes: number of classes of the dataset.
        name: name of the flag, for the message.
        named: values that are no numbers, for the message; the caller itself handles those other than "all".

    Raises:
        UserError: it is neither "all" nor a list of numbers from 0 to n_classes - 1, each once.
    """
    if text == "all":
        return list(range(n_classes))
    words = [word.strip() for word in text.split(",")]
    numbers = [int(word) for word in words if re.fullmatch("[0-9]{1,5}", word) and int(word) < n_classes]
    if len(numbers) < len(words) or len(set(numbers)) < len(numbers):
        raise UserError(
            f"{name} is {quoted(text)}; allowed: {', '.join(map(repr, named))}, or numbers 0 to {n_classes - 1}, each "
            "once, such as '3' or '0,1,7'"
        )
    return numbers
