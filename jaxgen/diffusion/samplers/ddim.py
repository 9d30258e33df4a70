"""Denoising diffusion implicit models.

    x_s = alpha_s x_0 + sqrt(sigma_s^2 - spread^2) eps + spread z,   spread = eta sqrt(posterior variance)

Song, Meng and Ermon (2021), eqs. 12 and 16. eta = 0 is deterministic and follows the probability-flow ODE by steps of
first order; eta = 1 is ancestral sampling with the posterior's variance.
"""

import jax.numpy as jnp

from jaxgen.diffusion.guidance import Denoiser
from jaxgen.diffusion.process import Images, Process, Times, posterior_variance


def ddim_step(
    denoise: Denoiser, process: Process, x: Images, memory: None, t: Times, s: Times, noise: Images, eta: float = 0.0
) -> tuple[Images, None]:
    """Return x_s from x = x_t."""
    estimate = denoise(x, t)
    spread = eta * jnp.sqrt(posterior_variance(process, t, s))
    # Rounding may leave the difference slightly below 0.
    of_eps = jnp.sqrt(jnp.maximum(process.sigma[s] ** 2 - spread**2, 0.0))
    return process.alpha[s] * estimate.x0 + of_eps * estimate.eps + spread * noise, memory
