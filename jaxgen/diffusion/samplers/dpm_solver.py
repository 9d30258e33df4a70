"""DPM-Solver++(2M), a multistep solver of second order, and its stochastic form.

    lambda_t = log(alpha_t / sigma_t),   h = lambda_s - lambda_t
    x_s = sigma_s / sigma_t x_t - alpha_s (e^-h - 1) D                                                     2M
    x_s = sigma_s / sigma_t e^-h x_t + alpha_s (1 - e^-2h) D + sigma_s sqrt(1 - e^-2h) z                   2M, SDE
    D   = x_0(t) + h / (2 h') (x_0(t) - x_0(t')),   t' and h' of the previous step

Lu et al. (2022, DPM-Solver++), algorithm 2 and eq. 19. With D = x_0(t) the second is ancestral sampling. The first and
the last step have D = x_0(t): the first has no previous step, and at the last h is infinite. One evaluation per step.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxgen.diffusion.guidance import Denoiser
from jaxgen.diffusion.process import Images, Process, Times, posterior_mean, posterior_variance


class Memory(NamedTuple):
    """The x_0 and the h of the previous step, and whether there was a previous step."""

    x0: Images
    h: Float[Array, ""]
    exists: Bool[Array, ""]


def dpm_solver_memory(x: Images) -> Memory:
    """Return the memory before the first step."""
    return Memory(jnp.zeros_like(x), jnp.ones(()), jnp.zeros((), bool))


def dpm_solver_step(
    denoise: Denoiser, process: Process, x: Images, memory: Memory, t: Times, s: Times, noise: Images
) -> tuple[Images, Memory]:
    """Return x_s from x = x_t; `noise` is not used."""
    estimate, memory = _extrapolated(denoise, process, x, memory, t, s)
    shrink = process.sigma[s] / process.sigma[t]
    # alpha_s e^-h is alpha_t sigma_s / sigma_t, finite at sigma_s = 0.
    return shrink * x + (process.alpha[s] - process.alpha[t] * shrink) * estimate, memory


def dpm_solver_sde_step(
    denoise: Denoiser, process: Process, x: Images, memory: Memory, t: Times, s: Times, noise: Images
) -> tuple[Images, Memory]:
    """Return x_s from x = x_t by the stochastic form."""
    estimate, memory = _extrapolated(denoise, process, x, memory, t, s)
    spread = jnp.sqrt(posterior_variance(process, t, s))  # sigma_s sqrt(1 - e^-2h)
    return posterior_mean(process, x, estimate, t, s) + spread * noise, memory


def _extrapolated(
    denoise: Denoiser, process: Process, x: Images, memory: Memory, t: Times, s: Times
) -> tuple[Images, Memory]:
    """Return D and the next memory."""
    x0 = denoise(x, t).x0
    last = s == 0
    log_ratio = jnp.log(process.alpha) - jnp.log(jnp.where(process.sigma > 0, process.sigma, 1.0))
    h = log_ratio[s] - log_ratio[t]
    weight = jnp.where(memory.exists & ~last, h / (2 * memory.h), 0.0)
    return x0 + weight * (x0 - memory.x0), Memory(x0, h, jnp.ones((), bool))
