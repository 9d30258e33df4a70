"""The noising process of a denoising machine, its log-odds and its posterior.

    q(x^t | x) = prod_i  alpha_t [x^t_i = x_i] + (1 - alpha_t) / L           alpha_T = 0: x^T is uniform noise

A pixel keeps its level with probability alpha_t and is drawn uniformly otherwise; alpha_t is the *cumulative* signal,
so x^t comes from x in one step. Observing x^t_i adds to the log-odds of x_i, against level 0 and for a uniform prior,

    u_i[l] = r_t ([x^t_i = l] - [x^t_i = 0]),      r_t = log (alpha_t + (1 - alpha_t) / L) / ((1 - alpha_t) / L).

The uniform noise is that of Austin et al. 2021, "Structured denoising diffusion models in discrete state-spaces".
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Integer, Key, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.bipartite import one_hot, uniform

# Cumulative signal of x^1 .. x^T: the first level removes the last fifth of noise, the last starts from nothing.
SCHEDULES = {
    1: (0.0,),
    2: (0.5, 0.0),
    3: (0.7, 0.35, 0.0),
    4: (0.8, 0.5, 0.25, 0.0),
    5: (0.85, 0.6, 0.4, 0.2, 0.0),
    6: (0.85, 0.65, 0.45, 0.3, 0.15, 0.0),
    8: (0.9, 0.75, 0.6, 0.47, 0.35, 0.23, 0.12, 0.0),
}


def signal(n_steps: int) -> Float[np.ndarray, " T"]:
    """Return alpha_1 .. alpha_T, which fall to 0. UserError for a number of steps without a schedule."""
    if n_steps not in SCHEDULES:
        raise UserError(f"noise_steps is {n_steps}; allowed: {', '.join(map(str, SCHEDULES))}")
    return np.array(SCHEDULES[n_steps], np.float32)


def log_odds_scale(alpha: Float[np.ndarray, " T"], levels: int) -> Float[np.ndarray, " T"]:
    """Return r_t, the log-odds that observing a level at noise level t adds to that level."""
    return np.log((alpha + (1 - alpha) / levels) / ((1 - alpha) / levels)).astype(np.float32)


def corrupt(
    key: Key[Array, ""],
    ids: Integer[Array, " n"],
    x: UInt8[Array, "n V"],
    alpha: Float[Array, " n"] | Float[ArrayLike, ""],
    levels: int,
) -> UInt8[Array, "n V"]:
    """Return x^t drawn from q(x^t | x); the noise of a row depends on the key and its global number in `ids` alone."""
    key_kept, key_level = jax.random.split(key)
    is_kept = uniform(key_kept, ids, x.shape[1]) < jnp.reshape(jnp.asarray(alpha, jnp.float32), (-1, 1))
    return jnp.where(is_kept, x, uniform_levels(key_level, ids, x.shape[1], levels))


def uniform_levels(key: Key[Array, ""], ids: Integer[Array, " n"], units: int, levels: int) -> UInt8[Array, "n units"]:
    """Return x^T, drawn uniformly from the levels 0 .. L-1."""
    return jnp.minimum(uniform(key, ids, units) * levels, levels - 1).astype(jnp.uint8)


def indicators(x: UInt8[Array, "n V"], levels: int) -> Float[Array, "n V L1"]:
    """Return [x_i = l] - [x_i = 0] for l = 1 .. L-1."""
    return one_hot(x, levels) - (x == 0).astype(jnp.float32)[..., None]


def posterior(
    prior: Float[Array, "*b L"], x_noisy: UInt8[Array, "*b"], alpha: float, levels: int
) -> Float[Array, "*b L"]:
    """Return p(x_i | x^t_i) ~ prior(x_i) q(x^t_i | x_i) of independent pixels; `prior` sums to 1 over the levels."""
    likelihood = alpha * jax.nn.one_hot(x_noisy, levels) + (1 - alpha) / levels
    joint = prior * likelihood
    return joint / joint.sum(-1, keepdims=True)
