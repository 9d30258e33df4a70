"""Masks of the given pixels of an image: parts of it, pixels at random, or a file."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Bool, Key

from jaxgen import data, runs
from jaxgen.errors import UserError, quoted

PARTS = {"top": "upper", "bottom": "lower", "left": "left", "right": "right"}
_ALLOWED = "top, bottom, left, right, random, all, or a PNG or NPZ file"


def pixel_mask(key: Key[Array, ""], mask: str, share: float, shape: tuple[int, int, int]) -> Bool[np.ndarray, "*n H W"]:
    """Return True where a pixel is given.

    Args:
        key: random key, for pixels at random.
        mask: one of `PARTS`, "random", "all", or the path of a PNG file, white where given, or of an NPZ file with a
            boolean array mask of shape (H, W) or (n, H, W).
        share: share of the rows, columns or pixels that are given; not read for a file.
        shape: number, height and width of the images.

    Raises:
        UserError: an unknown word, a missing file, or a mask of another size.
    """
    n, height, width = shape
    known = np.zeros((height, width), bool)
    rows, columns = round(share * height), round(share * width)
    match mask:
        case "top":
            known[:rows] = True
        case "bottom":
            known[height - rows :] = True
        case "left":
            known[:, :columns] = True
        case "right":
            known[:, width - columns :] = True
        case "all":
            known[:] = True
        case "random":
            ranks = np.argsort(np.asarray(jax.random.uniform(key, (n, height * width))), axis=1).argsort(axis=1)
            known = (ranks < round(share * height * width)).reshape(shape)
        case _:
            known = _read_mask(mask, shape)
    return known


def _read_mask(mask: str, shape: tuple[int, int, int]) -> Bool[np.ndarray, "*n H W"]:
    path = runs.expanded(mask, "mask")
    if not path.is_file():
        raise UserError(f"mask is {quoted(mask)}; allowed: {_ALLOWED}")
    if path.suffix == ".npz":
        known = runs.read_npz(path, "mask", "an NPZ file with a boolean array mask").get("mask")
        if known is None or known.dtype != bool:
            got = "no array mask" if known is None else f"a mask of {known.dtype}"
            raise UserError(f"mask is {path}, which holds {got}; allowed: a boolean array mask, True where given")
    else:
        images, _ = data.read_images(path)
        known = images[0] > 127
    if known.shape not in (shape, shape[1:]):
        raise UserError(f"mask is {path} of shape {known.shape}; allowed: {shape[1:]} or {shape}, that of the images")
    return known


def described(mask: str, share: float, noise: float, known: Bool[np.ndarray, "n H W"]) -> str:
    """Return in words which pixels were given."""
    percent = f"{100 * share:g} %"
    if mask in PARTS:
        side = "half" if share == 0.5 else f"{percent} of the image"
        text = f"given: the {PARTS[mask]} {side}"
    elif mask == "random":
        text = f"given: {percent} of the pixels, chosen at random"
    elif mask == "all":
        text = "given: the whole image"
    else:
        text = f"given: the pixels of {Path(mask).name}, {100 * known.mean():.0f} % of the image"
    if noise:
        text += f", {100 * noise:g} % of it replaced by random levels"
    return text + "; the model drew the rest" * (not known.all()) + "; draws are clean images" * bool(noise)
