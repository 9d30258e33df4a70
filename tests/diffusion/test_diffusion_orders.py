"""Orders of convergence on the schedules of training, for a mixture of two Gaussians whose flow is known.

In one dimension the flow keeps the order of the points, so it maps each quantile of the law of x_T to that of x_0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from jaxgen import diffusion
from jaxgen.diffusion import guidance, samplers

WEIGHTS, MEANS, SCALES = np.array([0.3, 0.7]), np.array([-0.6, 0.5]), np.array([0.15, 0.25])
START = scipy.stats.norm.ppf((np.arange(32) + 0.5) / 32)


def denoiser(process):
    """E[x_0 | x_t], exact."""

    def denoise(x, t):
        alpha, sigma = process.alpha[t], process.sigma[t]
        variance = alpha**2 * SCALES**2 + sigma**2
        gap = x[..., None] - alpha * MEANS
        share = jax.nn.softmax(jnp.log(WEIGHTS) - 0.5 * gap**2 / variance - 0.5 * jnp.log(variance), axis=-1)
        x0 = (share * (MEANS + alpha * SCALES**2 / variance * gap)).sum(-1)
        return guidance.Denoised(x0, (x - alpha * x0) / sigma)

    return denoise


def exact_images(process):
    """x_0 of the probability flow from START."""
    alpha, sigma = float(process.alpha[-1]), float(process.sigma[-1])
    last = np.sqrt(alpha**2 * SCALES**2 + sigma**2)
    share = (WEIGHTS * scipy.stats.norm.cdf((START[:, None] - alpha * MEANS) / last)).sum(1)

    def excess(x, q):
        return (WEIGHTS * scipy.stats.norm.cdf((x - MEANS) / SCALES)).sum() - q

    return np.array([scipy.optimize.brentq(excess, -5, 5, args=(q,), xtol=1e-12) for q in share])


def error(process, name, grid, n_steps):
    """Root mean square error of the images."""
    times = jnp.asarray(diffusion.time_grid(process, n_steps, grid))
    index, sampler = jnp.arange(len(START), dtype=jnp.uint32), diffusion.make_sampler(name)
    start = jnp.asarray(START, jnp.float32).reshape(-1, 1, 1, 1)
    run = jax.jit(
        lambda x: diffusion.sample(jax.random.key(0), process, denoiser(process), sampler, times, index, x)[0]
    )
    return float(np.sqrt(np.mean((np.asarray(run(start)).ravel() - exact_images(process)) ** 2)))


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("name, order", [("ddim", 1), ("heun", 2), ("dpm_solver", 2)])
def test_the_best_grid_gives_a_sampler_its_order_on_a_real_schedule(schedule, name, order):
    process = diffusion.make_process(schedule, 4096)
    errors = [error(process, name, samplers.BEST[name], n) for n in (16, 64)]
    assert abs(np.log2(errors[0] / errors[1]) / 2 - order) < 0.25, errors


@pytest.mark.parametrize("name, factor", [("heun", 4), ("dpm_solver", 2.5)])
def test_the_best_grid_beats_uniform_times(name, factor):
    """The samplers take 30 steps of T = 300, as in training."""
    process = diffusion.make_process("cosine", 300)
    uniform, best = (error(process, name, grid, 30) for grid in ("uniform", samplers.BEST[name]))
    assert uniform > factor * best, (uniform, best)
    assert diffusion.Generation(name, 30).times(process).tolist() == (
        diffusion.time_grid(process, 30, samplers.BEST[name]).tolist()
    )
