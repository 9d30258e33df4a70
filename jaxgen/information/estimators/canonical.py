"""Mutual information from canonical correlations, in nats.

    I = - 1/2 sum_i log(1 - rho_i^2)

rho_i are the canonical correlations of X and Y (Hotelling, 1936). The formula is exact for Gaussian vectors (Gelfand
and Yaglom, 1957). For other distributions it measures linear dependence only.
"""

import numpy as np
import scipy.linalg
from jaxtyping import Float

from jaxgen.errors import UserError


def canonical_correlations(x: Float[np.ndarray, "n d_x"], y: Float[np.ndarray, "n d_y"]) -> Float[np.ndarray, "rank"]:
    """Return the canonical correlations of two samples, largest first, one per dimension of the smaller span.

    UserError unless x and y have the same number of rows n, and n exceeds d_x + d_y.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) <= x.shape[1] + y.shape[1]:
        raise UserError(f"x has shape {x.shape}, y {y.shape}; allowed: (n, d_x) and (n, d_y) with n > d_x + d_y")
    # Orthonormal bases of the centred columns; dependent ones, such as those of one-hot labels, count once.
    bases = [scipy.linalg.orth(values - values.mean(0), rcond=1e-10) for values in (x, y)]
    return np.clip(scipy.linalg.svdvals(bases[0].T @ bases[1]), 0.0, 1.0)


def gaussian_estimate(x: Float[np.ndarray, "n d_x"], y: Float[np.ndarray, "n d_y"]) -> float:
    """Return the estimate of I(X;Y) from the canonical correlations; infinite if one of them is 1."""
    with np.errstate(divide="ignore"):
        return float(-0.5 * np.log1p(-(canonical_correlations(x, y) ** 2)).sum())
