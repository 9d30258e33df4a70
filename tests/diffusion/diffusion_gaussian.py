"""Data N(m, s^2) in every pixel: the denoiser, the reverse step and the probability flow are known in closed form."""

import jax.numpy as jnp
import numpy as np

from jaxgen.diffusion import guidance
from jaxgen.diffusion import process as forward

MEAN, SCALE = 0.3, 0.5


def denoiser(process, exact_variance=False):
    """E[x_0 | x_t], and the variance of x_s given x_t as the learned fraction for s = t - 1."""

    def denoise(x, t):
        t = jnp.max(jnp.asarray(t))
        alpha, sigma = process.alpha[t], process.sigma[t]
        total = alpha**2 * SCALE**2 + sigma**2
        x0 = MEAN + SCALE**2 * alpha / total * (x - alpha * MEAN)
        fraction = None
        if exact_variance:
            s = t - 1
            of_x0 = process.alpha[s] * forward.step_beta(process, t, s) / sigma**2
            variance = forward.posterior_variance(process, t, s) + of_x0**2 * SCALE**2 * sigma**2 / total
            least = forward.posterior_variance(process, 2, 1)
            low = jnp.log(jnp.where(s > 0, forward.posterior_variance(process, t, s), least))
            high = jnp.log(forward.step_beta(process, t, s))
            fraction = jnp.full_like(x, (jnp.log(variance) - low) / (high - low))
        return guidance.Denoised(x0, (x - alpha * x0) / sigma, fraction)

    return denoise


def flow(process, start):
    """x_0 of the probability-flow ODE from x_T = start: it keeps the number of standard deviations from the mean."""
    alpha, sigma = (np.asarray(a, np.float64) for a in (process.alpha, process.sigma))
    spread = np.sqrt(alpha**2 * SCALE**2 + sigma**2)
    return alpha[0] * MEAN + spread[0] / spread[-1] * (np.asarray(start, np.float64) - alpha[-1] * MEAN)
