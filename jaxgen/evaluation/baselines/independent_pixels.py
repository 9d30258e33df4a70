"""Independent pixels: the exact model that knows each pixel's histogram and nothing of its neighbours.

    log p(x) = sum_i log p_i(x_i),     p_i(a) = (n_i(a) + s / L) / (n + s)

n_i(a) of the n training images have state a at pixel i; s pseudo observations are spread evenly over the L states.
States are 0 to L - 1.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Key, UInt8, UInt32

from jaxgen.errors import UserError

MAX_LEVELS = 256
_CHUNK = 1000


class IndependentPixels(NamedTuple):
    """probabilities[y, x, a] = p(state a at that pixel), float64; every row sums to 1."""

    probabilities: Float64[np.ndarray, "H W L"]

    @classmethod
    def fit(cls, states: UInt8[np.ndarray, "n H W"], levels: int, pseudo_count: float) -> "IndependentPixels":
        """Return the model of maximum likelihood for the states together with `pseudo_count` uniform observations.

        Args:
            states: 0 to levels - 1.
            levels: L, 2 to 256; with 256 grey images are their own states.
            pseudo_count: s, 0 or more. With 0 a state never seen at a pixel has probability 0.

        Raises:
            UserError: naming the argument that is out of range.
        """
        states = check_states(states, levels, MAX_LEVELS)
        if not 0 <= pseudo_count < np.inf:
            raise UserError(f"pseudo_count is {pseudo_count}; allowed: a finite number, 0 or more")
        counts = np.stack([(states == level).sum(0) for level in range(levels)], axis=-1)
        return cls((counts + pseudo_count / levels) / (len(states) + pseudo_count))

    def log_prob(self, states: UInt8[np.ndarray, "n H W"]) -> Float64[np.ndarray, "n"]:
        """Return log p(x) in nats, one number per image; minus infinity where a state has probability 0."""
        height, width, levels = self.probabilities.shape
        states = check_states(states, levels, MAX_LEVELS, (height, width))
        with np.errstate(divide="ignore"):
            table = np.log(self.probabilities)
        y, x = np.indices((height, width))
        return sum_in_chunks(lambda some: table[y, x, some], states)

    def sample(self, key: Key[Array, ""], n: int) -> UInt8[np.ndarray, "n H W"]:
        """Draw n independent images; image k is a function of `key` and k alone. UserError if n < 1."""
        cumulative = np.cumsum(self.probabilities, axis=-1, dtype=np.float64)
        flat = jnp.asarray(cumulative / cumulative[..., -1:], jnp.float32).reshape(-1, self.probabilities.shape[-1])
        pieces = [np.asarray(_invert(flat, uniform)) for uniform in uniforms(key, n, len(flat))]
        return np.concatenate(pieces)[:n].reshape(n, *self.probabilities.shape[:2])


@jax.jit
def _invert(cumulative: Float[Array, "D L"], uniform: Float[Array, "D n"]) -> UInt8[Array, "n D"]:
    """Return the first state whose cumulative probability exceeds the uniform number."""
    state = jax.vmap(lambda row, u: jnp.searchsorted(row, u, side="right"))(cumulative, uniform)
    return state.astype(jnp.uint8).T


def uniforms(key: Key[Array, ""], n: int, pixels: int) -> Iterator[Float[Array, "D thousand"]]:
    """Yield uniform numbers on [0, 1) for n images or more, a thousand images at a time.

    Those of image k come from fold_in(key, k).

    Every piece is full, whatever n, so that one compiled program serves all.

    Raises:
        UserError: n < 1.
    """
    if n < 1:
        raise UserError(f"n is {n}; allowed: 1 or more")
    every = jnp.arange(_CHUNK, dtype=jnp.uint32)
    return (_uniforms(key, start + every, pixels) for start in range(0, n, _CHUNK))


@functools.partial(jax.jit, static_argnums=2)
def _uniforms(key: Key[Array, ""], index: UInt32[Array, "n"], pixels: int) -> Float[Array, "D n"]:
    return jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(key, k), (pixels,)), out_axes=1)(index)


def sum_in_chunks(
    log_factors: Callable[[np.ndarray], np.ndarray], states: UInt8[np.ndarray, "n H W"]
) -> Float64[np.ndarray, "n"]:
    """Return log_factors(some states) summed over everything but the image, a thousand images at a time."""
    pieces = [log_factors(states[start : start + _CHUNK]) for start in range(0, len(states), _CHUNK)]
    return np.concatenate([piece.reshape(len(piece), -1).sum(1) for piece in pieces])


def check_states(
    states: UInt8[np.ndarray, "n H W"], levels: int, max_levels: int, shape: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "n H W"]:
    """Return the states as a numpy array; UserError naming what is wrong with them or with the number of levels."""
    states = np.asarray(states)
    if not 2 <= levels <= max_levels:
        raise UserError(f"levels is {levels}; allowed: 2 to {max_levels}")
    if states.dtype != np.uint8 or states.ndim != 3 or states.size == 0:
        raise UserError(f"states is {states.dtype} of shape {states.shape}; allowed: uint8 (n, H, W), not empty")
    if shape is not None and states.shape[1:] != shape:
        raise UserError(f"states has images of {states.shape[1:]}; allowed: {shape}, as fitted")
    if states.max() >= levels:
        raise UserError(f"states has values up to {states.max()}; allowed: 0 to {levels - 1}")
    return states
