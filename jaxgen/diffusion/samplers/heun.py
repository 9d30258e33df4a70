"""Heun's method on the probability-flow ODE.

    dx / dphi = v(x, phi),   tan phi = sigma_t / alpha_t
    x' = x_t + h v(x_t, phi_t),   x_s = x_t + h / 2 (v(x_t, phi_t) + v(x', phi_s)),   h = phi_s - phi_t

The ODE in the angle is that of Salimans and Ho (2022), appendix D; the method is second order (Karras et al. 2022,
algorithm 1, in another variable). phi runs from nearly pi / 2 to 0 and v stays bounded, while the noise-to-signal ratio
of the cosine schedule falls by a factor of up to a hundred per step, which no explicit method follows. The last step is
of first order, because the network is not defined at t = 0. Two evaluations per step.
"""

import jax.numpy as jnp

from jaxgen.diffusion.guidance import Denoiser
from jaxgen.diffusion.process import Images, Process, Times, to_v


def heun_step(
    denoise: Denoiser, process: Process, x: Images, memory: None, t: Times, s: Times, noise: Images
) -> tuple[Images, None]:
    """Return x_s from x = x_t; `noise` is not used."""
    phi = jnp.arctan2(process.sigma, process.alpha)
    h = phi[s] - phi[t]
    first = denoise(x, t)
    slope = to_v(process, first.x0, x, t)
    predicted = x + h * slope
    # At s = 0 the second evaluation takes place at t = 1 and is discarded.
    later = jnp.maximum(s, 1)
    average = (slope + to_v(process, denoise(predicted, later).x0, predicted, later)) / 2
    straight = process.alpha[s] * first.x0 + process.sigma[s] * first.eps
    return jnp.where(s > 0, x + h * average, straight), memory
