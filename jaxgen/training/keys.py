"""Every random key of a run, derived from its seed by the name of its use.

stream(seed, use, uses) = fold_in(key(seed), uses.index(use))
beyond_steps(key)       = fold_in(key, 2**31)             steps count from 0 and never reach 2**31
"""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Key

from jaxgen.errors import UserError, quoted
from jaxgen.runs.config import LARGEST_SEED


def stream(seed: int, use: str, uses: Sequence[str]) -> Key[Array, ""]:
    """Return the key of one named use, so that no two uses of a run share noise.

    Args:
        seed: 0 to 2^32 - 1; JAX would silently truncate a larger one.
        use: one of `uses`.
        uses: all uses of the family in a fixed order; appending one leaves the numbers of the others as they are.

    Raises:
        UserError: the seed is out of range.
    """
    return jax.random.fold_in(seed_key(seed), uses.index(use))


def seed_key(seed: int) -> Key[Array, ""]:
    """Return the key of a seed. UserError if it is not an integer from 0 to 2^32 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed is {quoted(seed)}; allowed: an integer from 0 to {LARGEST_SEED}")
    return jax.random.key(seed)


def beyond_steps(key: Key[Array, ""], n: int = 2) -> Key[Array, " n"]:
    """Return n keys that no training step draws from, given the key of a TrainState."""
    return jax.random.split(jax.random.fold_in(key, 2**31), n)
