"""The refractive index of point centres in latent space, and the flow along its logarithm.

    n(z) = 1 + sum_i mu_i / r_i,        r_i = sqrt(|z - c_i|^2 + eps^2)
    g(z) = grad log n(z) = - (1 / n) sum_i mu_i (z - c_i) / r_i^3
    z <- z + dt g(z)                    explicit Euler, a few steps

With mu_i >= 0 the index is at least 1 for any parameters, and z moves towards the centres. Near a centre the slope of
g is at least -1 / eps^2, so a step with dt < eps^2 does not overshoot it. All centres are one array expression.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Gradient = Callable[[Float[Array, "... d"], Float[Array, "k d"], Float[Array, " k"]], Float[Array, "... d"]]

ORIGINAL_OFFSET = 1e-4


def log_index(
    z: Float[Array, "... d"], centres: Float[Array, "k d"], mu: Float[Array, " k"], softening: float
) -> Float[Array, "..."]:
    """Return log n(z); `softening` is eps > 0, in the units of z."""
    inverse_r = jax.lax.rsqrt(_squared_distances(_columns(z), centres) + softening**2)
    return jnp.log1p(mu @ inverse_r).reshape(z.shape[:-1])


def log_index_gradient(
    z: Float[Array, "... d"], centres: Float[Array, "k d"], mu: Float[Array, " k"], softening: float
) -> Float[Array, "... d"]:
    """Return g(z), the exact gradient of `log_index`."""
    columns = _columns(z)
    inverse_r = jax.lax.rsqrt(_squared_distances(columns, centres) + softening**2)
    weights = mu[:, None] * inverse_r**3 / (1.0 + mu @ inverse_r)
    pull = centres.T @ weights - columns * weights.sum(0)
    return pull.T.reshape(z.shape)


def original_gradient(
    z: Float[Array, "... d"], centres: Float[Array, "k d"], mu: Float[Array, " k"]
) -> Float[Array, "... d"]:
    """Return the field of the original notebook, with r_i = |z - c_i| + 1e-4: nearly, not exactly, a gradient.

    mu may have any sign there, so that n may reach 0 and the field infinity.
    """
    offsets = z[..., None, :] - centres
    inverse_r = 1.0 / (jnp.linalg.norm(offsets, axis=-1) + ORIGINAL_OFFSET)
    weights = mu * inverse_r**3 / (1.0 + (mu * inverse_r).sum(-1, keepdims=True))
    return -(weights[..., None] * offsets).sum(-2)


def euler(
    velocity: Callable[[Float[Array, "... d"]], Float[Array, "... d"]],
    z: Float[Array, "... d"],
    steps: int,
    dt: float,
    bound: float | None = None,
) -> Float[Array, "... d"]:
    """Return z after `steps` steps z <- z + dt velocity(z), clipped to +-`bound` (if given) after every step."""
    for _ in range(steps):
        z = z + dt * velocity(z)
        z = z if bound is None else jnp.clip(z, -bound, bound)
    return z


def displacement(before: Float[Array, "n d"], after: Float[Array, "n d"]) -> Float[Array, ""]:
    """Return mean |after - before| / mean |before|: how far a flow moved latents, relative to their size."""
    return jnp.linalg.norm(after - before, axis=-1).mean() / jnp.linalg.norm(before, axis=-1).mean()


def _columns(z: Float[Array, "... d"]) -> Float[Array, "d n"]:
    # Points last: loops over them are long and contiguous, which more than halves the time on a CPU.
    return z.reshape(-1, z.shape[-1]).T


def _squared_distances(columns: Float[Array, "d n"], centres: Float[Array, "k d"]) -> Float[Array, "k n"]:
    # |c|^2 - 2 c z + |z|^2 rounds at 1e-7 |z|^2 in float32, which the softening hides.
    products = jnp.square(centres).sum(1)[:, None] - 2.0 * centres @ columns + jnp.square(columns).sum(0)
    return jnp.maximum(products, 0.0)
