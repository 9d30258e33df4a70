"""What comes in: images with or without labels, checked before anything is computed from them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgen import data, runs
from jaxgen.errors import UserError
from jaxgen.evaluation.networks import N_CLASSES

SIDE = 28
MIN_SAMPLES = 2000  # two disjoint subsets of KID; well above the 64 numbers of a feature vector
MAX_SAMPLES = 10_000  # as many as there are test images


class Samples(NamedTuple):
    """Checked samples: uint8 grey, their classes or None, and the number of levels they are coded with or None."""

    images: UInt8[np.ndarray, "n 28 28"]
    labels: UInt8[np.ndarray, "n"] | None
    levels: int | None


def load_samples(path: str | Path, levels: int | None = None, labels: bool | None = None) -> Samples:
    """Samples of an NPZ file.

    It holds `images`, uint8 grey or floats in [0, 1], or `states`, 0 to levels - 1; perhaps `levels`; perhaps `labels`.

    Args:
        path: the file.
        levels: the coding, where the file does not say it.
        labels: True insists on labels, False ignores them, None takes them if they are there.

    Raises:
        ValueError: no such file or not NPZ, arrays missing or contradictory, or what `check_samples` refuses.
    """
    arrays = _read(Path(path))
    levels = _levels(path, arrays, levels)
    if labels and "labels" not in arrays:
        raise UserError(f"labels: got none in {path}; allowed with --labels: one class, 0 to 9, a sample")
    given = None if labels is False else arrays.get("labels")
    if "states" not in arrays:
        return check_samples(arrays["images"], given, levels)
    states = arrays["states"]
    if states.dtype.kind not in "iu" or states.ndim != 3:
        raise UserError(f"states: got {states.dtype} of shape {states.shape}; allowed: integers (n, {SIDE}, {SIDE})")
    return check_samples(data.decode(states, levels), given, levels)


def check_samples(
    images: UInt8[np.ndarray, "n 28 28"] | Float[np.ndarray, "n 28 28"],
    labels: Int[np.ndarray, "n"] | None = None,
    levels: int | None = None,
) -> Samples:
    """The samples as uint8, or ValueError naming what is wrong.

    Args:
        images: grey 0 to 255, or floats in [0, 1], which are rounded to the nearest of 256 greys as a file would.
        labels: classes 0 to 9.
        levels: 2, 4 or 16 if the images are states decoded by `data.decode`.

    Raises:
        ValueError: wrong shape, type or range, not finite, too few, labels that do not fit, or greys that are none of
            the decoded levels.
    """
    images = np.asarray(images)
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise UserError(f"images: got shape {images.shape}; allowed: (n, {SIDE}, {SIDE})")
    if len(images) < MIN_SAMPLES:
        raise UserError(f"images: got {len(images)}; allowed: {MIN_SAMPLES} or more")
    if np.issubdtype(images.dtype, np.floating):
        if not np.isfinite(images).all():
            raise UserError(f"images: got {np.sum(~np.isfinite(images))} values nan or infinite; allowed: [0, 1]")
        if images.min() < 0 or images.max() > 1:
            raise UserError(f"images: got floats from {images.min():g} to {images.max():g}; allowed: [0, 1]")
        images = np.rint(images * 255).astype(np.uint8)
    elif images.dtype != np.uint8:
        raise UserError(f"images: got dtype {images.dtype}; allowed: uint8 grey, or floats in [0, 1]")
    if levels is not None:
        allowed = data.decode(np.arange(levels), levels)
        found = np.flatnonzero(np.bincount(images.ravel(), minlength=256))
        if not np.isin(found, allowed).all():
            raise UserError(
                f"images: got {len(found)} greys, among them {np.setdiff1d(found, allowed)[0]}; allowed with "
                f"levels={levels}: {', '.join(map(str, allowed))}"
            )
    return Samples(images, None if labels is None else _check_labels(np.asarray(labels), len(images)), levels)


def _check_labels(labels: np.ndarray, n: int) -> UInt8[np.ndarray, "n"]:
    if labels.shape != (n,):
        raise UserError(f"labels: got shape {labels.shape} for {n} images; allowed: ({n},)")
    if labels.dtype.kind not in "iu":
        raise UserError(f"labels: got dtype {labels.dtype}; allowed: integers 0 to {N_CLASSES - 1}")
    if labels.min() < 0 or labels.max() >= N_CLASSES:
        raise UserError(f"labels: got classes {labels.min()} to {labels.max()}; allowed: 0 to {N_CLASSES - 1}")
    return labels.astype(np.uint8)


def _read(path: Path) -> dict[str, np.ndarray]:
    arrays = runs.read_npz(path, "samples", "an NPZ file of numbers, with images or states")
    if ("images" in arrays) == ("states" in arrays):
        raise UserError(f"samples is {path} with {', '.join(arrays)}; allowed: one of images and states")
    return arrays


def _levels(path: str | Path, arrays: dict[str, np.ndarray], stated: int | None) -> int | None:
    """The coding of a file, from the file or the caller, who may not disagree."""
    found = arrays.get("levels")
    if found is not None and (found.shape != () or found.dtype.kind not in "iu"):
        raise UserError(f"levels: got {found.dtype} of shape {found.shape} in {path}; allowed: one integer")
    found = None if found is None else int(found)
    if found is not None and stated not in (None, found):
        raise UserError(f"levels is {stated}, but {path} says {found}; allowed: {found}")
    levels = stated if found is None else found
    if levels is None and "states" in arrays:
        raise UserError(f"levels: got none for the states of {path}; allowed: {data.ALLOWED_LEVELS}")
    if levels is not None and levels not in data.ALLOWED_LEVELS:
        raise UserError(f"levels: got {levels} in {path}; allowed: {', '.join(map(str, data.ALLOWED_LEVELS))}")
    return levels
