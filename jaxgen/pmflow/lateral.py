"""Lateral coupling of hidden states, h <- h + gain K h.

    K(d) = k_e exp(-d^2 / 2 sigma_e^2) - k_i exp(-d^2 / 2 sigma_i^2)       excitation minus inhibition at a distance d

A centre-surround kernel (Wilson and Cowan 1973) needs k_e > k_i and sigma_e < sigma_i: positive near, negative around.
That of the original notebook has k_e < k_i and is negative everywhere. What K couples:

    units   hidden units, at fixed places on a ring:               (K h)_a = sum_b K(|p_a - p_b|) h_b
    bank    each sample with M stored references, by latents:      (K h)_i = sum_m K(|z_i - z_m|) h_m
    batch   the samples of a batch (original notebook):            (K h)_i = sum_j K(|z_i - z_j|) h_j

`units` and `bank` are normalised, K_ij <- K_ij / max(1, sum_j |K_ij|). Then every eigenvalue has |lambda| <= 1
(Gershgorin 1931) and 0 <= gain < 2 keeps every 1 + gain lambda above -1: no state changes sign and grows. `batch` is
not, its smallest eigenvalue falls with the number of samples, and a prediction depends on the batch it is made in.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.errors import UserError

KINDS = ("none", "units", "bank", "batch")
GAIN_LIMIT = 2.0  # 2 / lambda_max of a normalised kernel

Coupling = Callable[[Float[Array, "rows d"], Float[Array, "rows h"]], Float[Array, "rows h"]]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """K as a function of d^2, with strengths k_e, k_i and widths sigma_e, sigma_i in the units of the distance."""

    k_e: float = 1.0
    k_i: float = 0.5
    sigma_e: float = 0.6
    sigma_i: float = 1.2

    def __call__(self, distance_squared: Float[Array, "..."]) -> Float[Array, "..."]:
        excitation = self.k_e * jnp.exp(-distance_squared / (2 * self.sigma_e**2))
        return excitation - self.k_i * jnp.exp(-distance_squared / (2 * self.sigma_i**2))

    @property
    def is_centre_surround(self) -> bool:
        """Return whether the kernel excites nearby units and inhibits units farther away."""
        return self.k_e > self.k_i > 0 and self.sigma_e < self.sigma_i


ORIGINAL_KERNEL = Kernel(k_e=0.8, k_i=1.0)
RING_SPACING = 0.4  # between neighbouring units, so that the default kernel excites two on each side


def coupling(kind: str, n_units: int, n_references: int = 0) -> Coupling | None:
    """Return the function (z, h) -> K h of a kind, or None for "none".

    Args:
        kind: one of KINDS.
        n_units: hidden units.
        n_references: for "bank", how many of the last rows of z and h are the references; all rows are coupled to them.

    Raises:
        UserError: an unknown kind, or a bank without references.
    """
    if kind not in KINDS:
        raise UserError(f"lateral is {kind!r}; allowed: {', '.join(KINDS)}")
    if kind == "bank" and n_references < 1:
        raise UserError(f"n_references is {n_references}; allowed with lateral 'bank': 1 or more")
    if kind == "units":
        # As a tuple of rows, because attributes of a linen module are compared and hashed.
        return functools.partial(couple_units, matrix=tuple(map(tuple, ring_matrix(n_units).tolist())))
    return {
        "none": None,
        "bank": functools.partial(couple_bank, n_references=n_references),
        "batch": couple_batch,
    }[kind]


def couple_units(z: Float[Array, "rows d"], h: Float[Array, "rows h"], matrix: tuple) -> Float[Array, "rows h"]:
    """Return K h over the hidden units of each row; z is not used."""
    return h @ jnp.asarray(matrix, h.dtype).T


def couple_bank(z: Float[Array, "rows d"], h: Float[Array, "rows h"], n_references: int) -> Float[Array, "rows h"]:
    """Return K h of every row with the last `n_references` rows, through which no gradient flows."""
    matrix = normalised(Kernel()(squared_distances(z, z[-n_references:])))
    return jax.lax.stop_gradient(matrix) @ jax.lax.stop_gradient(h[-n_references:])


def couple_batch(z: Float[Array, "rows d"], h: Float[Array, "rows h"]) -> Float[Array, "rows h"]:
    """Return K h over all rows by the kernel of the original notebook, through which no gradient flows."""
    return jax.lax.stop_gradient(ORIGINAL_KERNEL(squared_distances(z, z))) @ h


def ring_matrix(n_units: int) -> Float[np.ndarray, "units units"]:
    """Return the normalised kernel between units at equal distances on a ring."""
    places = np.arange(n_units)
    steps = np.abs(places[:, None] - places)
    distance = RING_SPACING * np.minimum(steps, n_units - steps)
    return np.asarray(normalised(Kernel()(distance**2)))


def normalised(matrix: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """Return K_ij / max(1, sum_j |K_ij|), so that a row far from all others stays uncoupled."""
    return matrix / jnp.maximum(1.0, jnp.abs(matrix).sum(-1, keepdims=True))


def squared_distances(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Return |a_i - b_j|^2."""
    return jnp.square(a[:, None] - b).sum(-1)
