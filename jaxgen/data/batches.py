"""The order in which training examples are seen, as a pure function of (key, step).

    stream   = permutation(fold_in(key, 0), n), permutation(fold_in(key, 1), n), ...
    batch k  = stream[k B : (k + 1) B]

Every batch is full, no example is ever dropped, each is seen exactly once an epoch, and a resumed run asks for the
same indices as one that never stopped. A batch may straddle two epochs, or several if B > n.
"""

import functools
import operator
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Array, Int32, Key, UInt32

from jaxgen.errors import UserError


class EpochOrder:
    """Indices of every training batch.

    Args:
        key: one key; the whole order follows from it.
        n_examples: n, at least 1.
        batch_size: B, at least 1; may exceed n.

    Raises:
        UserError: n_examples or batch_size below 1.
    """

    def __init__(self, key: Key[Array, ""] | UInt32[Array, "2"], n_examples: int, batch_size: int):
        _check(n_examples, batch_size)
        self.n_examples = n_examples
        self.batch_size = batch_size

        def permutation(epoch: int) -> np.ndarray:
            return np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), n_examples), np.int32)

        # Two: consecutive batches share at most the epoch in which one ends and the next begins.
        self._permutation = functools.lru_cache(maxsize=2)(permutation)

    def indices(self, step: int) -> Int32[np.ndarray, "batch_size"]:
        """Return the indices, 0 to n - 1, of the examples of batch `step`, counted from 0; UserError if step < 0."""
        position = self._first_position(step)
        stop = position + self.batch_size
        pieces = []
        while position < stop:
            epoch, offset = divmod(position, self.n_examples)
            piece = self._permutation(epoch)[offset : offset + stop - position]
            pieces.append(piece)
            position += len(piece)
        return np.concatenate(pieces)

    def epoch(self, step: int) -> int:
        """Return the epoch, counted from 0, of the first example of batch `step`; UserError if step < 0."""
        return self._first_position(step) // self.n_examples

    def _first_position(self, step: int) -> int:
        step = operator.index(step)  # a Python integer: step * batch_size may not wrap round
        if step < 0:
            raise UserError(f"step is {step}; allowed: 0 or more")
        return step * self.batch_size


def evaluation_slices(n_examples: int, batch_size: int) -> Iterator[slice]:
    """Return slices that cover 0 to n - 1 in order, each of length batch_size except perhaps the last.

    Args:
        n_examples: n, at least 1.
        batch_size: at least 1.

    Returns:
        Iterator over the slices.

    Raises:
        UserError: n_examples or batch_size below 1.
    """
    _check(n_examples, batch_size)
    return (slice(start, min(start + batch_size, n_examples)) for start in range(0, n_examples, batch_size))


def _check(n_examples: int, batch_size: int) -> None:
    for name, value in (("n_examples", n_examples), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{name} is {value}; allowed: 1 or more")
