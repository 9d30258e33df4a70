"""Orders of convergence on the schedules of training, for a mixture of two Gaussians whose flow is known.

In one dimension the flow keeps the order of the points, so it maps each quantile of the law of x_T to that of x_0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

from jaxgen import diffusion
from jaxgen.diffusion import guidance, samplers
from jaxgen.diffusion.samplers import unipc
from jaxgen.diffusion.studies import mixture
from jaxgen.diffusion.studies.mixture import MEANS, SCALES, WEIGHTS

START = scipy.stats.norm.ppf((np.arange(32) + 0.5) / 32)


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
    times = jnp.asarray(samplers.time_grid(process, n_steps, grid))
    index, sampler = jnp.arange(len(START), dtype=jnp.uint32), diffusion.make_sampler(name)
    start = jnp.asarray(START, jnp.float32).reshape(-1, 1, 1, 1)
    run = jax.jit(
        lambda x: diffusion.sample(
            jax.random.key(0), process, mixture.mixture_denoiser(process), sampler, times, index, x
        )[0]
    )
    return float(np.sqrt(np.mean((np.asarray(run(start)).ravel() - exact_images(process)) ** 2)))


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("name, order", [("ddim", 1), ("heun", 2), ("dpm_solver", 2), ("unipc", 3)])
def test_the_best_grid_gives_a_sampler_its_order_on_a_real_schedule(schedule, name, order):
    process = diffusion.make_process(schedule, 4096)
    errors = [error(process, name, samplers.BEST[name], n) for n in (16, 64)]
    # At order 3 the float32 numbers leave no room for more steps, where the tolerance could be that of the others.
    assert abs(np.log2(errors[0] / errors[1]) / 2 - order) < (0.4 if order == 3 else 0.25), errors


@pytest.mark.parametrize("times", [(40, 30, 22), (40, 37, 36), (31, 30, 10)])
def test_the_corrector_of_unipc_integrates_a_parabola_exactly(times):
    """x_s = sigma_s (x_t / sigma_t + integral of e^lambda x_0 dlambda), where x_0 depends on lambda alone."""
    process, coefficients = diffusion.make_process("cosine", 64), [0.2, -0.5, 0.3]
    log_ratio = np.log(np.asarray(process.alpha, np.float64)[1:] / np.asarray(process.sigma, np.float64)[1:])
    before, t, s = (log_ratio[time - 1] for time in times)

    def denoise(x, time):
        value = np.polyval(coefficients, log_ratio[time - 1])
        return guidance.Denoised(jnp.full_like(x, value), jnp.zeros_like(x))

    x = jnp.full((1, 1, 1, 1), 0.4)
    start = unipc.unipc_memory(x)._replace(
        x0=denoise(x, times[0]).x0, h=jnp.asarray(t - before), exists=jnp.asarray(True)
    )
    predicted, memory = samplers.unipc_step(denoise, process, x, start, times[1], times[2], jnp.zeros_like(x))
    corrected = predicted + memory.fixed + memory.weight * (denoise(x, times[2]).x0 - memory.x0)
    integral = scipy.integrate.quad(lambda value: np.exp(value) * np.polyval(coefficients, value), t, s)[0]
    exact = float(process.sigma[times[2]]) * (0.4 / float(process.sigma[times[1]]) + integral)
    assert float(corrected[0, 0, 0, 0]) == pytest.approx(exact, abs=3e-6)
    assert abs(float(predicted[0, 0, 0, 0]) - exact) > 1e-5


@pytest.mark.parametrize("name, factor", [("heun", 4), ("dpm_solver", 2.5), ("unipc", 10)])
def test_the_best_grid_beats_uniform_times(name, factor):
    """The samplers take 30 steps of T = 300, as in training."""
    process = diffusion.make_process("cosine", 300)
    uniform, best = (error(process, name, grid, 30) for grid in ("uniform", samplers.BEST[name]))
    assert uniform > factor * best, (uniform, best)
    assert diffusion.Generation(name, 30).times(process).tolist() == (
        samplers.time_grid(process, 30, samplers.BEST[name]).tolist()
    )


def test_the_mixture_by_integration():
    """Denoiser and velocity against E[x_0 | x_t] by quadrature, quantiles against the distribution function."""
    process, t = diffusion.make_process("cosine", 30), 12
    alpha, sigma = float(process.alpha[t]), float(process.sigma[t])
    x0, points = np.linspace(-3, 3, 20_001), np.array([-1.2, -0.1, 0.9])
    density = (WEIGHTS * scipy.stats.norm.pdf(x0[:, None], MEANS, SCALES)).sum(1)
    joint = density * scipy.stats.norm.pdf(points[:, None], alpha * x0, sigma)
    exact = (joint * x0).sum(1) / joint.sum(1)
    x = jnp.asarray(points, jnp.float32).reshape(3, 1, 1, 1)
    estimate = mixture.mixture_denoiser(process)(x, t)
    np.testing.assert_allclose(np.ravel(estimate.x0), exact, rtol=1e-4)
    np.testing.assert_allclose(alpha * estimate.x0 + sigma * estimate.eps, x, atol=1e-5)
    # The straight path passes x / (alpha + sigma) at the time sigma / (alpha + sigma), with the velocity eps - x_0.
    velocity = mixture.mixture_velocity(x / (alpha + sigma), sigma / (alpha + sigma))
    np.testing.assert_allclose(velocity, estimate.eps - estimate.x0, rtol=1e-3)
    shares = np.array([1e-4, 0.3, 0.99])
    found = (WEIGHTS * scipy.stats.norm.cdf((mixture.mixture_quantiles(shares)[:, None] - MEANS) / SCALES)).sum(1)
    np.testing.assert_allclose(found, shares, rtol=1e-5)


def test_the_error_of_samples_on_the_mixture():
    """Without noise it is the error of the paths; with noise and many steps little more than that of sampling."""
    process = diffusion.make_process("cosine", 300)
    for name in ("dpm_solver", "unipc"):
        found = mixture.mixture_error(process, diffusion.Generation(name, 20), n=len(START))
        assert found == pytest.approx(error(process, name, samplers.BEST[name], 20), rel=0.02)
    assert 0.001 < mixture.mixture_error(process, diffusion.Generation("dpm_solver_sde", 50), n=16_384) < 0.02
    euler, midpoint = (mixture.mixture_error(process, diffusion.Generation(s, 32), n=64) for s in ("euler", "midpoint"))
    assert 0.01 < euler < 0.04 and midpoint < euler / 5
