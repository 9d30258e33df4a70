"""Random shifts of images, the augmentation of classifiers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8, UInt32


def shift(
    key: Key[Array, ""], images: Float[Array, "n H W"] | UInt8[Array, "n H W"], position: UInt32[Array, "n"], most: int
) -> Float[Array, "n H W"] | UInt8[Array, "n H W"]:
    """Return each image moved by whole pixels, -most to most down and right; zeros come in.

    The shift of an image is a function of `key` and its position, so it does not depend on the number of devices.
    """
    height, width = images.shape[1:]

    def shift_one(image: Array, place: Array) -> Array:
        corner = jax.random.randint(jax.random.fold_in(key, place), (2,), 0, 2 * most + 1)
        return jax.lax.dynamic_slice(jnp.pad(image, most), corner, (height, width))

    return jax.vmap(shift_one)(images, position)
