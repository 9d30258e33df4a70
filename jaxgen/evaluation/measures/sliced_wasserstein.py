"""The sliced Wasserstein distance between two sets of images, on their pixels: no network takes part.

    d^2 = mean over directions u of  W_2^2(u . x, u . y),     u uniform on the unit sphere of pixel space
    W_2^2(a, b) = integral over t in [0, 1] of (F_a^{-1}(t) - F_b^{-1}(t))^2

with grey on [0, 1]; Rabin et al. (2012), Bonneel et al. (2015). The integral over the empirical quantile functions is
exact for any numbers of images; the mean is over 512 fixed directions, so that two sets of equal law have a distance
above 0 that falls with their numbers: the same distance of real images has to stand beside it.
"""

import numpy as np
from jaxtyping import Float, UInt8

from jaxgen.errors import UserError

DIRECTIONS = 512
_SEED = 0


def sliced_wasserstein(x: UInt8[np.ndarray, "n H W"], y: UInt8[np.ndarray, "m H W"]) -> float:
    """Return the distance d between two sets of grey images. UserError if they are empty or differ in size.

    Args:
        x, y: grey, 0 to 255.
    """
    if x.shape[1:] != y.shape[1:] or not len(x) or not len(y):
        raise UserError(f"images has shapes {x.shape} and {y.shape}; allowed: images of one size, one or more of each")
    return quantile_distance(projections(x), projections(y))


def projections(images: UInt8[np.ndarray, "n H W"]) -> Float[np.ndarray, "n K"]:
    """Return the images projected on the fixed directions of their size, float32."""
    flat = images.reshape(len(images), -1).astype(np.float32) / 255
    directions = np.random.default_rng(_SEED).normal(size=(flat.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    return flat @ directions.astype(np.float32)


def quantile_distance(a: Float[np.ndarray, "n K"], b: Float[np.ndarray, "m K"]) -> float:
    """Return the root of the mean over columns of W_2^2 between the empirical laws of each column."""
    # Both quantile functions are constant between these points of [0, 1].
    n, m = len(a), len(b)
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1 / (n m), exact
    width = np.diff(ends, prepend=0) / (n * m)
    i, j = (ends - 1) // m, (ends - 1) // n
    difference = np.sort(a, axis=0)[i].astype(np.float64) - np.sort(b, axis=0)[j]
    return float(np.sqrt(np.einsum("t,tk,tk->", width, difference, difference) / a.shape[1]))
