"""Inpainting by replacement with resampling.

    x_s <- m q(x_s | known) + (1 - m) x_s      after every step from t to s; at s = 0 the known pixels themselves
    x_t <- q(x_t | x_s), then the step again   repeats - 1 times

Song et al. (2021, score SDE), section 5, and Lugmayr et al. (2022, RePaint), algorithm 1. After a single replacement
the unknown pixels have seen the known pixels only through independent noise, and follow them too weakly: for two pixels
with correlation 0.9 and one of them known to be 0.5, the mean of the other is 0.23 where 0.45 is exact. The repetitions
let both parts agree at every noise level.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer, UInt8

from jaxgen import data
from jaxgen.diffusion.process import Images, Process, Times, q_sample
from jaxgen.errors import UserError

REGIONS = ("top", "bottom", "left", "right", "centre")
REPEATS = 10


class Known(NamedTuple):
    """Images in [-1, 1], the mask that is True where they are known, (height, width, 1), and the repetitions."""

    images: Images
    mask: Bool[Array, "height width 1"]
    repeats: int = REPEATS


def replace_known(process: Process, known: Known, x: Images, t: Times, noise: Images) -> Images:
    """Return x_t with its known pixels drawn from the forward process of the known images."""
    return jnp.where(known.mask, q_sample(process, known.images, t, noise), x)


def known_mask(region: str, height: int, width: int) -> Bool[Array, "height width 1"]:
    """Return the mask of everything except a half, or except the central square of half the side.

    Raises:
        UserError: the region is not one of REGIONS.
    """
    if region not in REGIONS:
        raise UserError(f"inpaint is {region!r}; allowed: {', '.join(REGIONS)}")
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]
    missing = {
        "top": rows < height // 2,
        "bottom": rows >= height // 2,
        "left": columns < width // 2,
        "right": columns >= width // 2,
        "centre": (abs(2 * rows + 1 - height) < height // 2) & (abs(2 * columns + 1 - width) < width // 2),
    }[region]
    return ~jnp.broadcast_to(missing, (height, width))[..., None]


def known_images(
    images: data.Dataset, label: Integer[np.ndarray, "n"], region: str
) -> tuple[UInt8[np.ndarray, "n height width"], Known]:
    """Return test images of the classes `label`, and what is known of them with this region missing.

    Raises:
        UserError: a region that is not one of REGIONS, or a class without test images.
    """
    test, classes = data.split(images, "test")
    turn = np.array([np.sum(label[:k] == digit) for k, digit in enumerate(label)])
    places = {digit: np.flatnonzero(classes == digit) for digit in set(label.tolist())}
    missing = [digit for digit, rows in places.items() if not len(rows)]
    if missing:
        there = sorted(set(classes.tolist()))
        raise UserError(f"digits names {missing[0]}, of which there are no test images; allowed: {there}")
    real = test[[places[digit][k % len(places[digit])] for digit, k in zip(label.tolist(), turn, strict=True)]]
    unit = (real[..., None] if real.ndim == 3 else real).astype(np.float32) / 127.5 - 1
    return real, Known(unit, known_mask(region, *real.shape[1:3]))
