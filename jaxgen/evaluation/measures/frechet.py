"""The Frechet distance between two sets of features, each taken for a Gaussian.

    d = |m_1 - m_2|^2 + tr C_1 + tr C_2 - 2 tr (C_1^{1/2} C_2 C_1^{1/2})^{1/2}

Dowson and Landau (1982); for network features Heusel et al. (2017), eq. 6. It is the square of a metric. The last trace
is the sum of the singular values of C_1^{1/2} C_2^{1/2}: no matrix square root of a product that is not symmetric, no
complex part to throw away, and singular covariances are no special case. All in float64.

The mean over n samples of the estimated distance falls with n towards its limit (Binkowski et al. 2018, section 4.3):
only distances at equal n compare.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from jaxgen.errors import UserError


class Moments(NamedTuple):
    """Mean and unbiased covariance, float64."""

    mean: Float64[np.ndarray, "d"]
    covariance: Float64[np.ndarray, "d d"]


def moments(features: Float[np.ndarray, "n d"]) -> Moments:
    """Return mean and covariance of features, one example per row.

    UserError if n <= d: the covariance would be singular.
    """
    features = np.asarray(features, np.float64)
    n, d = features.shape
    if n <= d:
        raise UserError(f"features has {n} examples of {d} numbers; allowed: more examples than numbers")
    return Moments(features.mean(0), np.cov(features, rowvar=False))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return the Frechet distance d of two Gaussians, 0 or more up to rounding; it is symmetric."""
    overlap = np.linalg.svd(_square_root(a.covariance) @ _square_root(b.covariance), compute_uv=False).sum()
    shift = np.sum((a.mean - b.mean) ** 2)
    return float(shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap)


def frechet_limit(features: Float[np.ndarray, "n d"], other: Moments) -> float:
    """Return the Frechet distance extrapolated to infinitely many samples.

    d_m of m <= n samples is d + b / m up to higher orders (Chong and Forsyth 2020). It is measured on random subsets of
    eight sizes with 1 / m evenly spaced from 4 / n to 1 / n, at least 2 d each, and d is the intercept of the line of
    least squares. Smaller sizes have more subsets, so that each size uses all samples about twice.

    Raises:
        UserError: fewer than 4 d samples.
    """
    features = np.asarray(features, np.float64)
    n, d = features.shape
    if n < 4 * d:
        raise UserError(f"features has {n} examples of {d} numbers; allowed: {4 * d} examples or more")
    rng = np.random.default_rng(0)
    sizes = np.unique(np.rint(1 / np.linspace(1 / max(n / 4, 2 * d), 1 / n, 8)).astype(int))
    means, weights = [], []
    for size in sizes:
        repeats = 1 if size == n else -(-2 * n // size)
        subsets = (rng.choice(n, size, replace=False) for _ in range(repeats))
        means.append(np.mean([frechet_distance(moments(features[subset]), other) for subset in subsets]))
        weights.append(size)  # the error of a mean over all samples falls with the size of its subsets
    return float(np.polyfit(1 / sizes, means, 1, w=np.sqrt(weights))[1])


def _square_root(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d d"]:
    """Return the symmetric square root; eigenvalues that rounding made negative count as 0."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
