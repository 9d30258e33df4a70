"""Exact information quantities of a CellDistribution in nats (Cover and Thomas, 2006, chapter 2).

H(Y|X_S) = - sum_{y,c} p(y, c) log p(y | c)        c: the cell on the axes S; the lowest cross-entropy given them
I(X_S;Y) = H(Y) - H(Y|X_S)
accuracy = sum_c max_y p(y, c)                      of the Bayes classifier, which no other exceeds
H(Y|X)  <= h(e) + e log(K - 1)                      Fano (1961): 1 - e caps any accuracy, knowing only H(Y|X)
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float

from jaxgen.errors import UserError
from jaxgen.information.cells import CellDistribution


def bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / math.log(2)


def label_entropy(distribution: CellDistribution) -> float:
    """Return H(Y)."""
    return float(scipy.special.entr(distribution.prior).sum())


def conditional_entropy(distribution: CellDistribution, axes: Sequence[int] | None = None) -> float:
    """Return H(Y|X), or given only the coordinates `axes`: no classifier of them has a lower cross-entropy."""
    joint = distribution.joint(axes)
    return float(scipy.special.entr(joint).sum() - scipy.special.entr(joint.sum(0)).sum())


def mutual_information(distribution: CellDistribution, axes: Sequence[int] | None = None) -> float:
    """Return I(X;Y), or that of only the coordinates `axes`."""
    return label_entropy(distribution) - conditional_entropy(distribution, axes)


def bayes_accuracy(distribution: CellDistribution, axes: Sequence[int] | None = None) -> float:
    """Return the largest accuracy that a classifier of X, or of the coordinates `axes`, can have."""
    return float(distribution.joint(axes).max(0).sum())


def cross_entropy(distribution: CellDistribution, log_q: Float[np.ndarray, "K cells"]) -> float:
    """Return - sum p(y, c) log q(y | c), the expected loss of a table; infinite if q is 0 where p is not."""
    joint = distribution.joint()
    return float(-(joint * np.where(joint > 0, log_q, 0.0)).sum())


class Bound(NamedTuple):
    """The bounds given some of the coordinates."""

    axes: tuple[int, ...]
    conditional_entropy: float
    mutual_information: float
    bayes_accuracy: float


def subset_bounds(distribution: CellDistribution) -> list[Bound]:
    """Return the bounds of all 2^d - 1 non-empty sets of coordinates, smaller sets first; 31 for d = 5."""
    bounds = []
    for size in range(1, distribution.n_axes + 1):
        for axes in itertools.combinations(range(distribution.n_axes), size):
            entropy = conditional_entropy(distribution, axes)
            information = label_entropy(distribution) - entropy
            bounds.append(Bound(axes, entropy, information, bayes_accuracy(distribution, axes)))
    return bounds


class ClassBound(NamedTuple):
    """Loss E[- log p(y|X) | y] of one label, whose prior mean is H(Y|X), and the recall of the Bayes classifier."""

    label: int
    loss: float
    recall: float


def class_bounds(distribution: CellDistribution) -> list[ClassBound]:
    """Return the bound of every label; where the posterior is tied the Bayes classifier takes the first label."""
    joint, log_posterior = distribution.joint(), distribution.log_posterior()
    terms = -joint * np.where(joint > 0, log_posterior, 0.0)
    chosen = joint.argmax(0) == np.arange(len(joint))[:, None]
    losses = terms.sum(1) / distribution.prior
    recalls = (joint * chosen).sum(1) / distribution.prior
    return [ClassBound(*row) for row in zip(distribution.labels, losses.tolist(), recalls.tolist(), strict=True)]


def fano_accuracy(entropy: float, n_labels: int) -> float:
    """Return the largest accuracy that Fano's inequality permits for H(Y|X) = `entropy` nats.

    UserError if entropy is not in 0..log(n_labels) or n_labels < 2.
    """
    if n_labels < 2 or not 0.0 <= entropy <= math.log(n_labels) + 1e-12:
        raise UserError(f"entropy is {entropy} with {n_labels} labels; allowed: 0 to log(n_labels), 2 labels or more")

    def slack(error: float) -> float:
        return float(scipy.special.entr([error, 1 - error]).sum()) + error * math.log(n_labels - 1) - entropy

    worst = 1 - 1 / n_labels  # where the right-hand side is largest, log(n_labels)
    return 1.0 - (worst if slack(worst) <= 0 else scipy.optimize.brentq(slack, 0.0, worst, xtol=1e-14))


class NaiveBayes(NamedTuple):
    """Exact cross-entropy and accuracy of naive Bayes with the true marginals."""

    cross_entropy: float
    accuracy: float


def naive_bayes(distribution: CellDistribution) -> NaiveBayes:
    """Return the loss of q(y | x) ~ p(y) prod_i p(x_i | y), exact only for coordinates independent given the label."""
    shape = distribution.mass.shape
    with np.errstate(divide="ignore"):
        log_q = np.log(distribution.prior).reshape(-1, *[1] * distribution.n_axes)
        for axis in range(distribution.n_axes):
            others = tuple(1 + other for other in range(distribution.n_axes) if other != axis)
            log_q = log_q + np.log(distribution.mass.sum(axis=others, keepdims=True))
        log_q = log_q.reshape(shape[0], -1)
        log_q = log_q - np.logaddexp.reduce(log_q, axis=0)
    chosen = log_q.argmax(0)
    accuracy = distribution.joint()[chosen, np.arange(log_q.shape[1])].sum()
    return NaiveBayes(cross_entropy(distribution, log_q), float(accuracy))
