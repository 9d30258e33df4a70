"""Wilson's interval for a proportion (Wilson 1927), as SciPy computes it.

    (p + z^2 / 2n  +-  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),     p = successes / n

It holds the proportions that the score test does not reject: it never leaves [0, 1] and has a width at p = 0 and p = 1.
"""

from typing import NamedTuple

import scipy.stats

from jaxgen.errors import UserError


class Interval(NamedTuple):
    """A proportion with the ends of its interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, n: int) -> Interval:
    """Return the proportion successes / n and its 95 % interval. UserError unless 0 <= successes <= n and n >= 1."""
    if n < 1 or not 0 <= successes <= n:
        raise UserError(f"successes is {successes} of {n}; allowed: 0 to n, with n 1 or more")
    low, high = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return Interval(successes / n, float(low), float(high))
