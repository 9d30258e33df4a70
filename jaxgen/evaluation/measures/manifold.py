"""Density and coverage, precision and recall: are samples among the data, and is the data among the samples?

With B(x) the closed ball around x whose radius is the distance to x's k-th nearest neighbour in its own set, itself
excluded, over real x_1..x_N and generated y_1..y_M:

    density   = 1 / (k M) sum_j sum_i 1[y_j in B(x_i)]          coverage = 1 / N sum_i 1[some y_j in B(x_i)]
    precision = 1 / M sum_j 1[y_j in some B(x_i)]               recall   = 1 / N sum_i 1[x_i in some B(y_j)]

Density and coverage: Naeem et al. (2020), eqs. 3 and 4; precision and recall: Kynkaanniemi et al. (2019), eqs. 1 and 2.
If both sets follow one continuous law, whatever it is, the mean of density is 1 and that of coverage is

    1 - (N-1)...(N-k) / ((M+N-1)...(M+N-k)),     about 1 - 2^-k for M = N

(Naeem et al., section 3.3). Precision and recall have no such constant: what real data gives against real data must
stand beside them.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from jaxgen.errors import UserError

NEIGHBOURS = 5
_CHUNK = 1000


class Manifold(NamedTuple):
    """The four figures; density is 0 or more, the others lie in [0, 1]."""

    density: float
    coverage: float
    precision: float
    recall: float


def manifold(
    real: Float[np.ndarray, "N d"],
    fake: Float[np.ndarray, "M d"],
    k: int = NEIGHBOURS,
    real_radius: Float64[np.ndarray, "N"] | None = None,
) -> Manifold:
    """Return density, coverage, precision and recall by exact search in float64.

    Args:
        real, fake: features, one example a row; more than k each.
        k: which neighbour sets the radius, 1 or more.
        real_radius: `squared_radii(real, k)`, where it is known already.

    Raises:
        UserError: a set of k examples or fewer, or k < 1.
    """
    if k < 1 or min(len(real), len(fake)) <= k:
        raise UserError(f"k is {k} with {len(real)} and {len(fake)} examples; allowed: 1 or more, below both")
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    real_radius = squared_radii(real, k) if real_radius is None else real_radius
    fake_radius = squared_radii(fake, k)
    inside = 0
    precise = []
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for start in range(0, len(fake), _CHUNK):
        part = slice(start, start + _CHUNK)
        distance = squared_distances(fake[part], real)
        within = distance <= real_radius
        inside += int(within.sum())
        precise.append(within.any(1))
        covered |= within.any(0)
        recalled |= (distance <= fake_radius[part, None]).any(0)
    return Manifold(
        inside / (k * len(fake)), float(covered.mean()), float(np.concatenate(precise).mean()), float(recalled.mean())
    )


def expected_coverage(n_real: int, n_fake: int, k: int = NEIGHBOURS) -> float:
    """Return the mean coverage of two sets from one continuous law."""
    return 1 - math.prod((n_real - i) / (n_real + n_fake - i) for i in range(1, k + 1))


def squared_radii(x: Float[np.ndarray, "n d"], k: int = NEIGHBOURS) -> Float64[np.ndarray, "n"]:
    """Return the squared distance from every example to its k-th nearest other example."""
    x = np.asarray(x, np.float64)
    radii = []
    for start in range(0, len(x), _CHUNK):
        distance = squared_distances(x[start : start + _CHUNK], x)
        # By place, not by value: a duplicate of x is a neighbour at distance 0.
        row = np.arange(len(distance))
        distance[row, start + row] = np.inf
        radii.append(np.partition(distance, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)


def squared_distances(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """Return |x_i - y_j|^2 = |x_i|^2 - 2 x_i . y_j + |y_j|^2, up to rounding, in the precision of the arguments."""
    # As one matrix product: passes over the n x m numbers would cost more than the product itself.
    ones = np.ones((len(x), 1), x.dtype), np.ones((len(y), 1), y.dtype)
    x_square, y_square = (np.einsum("nd,nd->n", z, z)[:, None] for z in (x, y))
    return np.hstack([x, x_square, ones[0]]) @ np.hstack([-2 * y, ones[1], y_square]).T
