"""The excess risk of a classifier q over its bound, and the parts that it consists of.

    excess = CE(q) - H(Y|X) = E_x KL(p(. | x) || q(. | x)) >= 0

On fresh labelled examples CE is the mean loss and its standard error that of a mean; an estimate that lies below the
bound by more than three of them means a fault in the data or the estimate, never a good classifier.

The excess of a network splits exactly, because the posterior is constant inside cell c. With q(y | c) proportional to
exp E[log q(y | x) | x in c], the table of the network, and t(y | c) the table of counts of its training examples:

    excess = [CE(q) - CE(q table)]   +  [CE(t) - H(Y|X)]  +  [CE(q table) - CE(t)]
             within-cell variation      estimation           remainder

The first term (Heskes, 1998) is what the trained network loses by varying where the posterior does not. It depends on
how long it was trained, so it is no approximation error of the class of networks.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxgen.errors import UserError
from jaxgen.information.bounds import conditional_entropy, cross_entropy
from jaxgen.information.cells import CellDistribution
from jaxgen.information.sampler import points_in_cells

SIGMAS = 3.0  # standard errors by which an estimate may lie below its bound
LogQ = Callable[[Float[Array, "n d"]], Float[Array, "n K"]]
_BATCH = 8192


class BoundBeatenError(UserError):
    """An estimate of a loss lies below the lowest loss that is possible."""


class ExcessRisk(NamedTuple):
    """Mean loss on n examples, the bound it cannot beat, their difference and its standard error, in nats."""

    cross_entropy: float
    bound: float
    excess: float
    standard_error: float
    n: int


def excess_risk(loss: Float[np.ndarray, "n"], bound: float) -> ExcessRisk:
    """Return the excess of losses -log q(y_i | x_i) of independent fresh examples over `bound`.

    Raises:
        BoundBeatenError: the estimate lies more than three standard errors below the bound.
        UserError: fewer than two losses, or one that is not finite.
    """
    loss = np.asarray(loss, np.float64)
    if loss.ndim != 1 or len(loss) < 2 or not np.isfinite(loss).all():
        raise UserError(f"loss has shape {loss.shape}, not all finite; allowed: (n,), n >= 2, finite")
    mean, error = float(loss.mean()), float(loss.std(ddof=1)) / math.sqrt(len(loss))
    if mean < bound - SIGMAS * error:
        raise BoundBeatenError(
            f"cross-entropy is {mean:.5f} +- {error:.5f} nats on {len(loss)} examples, {(bound - mean) / error:.1f} "
            f"standard errors below the bound {bound:.5f}; allowed: at most {SIGMAS:g}"
        )
    return ExcessRisk(mean, bound, mean - bound, error, len(loss))


def predict(log_q: LogQ, x: Float[Array, "n d"]) -> Float[np.ndarray, "n K"]:
    """Return log q(y | x) of many points, one batch at a time; pass a jitted function."""
    x = np.asarray(x)  # a slice of a numpy array needs no compilation
    return np.concatenate([np.asarray(log_q(x[start : start + _BATCH])) for start in range(0, len(x), _BATCH)])


class CellAverages(NamedTuple):
    """Averages over points of every cell, with the expectation over labels computed exactly.

    Attributes:
        mean_log_q: E[log q(y | x) | x in c].
        excess: excess risk of the network in nats from these points.
        standard_error: of the excess, far below that from labelled examples.
    """

    mean_log_q: Float[np.ndarray, "K cells"]
    excess: float
    standard_error: float


def cell_averages(key: Key[Array, ""], distribution: CellDistribution, log_q: LogQ, per_cell: int = 64) -> CellAverages:
    """Average log q over `per_cell` points of every cell. UserError if per_cell < 2."""
    if per_cell < 2:
        raise UserError(f"per_cell is {per_cell}; allowed: 2 or more")
    x = points_in_cells(key, distribution, per_cell)
    values = predict(log_q, x.reshape(-1, x.shape[-1])).astype(np.float64).reshape(*x.shape[:2], -1)
    joint = distribution.joint()
    loss = -np.einsum("cmy,yc->cm", values, joint)
    excess = float(loss.mean(1).sum()) - conditional_entropy(distribution)
    error = math.sqrt(float(loss.var(1, ddof=1).sum()) / per_cell)
    return CellAverages(values.mean(1).T, excess, error)


def count_table(
    distribution: CellDistribution, x: Float[Array, "n d"], y: Int[Array, "n"]
) -> Float[np.ndarray, "K cells"]:
    """Return log t(y | c) = log (n_yc + 1/2) / (n_c + K/2) from counts (Krichevsky and Trofimov, 1981)."""
    counts = np.zeros_like(distribution.joint())
    np.add.at(counts, (np.asarray(y), distribution.cells_of(np.asarray(x))), 1.0)
    return np.log(counts + 0.5) - np.log(counts.sum(0) + 0.5 * len(counts))


class Split(NamedTuple):
    """Parts of the excess risk in nats; they add up to it.

    Attributes:
        within_cells: what the trained network loses by varying inside cells, where the posterior is constant.
        estimation: what the table of counts loses by knowing only the training examples.
        remainder: loss of the network's table minus that of the table of counts; negative where it is better.
    """

    within_cells: float
    estimation: float
    remainder: float


def split(distribution: CellDistribution, averages: CellAverages, counted: Float[np.ndarray, "K cells"]) -> Split:
    """Split the excess of a network; `averages` is from `cell_averages`, `counted` from `count_table`."""
    table = averages.mean_log_q - np.logaddexp.reduce(averages.mean_log_q, axis=0)
    network, best = cross_entropy(distribution, table), conditional_entropy(distribution)
    estimation = cross_entropy(distribution, counted) - best
    return Split(best + averages.excess - network, estimation, network - best - estimation)


class Calibration(NamedTuple):
    """Predictions in bins of predicted probability.

    Attributes:
        predicted: mean prediction of every bin.
        true: mean true posterior of every bin.
        share: share of all predictions that fall into the bin.
        error: sum of share |predicted - true|, without label noise because the posterior is exact.
    """

    predicted: Float[np.ndarray, "bins"]
    true: Float[np.ndarray, "bins"]
    share: Float[np.ndarray, "bins"]
    error: float


def calibration(log_q: Float[np.ndarray, "n K"], log_p: Float[np.ndarray, "n K"], bins: int = 15) -> Calibration:
    """Compare predictions q with the true posterior p of the same points in `bins` bins of q; empty ones are left out.

    UserError if the shapes differ or bins < 1.
    """
    if np.shape(log_q) != np.shape(log_p) or bins < 1:
        raise UserError(f"log_q {np.shape(log_q)}, log_p {np.shape(log_p)}, bins {bins}; allowed: one shape, 1 or more")
    q, p = np.exp(log_q, dtype=np.float64).ravel(), np.exp(log_p, dtype=np.float64).ravel()
    place = np.minimum((q * bins).astype(int), bins - 1)
    count, total_q, total_p = (np.bincount(place, weight, bins) for weight in (None, q, p))
    filled = count > 0
    predicted, true, share = total_q[filled] / count[filled], total_p[filled] / count[filled], count[filled] / len(q)
    return Calibration(predicted, true, share, float((share * np.abs(predicted - true)).sum()))
