"""Inpainting by replacement: known pixels of x_t are drawn from the forward process of the known image.

    x_t <- m q(x_t | known) + (1 - m) x_t      after every step; at t = 0 the known pixels themselves

Song et al. (2021, score SDE), section 5, and Lugmayr et al. (2022), eq. 8, without their repetitions. The unknown
pixels see the known ones only through noise, so this approximates sampling from the conditional law.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxgen.diffusion.process import Images, Process, Times, q_sample
from jaxgen.errors import UserError

REGIONS = ("top", "bottom", "left", "right", "centre")


class Known(NamedTuple):
    """Images in [-1, 1] and where they are known, True, (height, width, 1)."""

    images: Images
    mask: Bool[Array, "height width 1"]


def replace_known(process: Process, known: Known, x: Images, t: Times, noise: Images) -> Images:
    """x_t with its known pixels drawn anew."""
    return jnp.where(known.mask, q_sample(process, known.images, t, noise), x)


def known_mask(region: str, height: int, width: int) -> Bool[Array, "height width 1"]:
    """Everything but one half, or but the central square of half the side, is known. ValueError on another region."""
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
