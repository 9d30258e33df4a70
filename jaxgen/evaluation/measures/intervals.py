"""Wilson's interval for a proportion (Wilson 1927).

    (p + z^2 / 2n  +-  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),     p = successes / n

It is what the score test does not reject: it never leaves [0, 1] and has a width at p = 0 and p = 1.
"""

import math
from typing import NamedTuple

from jaxgen.errors import UserError

Z = 1.959964  # two-sided 95 %


class Interval(NamedTuple):
    """A proportion with the ends of its interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, n: int, z: float = Z) -> Interval:
    """The proportion successes / n and its interval. ValueError unless 0 <= successes <= n and n >= 1."""
    if n < 1 or not 0 <= successes <= n:
        raise UserError(f"successes: got {successes} of {n}; allowed: 0 to n, with n 1 or more")
    p = successes / n
    centre, reach = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # The exact ends at p = 0 and p = 1, which rounding would miss by 1e-17.
    low = 0.0 if successes == 0 else (centre - reach) / scale
    high = 1.0 if successes == n else (centre + reach) / scale
    return Interval(p, low, high)
