"""The variational bound on the negative log-likelihood, in bits per pixel.

    - log p(x_0) <= L_T + sum_(t = 2 .. T) L_(t-1) + L_0,  in the mean over x_1 ... x_T from the forward process
    L_T     = KL( q(x_T | x_0) || N(0, I) )
    L_(t-1) = KL( q(x_(t-1) | x_t, x_0) || p(x_(t-1) | x_t) ),   p Gaussian
    L_0     = - log of the mass of p(x_0 | x_1) on the grey level, an interval of 2 / 255, open at black and white

Ho et al. (2020), eqs. 5 and 13. Every t is evaluated once for every image, so the error comes from the images and from
the noise alone. The variance of p is one of three:

    learned         where the network predicts it
    posterior       that of q(x_(t-1) | x_t, x_0), the smallest; L_0 then has the variance of the step from 2 to 1
    best scalar     v_t = posterior variance + mean (mean of p - mean of q)^2, one number per t, of `best_variances`

The last is the minimum of L_(t-1) over scalar variances (Bao et al. 2022, theorem 1, estimated from images in place of
the score); at t = 1 it is found by search. It is measured on images other than those of the bound, which stays a bound.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxgen.diffusion.guidance import Denoised, Denoiser, log_variance
from jaxgen.diffusion.process import Images, Process, posterior_mean, posterior_variance, q_sample
from jaxgen.diffusion.samplers.loop import keyed_noise

_HALF_BIN = 1 / 255
_SEARCH = np.linspace(-6.0, 2.0, 33)  # factors of v_1, as logarithms


class Bound(NamedTuple):
    """The terms in bits per pixel: L_T of every image, and L_0 ... L_(T-1) of every image."""

    prior: Float[Array, "batch"]
    steps: Float[Array, "batch T"]

    @property
    def total(self) -> Float[Array, "batch"]:
        """The bound of every image."""
        return self.prior + self.steps.sum(1)


def variational_bound(
    key: Key[Array, ""],
    process: Process,
    denoise: Denoiser,
    x0: Images,
    index: UInt32[Array, "batch"],
    variances: Float[Array, "T"] | None = None,
) -> Bound:
    """Return the bound of images in [-1, 1]. Call it under `jax.jit`.

    Args:
        key: the key of the whole set of images.
        process: the process of the denoiser.
        denoise: `(x_t, t) -> Denoised`.
        x0: images whose values are 2 k / 255 - 1.
        index: number of each image in the whole set; the noise is keyed by it.
        variances: v_1 ... v_T of the reverse steps, of `best_variances`; by default learned or those of the posterior.
    """

    def term(_, t):
        x = q_sample(process, x0, t, keyed_noise(key, index, t, x0.shape[1:]))
        spread = None if variances is None else jnp.log(variances[t - 1])
        return None, step_term(process, x0, x, denoise(x, t), jnp.full(len(x0), t), spread)

    _, steps = jax.lax.scan(term, None, jnp.arange(1, process.n_steps + 1))
    return Bound(prior_term(process, x0), steps.T)


def prior_term(process: Process, x0: Images) -> Float[Array, "batch"]:
    """Return L_T in bits per pixel."""
    return _bits(gaussian_kl(process.alpha[-1] * x0, 2 * jnp.log(process.sigma[-1]), 0.0, 0.0))


def best_variances(
    key: Key[Array, ""], process: Process, denoise: Denoiser, x0: Images, index: UInt32[Array, "batch"]
) -> Float[Array, "T"]:
    """Return the variances v_1 ... v_T of the reverse steps that minimise the bound of these images; to be jitted.

    Arguments as for `variational_bound`.
    """

    def gap(_, t):
        x = q_sample(process, x0, t, keyed_noise(key, index, t, x0.shape[1:]))
        s, estimate = t - 1, denoise(x, t)
        difference = posterior_mean(process, x, estimate.x0, t, s) - posterior_mean(process, x, x0, t, s)
        return None, posterior_variance(process, t, s) + jnp.mean(difference**2)

    _, variances = jax.lax.scan(gap, None, jnp.arange(1, process.n_steps + 1))
    x = q_sample(process, x0, 1, keyed_noise(key, index, 1, x0.shape[1:]))
    candidates = jnp.log(variances[0]) + _SEARCH

    def last(_, spread):
        return None, step_term(process, x0, x, denoise(x, 1), jnp.ones(len(x0), int), spread).mean()

    _, terms = jax.lax.scan(last, None, candidates)
    return variances.at[0].set(jnp.exp(candidates[jnp.argmin(terms)]))


def step_term(
    process: Process,
    x0: Images,
    x: Images,
    estimate: Denoised,
    t: Int[Array, "batch"],
    log_variances: Float[Array, "..."] | None = None,
) -> Float[Array, "batch"]:
    """Return L_(t-1) at x = x_t in bits per pixel; L_0 where t = 1.

    `log_variances` of the reverse step, one for all or one per image, replaces the learned or the posterior variance.
    """
    s = t - 1
    mean = posterior_mean(process, x, estimate.x0, t, s)
    spread = log_variance(process, estimate.fraction, t, s) if log_variances is None else jnp.asarray(log_variances)
    spread = jnp.broadcast_to(_like(spread, x), x.shape)
    true_mean = posterior_mean(process, x, x0, t, s)
    true_spread = _like(jnp.log(jnp.where(s > 0, posterior_variance(process, t, s), 1.0)), x)
    divergence = gaussian_kl(true_mean, true_spread, mean, spread)
    return jnp.where(t > 1, _bits(divergence), _bits(-discretised_log_mass(x0, mean, spread)))


def gaussian_kl(mean, log_variance, other_mean, other_log_variance) -> Float[Array, "..."]:
    """Return KL( N(mean, variance) || N(other_mean, other_variance) ) of every pixel in nats."""
    ratio = jnp.exp(log_variance - other_log_variance)
    return 0.5 * (
        other_log_variance - log_variance + ratio - 1 + (mean - other_mean) ** 2 * jnp.exp(-other_log_variance)
    )


def discretised_log_mass(x0: Images, mean: Images, log_variance: Images) -> Images:
    """Return the log of the mass of N(mean, variance) within 1 / 255 of the grey level x0, in nats, for every pixel."""
    scale = jnp.exp(-log_variance / 2)
    low, high = (x0 - _HALF_BIN - mean) * scale, (x0 + _HALF_BIN - mean) * scale
    # By symmetry the mass is computed in the lower tail, where the distribution function is relatively precise.
    swap = low + high > 0
    low, high = jnp.where(swap, -high, low), jnp.where(swap, -low, high)
    log_high = jax.scipy.stats.norm.logcdf(high)
    inner = log_high + jnp.log1p(-jnp.exp(jax.scipy.stats.norm.logcdf(low) - log_high))
    black = jax.scipy.stats.norm.logcdf((x0 + _HALF_BIN - mean) * scale)
    white = jax.scipy.stats.norm.logcdf(-(x0 - _HALF_BIN - mean) * scale)
    return jnp.where(x0 < _HALF_BIN - 1, black, jnp.where(x0 > 1 - _HALF_BIN, white, inner))


def _bits(nats: Float[Array, "batch height width channels"]) -> Float[Array, "batch"]:
    return nats.mean((1, 2, 3)) / math.log(2)


def _like(values: Float[Array, "..."], x: Images) -> Float[Array, "..."]:
    return values.reshape(values.shape + (1,) * (x.ndim - values.ndim))
