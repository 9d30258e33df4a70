"""UniPC of order 2: a predictor, and a corrector that needs no evaluation of its own.

    lambda_t = log(alpha_t / sigma_t),   h = lambda_s - lambda_t,   r = h' / h,   m_t = x_0(x_t, t)
    x_s = sigma_s / sigma_t x_t + alpha_s (1 - e^-h) D
    predictor   D = m_t + (m_t - m_t') / (2 r)
    corrector   D = m_t + c_1 (m_t - m_t') / r + c_2 (m_s - m_t)
                c_1 + c_2 = phi_2 / phi_1,   c_2 - r c_1 = 2 phi_3 / phi_1
    phi_1 = (1 - e^-h) / h,   phi_2 = (1 - phi_1) / h,   phi_3 = (1 / 2 - phi_2) / h

t' and h' belong to the previous step. Zhao et al. (2023, UniPC), algorithms 1 and 2, for the prediction of the image
and B(h) = e^h - 1 ("bh2"). The predictor is DPM-Solver++(2M); the corrector integrates the parabola through three
estimates, which makes the method third order. m_s, which the corrector needs, is also the estimate that the next step
starts from: x_s is corrected there, and a step costs one evaluation. The first step has no t': it is predicted with
D = m_t and corrected with c_1 = 0 and c_2 = 1 / 2. At the last step h is infinite, and D = m_t.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxgen.diffusion.guidance import Denoiser
from jaxgen.diffusion.process import Images, Process, Times


class UniPCMemory(NamedTuple):
    """The m_t and h of the previous step, its correction of x_s, which is fixed + weight (m_s - m_t), and a flag.

    The flag says whether there was a previous step.
    """

    x0: Images
    h: Float[Array, ""]
    fixed: Images
    weight: Float[Array, ""]
    exists: Bool[Array, ""]


def unipc_memory(x: Images) -> UniPCMemory:
    """Return the memory before the first step."""
    nothing = jnp.zeros_like(x)
    return UniPCMemory(nothing, jnp.ones(()), nothing, jnp.zeros(()), jnp.zeros((), bool))


def unipc_step(
    denoise: Denoiser, process: Process, x: Images, memory: UniPCMemory, t: Times, s: Times, noise: Images
) -> tuple[Images, UniPCMemory]:
    """Return the predicted x_s from the predicted x = x_t, which is corrected first; `noise` is not used."""
    x0 = denoise(x, t).x0
    x = x + memory.fixed + memory.weight * (x0 - memory.x0)
    log_ratio = jnp.log(process.alpha) - jnp.log(jnp.where(process.sigma > 0, process.sigma, 1.0))
    h = log_ratio[s] - log_ratio[t]
    ratio = memory.h / h
    slope = jnp.where(memory.exists, (x0 - memory.x0) / ratio, 0.0)
    shrink = process.sigma[s] / process.sigma[t]
    gain = process.alpha[s] - process.alpha[t] * shrink  # alpha_s (1 - e^-h), finite at sigma_s = 0
    predicted = shrink * x + gain * (x0 + jnp.where(s > 0, slope / 2, 0.0))
    first, second = _weights(h)
    of_slope = (first - second) / (1 + ratio)
    of_change = jnp.where(memory.exists, first - of_slope, 0.5)
    return predicted, UniPCMemory(x0, h, gain * (of_slope - 0.5) * slope, gain * of_change, jnp.ones((), bool))


def _weights(h: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return phi_2 / phi_1 and 2 phi_3 / phi_1; the series for small h, where the differences would cancel."""
    series = 1 / 6 - h / 24 + h**2 / 120
    third = jnp.where(h < 0.1, series, (h**2 / 2 - h - jnp.expm1(-h)) / h**3)
    second = 0.5 - h * third
    first = 1 - h * second
    return second / first, 2 * third / first
