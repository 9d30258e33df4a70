"""Coding of grey images as Potts states, and back.

With v = g / 255 the grey g on [0, 1], the L levels are bins of equal width, closed below and open above, and the
last one closed at both ends:

    encode:  k = floor(L v), and L - 1 at v = 1           v in [k/L, (k+1)/L) -> k
    decode:  v = k / (L - 1)                              black and white are exact

Decoding to the ends rather than to the bin centres (k + 1/2) / L is what suits these images, most of whose pixels are
exactly black: the centre of the lowest of 4 bins, 1/8, would lift the whole background. Because L - 1 divides 255
for every allowed L, greys and levels are exact integers in both directions.
"""

import jax
import numpy as np
from jax import Array
from jaxtyping import Num, UInt8

from jaxgen.errors import UserError

ALLOWED_LEVELS = (2, 4, 16)


def encode(images: UInt8[Array | np.ndarray, "..."], levels: int) -> UInt8[Array | np.ndarray, "..."]:
    """Grey values to levels: min(floor(L g / 255), L - 1), in exact integer arithmetic.

    Args:
        images: grey, 0 to 255; numpy or jax, any shape.
        levels: L, one of 2, 4, 16.

    Returns:
        States 0 to L - 1, of the same shape and kind of array.

    Raises:
        ValueError: levels outside 2, 4, 16, or images that are not uint8.
    """
    _check(levels)
    if images.dtype != np.uint8:
        raise UserError(f"images: got dtype {images.dtype}; allowed: uint8 grey values, 0 to 255")
    # For L = 2, 4, 16 no L g lies in [255 k, 256 k) with 0 < k < L, so dividing by 256 gives the same bins as
    # dividing by 255; it needs no wider type, and puts white into the last bin by itself.
    return images // np.uint8(256 // levels)


def decode(states: UInt8[Array | np.ndarray, "..."], levels: int) -> UInt8[Array | np.ndarray, "..."]:
    """Levels to grey values: 255 k / (L - 1), exact.

    Args:
        states: 0 to L - 1, any integer type; numpy or jax, any shape.
        levels: L, one of 2, 4, 16.

    Returns:
        uint8 grey, 0 to 255, of the same shape and kind of array.

    Raises:
        ValueError: levels outside 2, 4, 16; states that are not integers; or a state outside 0 to L - 1 (under jit
            the values are not known, and this last check is left out).
    """
    _check(levels)
    if not np.issubdtype(states.dtype, np.integer):
        raise UserError(f"states: got dtype {states.dtype}; allowed: an integer type, values 0 to {levels - 1}")
    if not isinstance(states, jax.core.Tracer) and states.size and (states.min() < 0 or states.max() >= levels):
        raise UserError(f"states: got values {states.min()} to {states.max()}; allowed: 0 to {levels - 1}")
    return states.astype(np.uint8) * np.uint8(255 // (levels - 1))


def psnr(images: Num[Array | np.ndarray, "..."], reconstructed: Num[Array | np.ndarray, "..."]) -> float:
    """Peak signal-to-noise ratio, 10 log10(255^2 / mean squared error), over all pixels together.

    Args:
        images: grey on the scale 0 to 255.
        reconstructed: the same, of the same shape.

    Returns:
        Decibels; infinity if the two are equal.

    Raises:
        ValueError: no pixels, or different shapes.
    """
    if images.shape != reconstructed.shape or images.size == 0:
        raise UserError(
            f"reconstructed: got shape {reconstructed.shape} for images of {images.shape}; allowed: the same, not empty"
        )
    # float32 holds every squared difference of two greys exactly, at half the memory; the sum over pixels is float64
    difference = np.asarray(images, np.float32) - np.asarray(reconstructed, np.float32)
    error = np.mean(difference**2, dtype=np.float64)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def _check(levels: int) -> None:
    if levels not in ALLOWED_LEVELS:
        raise UserError(f"levels: got {levels!r}; allowed: {', '.join(map(str, ALLOWED_LEVELS))}")
