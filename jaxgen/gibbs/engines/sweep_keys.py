"""The random words that key the sweeps, a block of sweeps at a time: memory does not grow with the number of sweeps.

    word w of sweep t is word t W + w of jax.random.bits(key, (n_sweeps, W)), whatever the size of a block

JAX's threefry generator counts words, so that any range of them can be drawn alone: word n is the exclusive or of both
words of threefry2x32(key, (n >> 32, n mod 2^32)).
"""

import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, UInt32

from jaxgen.gibbs.engines.threefry import threefry2x32

BLOCK = 4096  # sweeps

Carry = TypeVar("Carry")


def in_blocks(
    key: PRNGKeyArray,
    n_sweeps: int,
    shape: tuple[int, ...],
    run: Callable[[Carry, UInt32[Array, "sweeps *shape"]], Carry],
    carry: Carry,
) -> Carry:
    """Return what `run` makes of `carry` in all sweeps; it is called with the words of the sweeps of each block.

    Args:
        key: random key. Of a generator that does not count words, all are drawn at once.
        n_sweeps: number of sweeps.
        shape: of the words of one sweep.
        run: does as many sweeps as it is given words for.
        carry: what `run` takes and returns.
    """
    if n_sweeps <= BLOCK or not _counts_words(key):
        return run(carry, jax.random.bits(key, (n_sweeps, *shape), jnp.uint32))
    whole, rest = divmod(n_sweeps, BLOCK)

    def block(number: Int[Array, ""], carry: Carry) -> Carry:
        return run(carry, words_from(key, number * BLOCK, (BLOCK, *shape)))

    carry = jax.lax.fori_loop(0, whole, block, carry)
    return run(carry, words_from(key, jnp.int32(whole * BLOCK), (rest, *shape))) if rest else carry


def words_from(key: PRNGKeyArray, first: Int[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Return jax.random.bits(key, (many, *shape[1:]))[first : first + shape[0]], drawing these words alone."""
    per_sweep = math.prod(shape[1:])
    low, high = _product(first.astype(jnp.uint32), per_sweep)
    place = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    count = low + place
    high = high + (count < low).astype(jnp.uint32)
    words = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    left, right = threefry2x32((words[0], words[1]), (high, count))
    return (left ^ right).reshape(shape)


def _product(a: UInt32[Array, ""], b: int) -> tuple[UInt32[Array, ""], UInt32[Array, ""]]:
    """Return the low and the high word of a b, for b below 2^16."""
    upper = (a >> np.uint32(16)) * np.uint32(b) + ((a & np.uint32(0xFFFF)) * np.uint32(b) >> np.uint32(16))
    return a * np.uint32(b), upper >> np.uint32(16)


def _counts_words(key: PRNGKeyArray) -> bool:
    return str(jax.random.key_impl(key)) == "threefry2x32" and jax.config.jax_threefry_partitionable
