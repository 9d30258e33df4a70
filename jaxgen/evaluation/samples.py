"""Samples to be evaluated: images with or without labels, checked before anything is computed from them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8

from jaxgen import data, runs
from jaxgen.errors import UserError, shortened

MIN_SAMPLES = 2000  # two disjoint subsets of KID; well above the 64 numbers of a feature vector
MAX_SAMPLES = 10_000  # as many as there are test images


class Rules(NamedTuple):
    """What samples must have: size of the images, number of classes, least number of samples."""

    size: tuple[int, int] = (28, 28)
    n_classes: int = 10
    fewest: int = MIN_SAMPLES


STANDARD = Rules()


class Samples(NamedTuple):
    """Checked samples: uint8 grey, their classes or None, and the number of levels they are coded with or None."""

    images: UInt8[np.ndarray, "n H W"]
    labels: UInt8[np.ndarray, "n"] | None
    levels: int | None


def load_samples(
    path: str | Path, levels: int | None = None, labels: bool | None = None, rules: Rules = STANDARD
) -> Samples:
    """Return the samples of an NPZ file.

    It holds `images`, uint8 grey or floats in [0, 1], or `states`, 0 to levels - 1; perhaps `levels`; perhaps `labels`.

    Args:
        path: the file.
        levels: the coding, where the file does not say it.
        labels: True insists on labels, False ignores them, None takes them if they are there.
        rules: what they must have.

    Raises:
        UserError: no such file or not NPZ, arrays missing or contradictory, or what `check_samples` refuses.
    """
    arrays = _read(Path(path))
    levels = _levels(path, arrays, levels)
    if labels and "labels" not in arrays:
        raise UserError(
            f"labels is missing in {path}; allowed with --labels: one class, 0 to {rules.n_classes - 1}, per sample"
        )
    given = None if labels is False else arrays.get("labels")
    coding = None if levels == data.MOST_LEVELS else levels
    if "states" not in arrays:
        return check_samples(arrays["images"], given, coding, rules)
    states = arrays["states"]
    if states.dtype.kind not in "iu" or states.ndim != 3:
        size = f"(n, {rules.size[0]}, {rules.size[1]})"
        raise UserError(f"states is {states.dtype} of shape {states.shape}; allowed: integers {size}")
    return check_samples(data.decode(states, levels), given, coding, rules)


def check_samples(
    images: UInt8[np.ndarray, "n H W"] | Float[np.ndarray, "n H W"],
    labels: Integer[np.ndarray, "n"] | None = None,
    levels: int | None = None,
    rules: Rules = STANDARD,
) -> Samples:
    """Return the samples as uint8.

    Args:
        images: grey 0 to 255, or floats in [0, 1], which are rounded to the nearest of 256 greys as a file would.
        labels: classes, 0 to n_classes - 1.
        levels: number of levels if the images are states decoded by `data.decode`.
        rules: what they must have.

    Raises:
        UserError: wrong shape, type or range, not finite, too few, labels that do not fit, or greys that are none of
            the decoded levels.
    """
    images = np.asarray(images)
    if images.ndim != 3 or images.shape[1:] != rules.size:
        raise UserError(f"images has shape {images.shape}; allowed: (n, {rules.size[0]}, {rules.size[1]})")
    if len(images) < rules.fewest:
        raise UserError(f"images has {len(images)} images; allowed: {rules.fewest} or more")
    if np.issubdtype(images.dtype, np.floating):
        if not np.isfinite(images).all():
            raise UserError(f"images has {np.sum(~np.isfinite(images))} nan or infinite values; allowed: [0, 1]")
        if images.min() < 0 or images.max() > 1:
            raise UserError(f"images has floats from {images.min():g} to {images.max():g}; allowed: [0, 1]")
        images = np.rint(images * 255).astype(np.uint8)
    elif images.dtype != np.uint8:
        raise UserError(f"images has dtype {images.dtype}; allowed: uint8 grey, or floats in [0, 1]")
    if levels is not None:
        allowed = data.decode(np.arange(levels), levels)
        greys = np.flatnonzero(np.bincount(images.ravel(), minlength=256))
        if not np.isin(greys, allowed).all():
            raise UserError(
                f"images has {len(greys)} greys, among them {np.setdiff1d(greys, allowed)[0]}; allowed with "
                f"levels={levels}: {shortened(', '.join(map(str, allowed)), 60)}"
            )
    if labels is not None:
        labels = _check_labels(np.asarray(labels), len(images), rules.n_classes)
    return Samples(images, labels, levels)


def _check_labels(labels: np.ndarray, n: int, n_classes: int) -> UInt8[np.ndarray, "n"]:
    if labels.shape != (n,):
        raise UserError(f"labels has shape {labels.shape} for {n} images; allowed: ({n},)")
    if labels.dtype.kind not in "iu":
        raise UserError(f"labels has dtype {labels.dtype}; allowed: integers 0 to {n_classes - 1}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise UserError(f"labels has classes {labels.min()} to {labels.max()}; allowed: 0 to {n_classes - 1}")
    return labels.astype(np.uint8)


def _read(path: Path) -> dict[str, np.ndarray]:
    arrays = runs.read_npz(path, "samples", "an NPZ file of numbers, with images or states")
    if ("images" in arrays) == ("states" in arrays):
        raise UserError(f"samples is {path} with {', '.join(arrays)}; allowed: one of images and states")
    return arrays


def _levels(path: str | Path, arrays: dict[str, np.ndarray], stated: int | None) -> int | None:
    """Return the coding of a file, from the file or the caller. UserError if they contradict each other."""
    array = arrays.get("levels")
    if array is not None and (array.shape != () or array.dtype.kind not in "iu"):
        raise UserError(f"levels is {array.dtype} of shape {array.shape} in {path}; allowed: one integer")
    in_file = None if array is None else int(array)
    if in_file is not None and stated not in (None, in_file):
        raise UserError(f"levels is {stated}, but {path} says {in_file}; allowed: {in_file}")
    levels = stated if in_file is None else in_file
    allowed = f"{data.FEWEST_LEVELS} to {data.MOST_LEVELS}"
    if levels is None and "states" in arrays:
        raise UserError(f"levels is missing for the states of {path}; allowed: {allowed}")
    if levels is not None and not data.FEWEST_LEVELS <= levels <= data.MOST_LEVELS:
        raise UserError(f"levels is {levels} in {path}; allowed: {allowed}")
    return levels
