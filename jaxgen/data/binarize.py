"""Stochastic binarisation: grey as the probability of white.

    x_i = 1 with probability g_i / 255, independently for every pixel i          (Salakhutdinov and Murray 2008)

The noise of an image is that of `fold_in(key, its index)`, so the bits of an image do not depend on which others are
binarised with it. Likelihoods on images binarised so, which this literature quotes, are not comparable with those on
images cut at half grey, `encode(images, 2)`: the latter are easier to predict.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Integer, Key, UInt8

from jaxgen.errors import UserError

# 2^32 - 1 = 255 x 16843009: a 32-bit word lies below g times this with probability g / 255 to within 2^-32.
_WORDS_A_GREY = np.uint32(16_843_009)
_FIXED_SEED = 2008
_PARTS = ("train", "validation", "test")
_CHUNK = 1000


def binarize(
    key: Key[Array, ""], images: UInt8[ArrayLike, "n ..."], index: Integer[ArrayLike, "n"]
) -> UInt8[Array, "n ..."]:
    """Draw x ~ Bernoulli(images / 255) once.

    Args:
        key: one key.
        images: grey, 0 to 255; black is always 0, white always 1.
        index: a number a row; the noise of a row is a function of key and this number alone.

    Returns:
        States 0 or 1, of the same shape.

    Raises:
        UserError: images that are not uint8, or not one index per row.
    """
    if images.dtype != np.uint8:
        raise UserError(f"images has dtype {images.dtype}; allowed: uint8 grey values, 0 to 255")
    if index.shape != images.shape[:1]:
        raise UserError(f"index has shape {index.shape} for {images.shape[0]} images; allowed: one number per image")

    def binarize_one(number: Array, image: Array) -> Array:
        words = jax.random.bits(jax.random.fold_in(key, number), image.shape, jnp.uint32)
        return (words < image.astype(jnp.uint32) * _WORDS_A_GREY) | (image == 255)

    return jax.vmap(binarize_one)(jnp.asarray(index, jnp.uint32), jnp.asarray(images)).astype(jnp.uint8)


def fixed_binarization(images: UInt8[np.ndarray, "n h w"], part: str) -> UInt8[np.ndarray, "n h w"]:
    """Return the fixed binarisation of a part of a dataset on which likelihoods are reported, the same bits everywhere.

    Args:
        images: all images of the part, or its first n, in the published order.
        part: "train", "validation" or "test", each with a key of its own.

    Returns:
        States 0 or 1.

    Raises:
        UserError: another part, or images that are not uint8.
    """
    if part not in _PARTS:
        raise UserError(f"part is {part!r}; allowed: {', '.join(_PARTS)}")
    key = jax.random.fold_in(jax.random.key(_FIXED_SEED), _PARTS.index(part))
    draw = jax.jit(binarize)
    index = np.arange(len(images))
    starts = range(0, len(images), _CHUNK)
    pieces = [np.asarray(draw(key, images[i : i + _CHUNK], index[i : i + _CHUNK])) for i in starts]
    return np.concatenate(pieces) if pieces else np.asarray(images)
