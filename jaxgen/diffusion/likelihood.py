"""A bound on the negative log-likelihood, in bits per pixel.

    - log p(x_0) <= L_T + sum_(t = 2 .. T) L_(t-1) + L_0,  in the mean over x_1 ... x_T from the forward process
    L_T     = KL( q(x_T | x_0) || N(0, I) )
    L_(t-1) = KL( q(x_(t-1) | x_t, x_0) || p(x_(t-1) | x_t) ),   p Gaussian
    L_0     = - log of the mass of p(x_0 | x_1) on the grey level, an interval of 2 / 255, open at black and white

Ho et al. (2020), eqs. 5 and 13. Every t is evaluated once for every image, so the error comes from the images and from
the noise alone. Fixed variances are those of the posterior; L_0 then has the variance of the step from 2 to 1.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxgen.diffusion.guidance import Denoised, Denoiser, log_variance
from jaxgen.diffusion.process import Images, Process, posterior_mean, posterior_variance, q_sample
from jaxgen.diffusion.samplers.loop import keyed_noise

_HALF_BIN = 1 / 255


class Bound(NamedTuple):
    """Terms in bits per pixel: L_T of every image, and L_0 ... L_(T-1)."""

    prior: Float[Array, "batch"]
    steps: Float[Array, "batch T"]

    @property
    def total(self) -> Float[Array, "batch"]:
        """Of every image."""
        return self.prior + self.steps.sum(1)


def variational_bound(
    key: Key[Array, ""], process: Process, denoise: Denoiser, x0: Images, index: UInt32[Array, "batch"]
) -> Bound:
    """The bound of images in [-1, 1]; to be jitted.

    Args:
        key: of the whole set of images.
        process: that of the denoiser.
        denoise: `(x_t, t) -> Denoised`.
        x0: images whose values are 2 k / 255 - 1.
        index: number of each image in the whole set; the noise is keyed by it.
    """

    def term(_, t):
        x = q_sample(process, x0, t, keyed_noise(key, index, t, x0.shape[1:]))
        return None, step_term(process, x0, x, denoise(x, t), jnp.full(len(x0), t))

    _, steps = jax.lax.scan(term, None, jnp.arange(1, process.n_steps + 1))
    return Bound(prior_term(process, x0), steps.T)


def prior_term(process: Process, x0: Images) -> Float[Array, "batch"]:
    """L_T, bits per pixel."""
    return _bits(gaussian_kl(process.alpha[-1] * x0, 2 * jnp.log(process.sigma[-1]), 0.0, 0.0))


def step_term(
    process: Process, x0: Images, x: Images, found: Denoised, t: Int[Array, "batch"]
) -> Float[Array, "batch"]:
    """L_(t-1) at x = x_t, bits per pixel; L_0 where t = 1."""
    s = t - 1
    mean = posterior_mean(process, x, found.x0, t, s)
    spread = jnp.broadcast_to(_like(log_variance(process, found.fraction, t, s), x), x.shape)
    true_mean = posterior_mean(process, x, x0, t, s)
    true_spread = _like(jnp.log(jnp.where(s > 0, posterior_variance(process, t, s), 1.0)), x)
    divergence = gaussian_kl(true_mean, true_spread, mean, spread)
    return jnp.where(t > 1, _bits(divergence), _bits(-discretised_log_mass(x0, mean, spread)))


def gaussian_kl(mean, log_variance, other_mean, other_log_variance) -> Float[Array, "..."]:
    """KL( N(mean, variance) || N(other) ) of every pixel, nats."""
    ratio = jnp.exp(log_variance - other_log_variance)
    return 0.5 * (
        other_log_variance - log_variance + ratio - 1 + (mean - other_mean) ** 2 * jnp.exp(-other_log_variance)
    )


def discretised_log_mass(x0: Images, mean: Images, log_variance: Images) -> Images:
    """Log of the mass of N(mean, variance) within 1 / 255 of every grey level x0, nats."""
    scale = jnp.exp(-log_variance / 2)
    low, high = (x0 - _HALF_BIN - mean) * scale, (x0 + _HALF_BIN - mean) * scale
    # By symmetry in the lower tail, where the distribution function keeps its relative precision.
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
