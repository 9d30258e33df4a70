"""Nearest-neighbour estimators of mutual information, in nats.

    KSG    I = psi(k) + psi(N) - < psi(n_x + 1) + psi(n_y + 1) >      (Kraskov, Stoegbauer and Grassberger, 2004, eq. 8)
    Ross   I = psi(k) + psi(N) - < psi(N_y) + psi(m) >                (Ross, 2014, eq. 2), for labels Y

KSG: r is the distance of a point to its k-th neighbour in (x, y), the larger of the distances in x and in y; n_x and
n_y count the other points that are closer than r in x and in y. Ross: r is the distance to the k-th neighbour among the
N_y points of the same label, and m counts the points of any label closer than r, the point itself included. Distances
are maximum norms, so the estimates depend on the units of the coordinates: standardise them first.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from scipy.special import digamma

from jaxgen.errors import UserError


def ksg(x: Float[np.ndarray, "n d_x"], y: Float[np.ndarray, "n d_y"], k: int = 3) -> float:
    """Return the KSG estimate of I(X;Y). UserError unless x and y have n rows each and 1 <= k < n."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise UserError(f"x has shape {x.shape}, y {y.shape}; allowed: (n, d_x) and (n, d_y)")
    _check_neighbours(k, len(x))
    both = np.concatenate([x, y], axis=1)
    radius = _kth_distance(both, k)
    counts = [_closer(points, radius) for points in (x, y)]
    return float(digamma(k) + digamma(len(x)) - np.mean(digamma(counts[0]) + digamma(counts[1])))


def ross(x: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], k: int = 3) -> float:
    """Return Ross's estimate of I(X;Y) for labels.

    A label with k points or fewer uses all of them but the point itself, and points that are alone in their label are
    left out, as in scikit-learn.

    UserError unless x (n, d) and labels (n,) fit, k >= 1, and some label has two points or more.
    """
    x, labels = np.asarray(x, np.float64), np.asarray(labels)
    if x.ndim != 2 or labels.shape != (len(x),):
        raise UserError(f"x has shape {x.shape}, labels {labels.shape}; allowed: (n, d) and (n,)")
    _check_neighbours(k, len(x))
    radius, neighbours, sizes = np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(x))
    for label in np.unique(labels):
        own = labels == label
        count = int(own.sum())
        if count > 1:
            neighbours[own], sizes[own] = min(k, count - 1), count
            radius[own] = _kth_distance(x[own], min(k, count - 1))
    counted = sizes > 0
    if not counted.any():
        raise UserError("labels are all different; allowed: some label on two points or more")
    within = _closer(x[counted], radius[counted])
    terms = digamma(neighbours[counted]) - digamma(sizes[counted]) - digamma(within)
    return float(digamma(counted.sum()) + terms.mean())


def _check_neighbours(k: int, n: int) -> None:
    if not 1 <= k < n:
        raise UserError(f"k is {k} with {n} points; allowed: 1 to {n - 1}")


def _kth_distance(points: Float[np.ndarray, "n d"], k: int) -> Float[np.ndarray, "n"]:
    """Return the distance of every point to its k-th neighbour."""
    return cKDTree(points).query(points, [k + 1], p=np.inf)[0][:, 0]


def _closer(points: Float[np.ndarray, "n d"], radius: Float[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Return the number of points strictly closer than `radius` to every point, the point itself included."""
    inside = np.nextafter(radius, 0)
    return np.maximum(cKDTree(points).query_ball_point(points, inside, p=np.inf, return_length=True), 1)
