"""Ancestral sampling.

    x_s ~ N(posterior mean(x_t, x_0), variance),  x_0 of the denoiser;  the last step takes the mean

Ho et al. (2020), algorithm 2, for any s < t. The variance is that of the posterior, or learned. With the former it is
the "Euler ancestral" sampler of k-diffusion, as DDIM is its Euler sampler.
"""

import jax.numpy as jnp

from jaxgen.diffusion.guidance import Denoiser, log_variance
from jaxgen.diffusion.process import Images, Process, Times, posterior_mean


def ancestral_step(
    denoise: Denoiser, process: Process, x: Images, memory: None, t: Times, s: Times, noise: Images
) -> tuple[Images, None]:
    """Return x_s from x = x_t."""
    estimate = denoise(x, t)
    spread = jnp.where(s > 0, jnp.exp(log_variance(process, estimate.fraction, t, s) / 2), 0.0)
    return posterior_mean(process, x, estimate.x0, t, s) + spread * noise, memory
