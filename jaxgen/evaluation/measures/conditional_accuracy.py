"""Does a network that took no part in any distance read the class that a sample was asked to show?

    accuracy_k = 1 / n_k sum over samples of label k of 1[argmax of the accuracy network = k]

Its own accuracy on real test images is the most that a perfect generator can reach.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int64

from jaxgen.errors import UserError
from jaxgen.evaluation.measures.intervals import Interval, wilson
from jaxgen.evaluation.networks import N_CLASSES


class ConditionalAccuracy(NamedTuple):
    """Samples of each class, and how many of them were read right."""

    right: Int64[np.ndarray, "10"]
    count: Int64[np.ndarray, "10"]

    @property
    def overall(self) -> Interval:
        """Over all samples, with Wilson's 95 % interval."""
        return wilson(int(self.right.sum()), int(self.count.sum()))

    @property
    def by_class(self) -> list[Interval | None]:
        """A class each, with Wilson's 95 % interval; None for a class without samples."""
        pairs = zip(self.right.tolist(), self.count.tolist(), strict=True)
        return [wilson(right, count) if count else None for right, count in pairs]


def conditional_accuracy(read: Int[np.ndarray, "n"], labels: Int[np.ndarray, "n"]) -> ConditionalAccuracy:
    """Count what was read right. ValueError on different lengths or on classes outside 0 to 9."""
    read, labels = np.asarray(read), np.asarray(labels)
    if read.shape != labels.shape or not len(labels):
        raise UserError(f"labels: got shape {labels.shape} for {read.shape} classes read; allowed: one a sample")
    if min(read.min(), labels.min()) < 0 or max(read.max(), labels.max()) >= N_CLASSES:
        raise UserError(f"labels: got {labels.min()} to {labels.max()}; allowed: 0 to {N_CLASSES - 1}")
    return ConditionalAccuracy(
        np.bincount(labels[read == labels], minlength=N_CLASSES), np.bincount(labels, minlength=N_CLASSES)
    )
