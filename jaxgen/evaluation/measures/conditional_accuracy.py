"""Conditional accuracy: the share of samples that a reader takes for the class they were asked to show.

    accuracy_k = 1 / n_k sum over samples of label k of 1[class read = k]

The reader of the built-in datasets is a network that takes no part in any distance; its own accuracy on real test
images is the most that a perfect generator can reach.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from jaxgen.errors import UserError
from jaxgen.evaluation.measures.intervals import Interval, wilson


class ConditionalAccuracy(NamedTuple):
    """Numbers of samples of each class: read as that class, and in all."""

    right: Int64[np.ndarray, "C"]
    count: Int64[np.ndarray, "C"]

    @property
    def overall(self) -> Interval:
        """Return the accuracy over all samples, with Wilson's 95 % interval."""
        return wilson(int(self.right.sum()), int(self.count.sum()))

    @property
    def by_class(self) -> list[Interval | None]:
        """Return the accuracy of each class, with Wilson's 95 % interval; None for a class without samples."""
        pairs = zip(self.right.tolist(), self.count.tolist(), strict=True)
        return [wilson(right, count) if count else None for right, count in pairs]


def conditional_accuracy(
    read: Integer[np.ndarray, "n"], labels: Integer[np.ndarray, "n"], n_classes: int = 10
) -> ConditionalAccuracy:
    """Count the samples of each class that were read as that class.

    Args:
        read: the class that each sample was read as.
        labels: the class that it was asked to show.
        n_classes: number of classes.

    Raises:
        UserError: different lengths, or classes outside 0 to n_classes - 1.
    """
    read, labels = np.asarray(read), np.asarray(labels)
    if read.shape != labels.shape or not len(labels):
        raise UserError(f"labels has shape {labels.shape} for {read.shape} classes read; allowed: one per sample")
    if min(read.min(), labels.min()) < 0 or max(read.max(), labels.max()) >= n_classes:
        raise UserError(f"labels has classes {labels.min()} to {labels.max()}; allowed: 0 to {n_classes - 1}")
    return ConditionalAccuracy(
        np.bincount(labels[read == labels], minlength=n_classes), np.bincount(labels, minlength=n_classes)
    )
