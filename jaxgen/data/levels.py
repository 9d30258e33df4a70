"""Coding of grey images as Potts states, and back.

With v = g / 255 the grey g on [0, 1], the L levels are bins of equal width, closed below and open above, and the
last one closed at both ends:

    encode:  k = floor(L v), and L - 1 at v = 1           v in [k/L, (k+1)/L) -> k
    decode:  v = k / (L - 1)                              black and white are exact

rounded to the nearest of the 256 greys that lies in bin k, so that encode(decode(k)) = k for every L from 2 to 256.
For L = 2, 4 and 16, where L - 1 divides 255, decoding needs no rounding; for L = 256 states are greys.

Decoding to the ends rather than to the bin centres (k + 1/2) / L suits images most of whose pixels are exactly black:
the centre of the lowest of 4 bins, 1/8, would lift the whole background.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, Num, UInt8

from jaxgen.errors import UserError, quoted

FEWEST_LEVELS, MOST_LEVELS = 2, 256
ALLOWED_LEVELS = (2, 4, 16)  # the codings of the built-in data sets for which reference values are shipped


def encode(images: UInt8[Array | np.ndarray, "..."], levels: int) -> UInt8[Array | np.ndarray, "..."]:
    """Return the level of every grey value, min(floor(L g / 255), L - 1), in exact integer arithmetic.

    Args:
        images: grey, 0 to 255; numpy or jax, any shape.
        levels: L, 2 to 256.

    Returns:
        States 0 to L - 1, of the same shape and kind of array.

    Raises:
        UserError: levels outside 2 to 256, or images that are not uint8.
    """
    _check(levels)
    if images.dtype != np.uint8:
        raise UserError(f"images has dtype {images.dtype}; allowed: uint8 grey values, 0 to 255")
    if levels in ALLOWED_LEVELS:
        # No L g lies in [255 k, 256 k) with 0 < k < L, so dividing by 256 gives the same bins as dividing by 255; it
        # needs no wider type, and puts white into the last bin by itself.
        return images // np.uint8(256 // levels)
    return _look_up(_tables(levels)[0], images)


def decode(states: Integer[Array | np.ndarray, "..."], levels: int) -> UInt8[Array | np.ndarray, "..."]:
    """Return the grey value of every level, 255 k / (L - 1), rounded within its bin.

    Args:
        states: 0 to L - 1, any integer type; numpy or jax, any shape.
        levels: L, 2 to 256.

    Returns:
        uint8 grey, 0 to 255, of the same shape and kind of array.

    Raises:
        UserError: levels outside 2 to 256; states that are not integers; or a state outside 0 to L - 1 (under jit
            the values are not known, and this last check is left out).
    """
    _check(levels)
    if not np.issubdtype(states.dtype, np.integer):
        raise UserError(f"states has dtype {states.dtype}; allowed: an integer type, values 0 to {levels - 1}")
    if not isinstance(states, jax.core.Tracer) and states.size and (states.min() < 0 or states.max() >= levels):
        raise UserError(f"states has values {states.min()} to {states.max()}; allowed: 0 to {levels - 1}")
    if levels in ALLOWED_LEVELS:
        return states.astype(np.uint8) * np.uint8(255 // (levels - 1))
    return _look_up(_tables(levels)[1], states.astype(np.uint8))


def psnr(images: Num[Array | np.ndarray, "..."], reconstructed: Num[Array | np.ndarray, "..."]) -> float:
    """Return the peak signal-to-noise ratio, 10 log10(255^2 / mean squared error), over all pixels together.

    Args:
        images: grey on the scale 0 to 255.
        reconstructed: the same, of the same shape.

    Returns:
        Decibels; infinity if the two are equal.

    Raises:
        UserError: no pixels, or different shapes.
    """
    if images.shape != reconstructed.shape or images.size == 0:
        raise UserError(
            f"reconstructed has shape {reconstructed.shape} for images of {images.shape}; allowed: the same, not empty"
        )
    # float32 holds every squared difference of two greys exactly, at half the memory; the sum over pixels is float64
    difference = np.asarray(images, np.float32) - np.asarray(reconstructed, np.float32)
    error = np.mean(difference**2, dtype=np.float64)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


@functools.cache
def _tables(levels: int) -> tuple[UInt8[np.ndarray, "256"], UInt8[np.ndarray, "levels"]]:
    """Return the level of every grey, and the grey of every level."""
    state = np.minimum(levels * np.arange(256) // 255, levels - 1)
    k = np.arange(levels)
    first, last = np.searchsorted(state, k), np.searchsorted(state, k, side="right") - 1
    grey = np.clip((2 * 255 * k + levels - 1) // (2 * (levels - 1)), first, last)
    return state.astype(np.uint8), grey.astype(np.uint8)


def _look_up(
    table: UInt8[np.ndarray, "n"], index: UInt8[Array | np.ndarray, "..."]
) -> UInt8[Array | np.ndarray, "..."]:
    return table[index] if isinstance(index, np.ndarray) else jnp.asarray(table)[index]


def _check(levels: int) -> None:
    if isinstance(levels, bool) or not isinstance(levels, (int, np.integer)) or not 2 <= levels <= MOST_LEVELS:
        raise UserError(f"levels is {quoted(levels)}; allowed: an integer from {FEWEST_LEVELS} to {MOST_LEVELS}")
