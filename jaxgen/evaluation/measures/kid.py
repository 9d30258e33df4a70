"""The kernel distance KID: the squared maximum mean discrepancy of features under a cubic kernel.

    k(x, y) = (x . y / d + 1)^3
    MMD^2   = mean over i != j of k(x_i, x_j)  +  mean over i != j of k(y_i, y_j)  -  2 mean over i, j of k(x_i, y_j)

Binkowski et al. (2018), eq. 4 and section 4.2. The estimate is unbiased at every n and can be negative. It is averaged
over disjoint subsets of 1,000, not over overlapping ones drawn again and again, so that the subsets are independent and
their spread gives an honest standard error.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from jaxgen.errors import UserError

SUBSET = 1000
_SEED = 0


class KernelDistance(NamedTuple):
    """Mean over subsets and its standard error, in squared kernel units; compare features of one network only."""

    mean: float
    standard_error: float


def kernel_distance(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], subset: int = SUBSET) -> KernelDistance:
    """Return the KID over as many disjoint subsets as both sets yield; UserError if that is fewer than two.

    Args:
        x, y: features, one example a row, in any order.
        subset: examples of each set in a subset, 2 or more.
    """
    count = min(len(x), len(y)) // subset
    if count < 2:
        raise UserError(f"features has {len(x)} and {len(y)} examples; allowed: {2 * subset} or more of each")
    rng = np.random.default_rng(_SEED)
    x, y = (np.asarray(z, np.float64)[rng.permutation(len(z))[: count * subset]] for z in (x, y))
    estimates = [squared_mmd(a, b) for a, b in zip(np.split(x, count), np.split(y, count), strict=True)]
    return KernelDistance(float(np.mean(estimates)), float(np.std(estimates, ddof=1) / np.sqrt(count)))


def squared_mmd(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> float:
    """Return the unbiased estimate from one pair of sets, with n and m 2 or more."""
    within = [(kernel.sum() - np.trace(kernel)) / (len(z) * (len(z) - 1)) for z in (x, y) for kernel in [_kernel(z, z)]]
    return float(within[0] + within[1] - 2 * _kernel(x, y).mean())


def _kernel(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> Float64[np.ndarray, "n m"]:
    return (x @ y.T / x.shape[1] + 1) ** 3
