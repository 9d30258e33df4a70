"""Schedules by hand, the forward process, its posterior against Bayes' rule on a grid, conversions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from statistical import ALPHA
from torch_reference import diffusion as reference

from jaxgen import data, diffusion
from jaxgen.diffusion import likelihood, schedules
from jaxgen.diffusion import process as forward

T = 300


def by_hand(name, t, steps):
    """alpha_bar_t, written out once more."""
    if name == "cosine":

        def left(u):
            return math.cos((u / steps + 0.008) / 1.008 * math.pi / 2) ** 2

        return left(t) / left(0) if t < steps else left(steps - 1) / left(0) * 1e-4
    scale = 1000 / steps if name == "linear" else 1
    return math.prod(1 - scale * (1e-4 + (0.02 - 1e-4) * k / (steps - 1)) for k in range(t))


@pytest.mark.parametrize("name", schedules.SCHEDULES)
@pytest.mark.parametrize("steps", [300, 1000])
def test_schedule_by_hand_and_by_pytorch(name, steps):
    alpha_bar = schedules.alpha_bar(name, steps)
    assert alpha_bar[0] == 1 and len(alpha_bar) == steps + 1
    for t in (1, steps // 2, steps):
        assert alpha_bar[t] == pytest.approx(by_hand(name, t, steps), rel=1e-9)
    theirs = np.cumprod(1 - reference.betas(name, steps).numpy())
    if (name, steps) != ("cosine", 1000):  # there PyTorch's own lower bound of the betas is felt
        np.testing.assert_allclose(alpha_bar[1:], theirs, rtol=1e-9)


def test_known_ends_of_the_schedules():
    ends = {name: schedules.alpha_bar(name, T)[-1] for name in schedules.SCHEDULES}
    assert ends["linear_unscaled"] == pytest.approx(0.048, abs=5e-4)
    assert ends["linear"] < 1e-4 and ends["cosine"] < 1e-8
    assert schedules.alpha_bar("linear", 1000)[-1] == pytest.approx(4.036e-5, rel=1e-3)


def test_prior_gap_of_mnist():
    """What x_T still tells of the image: 0.033 bits per pixel for the unscaled schedule, none for the others."""
    x0 = diffusion.to_unit(jnp.asarray(data.load().train_images[:500]))
    gaps = {
        name: float(likelihood.prior_term(diffusion.make_process(name, T), x0).mean()) for name in schedules.SCHEDULES
    }
    assert gaps["linear_unscaled"] == pytest.approx(0.033, abs=1e-3)
    assert 0 <= gaps["cosine"] < 1e-6 and 0 < gaps["linear"] < 1e-3


def test_q_sample_has_the_stated_mean_and_variance():
    process, n = diffusion.make_process("cosine", T), 20_000
    noise = jax.random.normal(jax.random.key(1), (n, 1, 1, 1))
    for t in (1, 100, 250):
        x = np.asarray(forward.q_sample(process, jnp.full((n, 1, 1, 1), 0.7), jnp.full(n, t), noise)).ravel()
        left = by_hand("cosine", t, T)
        standard = (x - math.sqrt(left) * 0.7) / math.sqrt(1 - left)
        assert scipy.stats.kstest(standard, "norm").pvalue > ALPHA


@pytest.mark.parametrize("t, s", [(2, 1), (151, 150), (120, 40), (299, 200)])
def test_posterior_is_bayes_rule(t, s):
    """q(x_s | x_t, x_0) is proportional to q(x_s | x_0) q(x_t | x_s), summed on a fine grid."""
    process, left = diffusion.make_process("cosine", T), schedules.alpha_bar("cosine", T)
    x0, spread = 0.6, math.sqrt(1 - left[s])
    x = math.sqrt(left[t]) * x0 - 1.3 * math.sqrt(1 - left[t])
    grid = np.linspace(math.sqrt(left[s]) * x0 - 9 * spread, math.sqrt(left[s]) * x0 + 9 * spread, 200_001)
    ratio = left[t] / left[s]
    log = scipy.stats.norm.logpdf(grid, math.sqrt(left[s]) * x0, spread)
    log += scipy.stats.norm.logpdf(x, math.sqrt(ratio) * grid, math.sqrt(1 - ratio))
    weight = np.exp(log - log.max())
    mean = np.sum(weight * grid) / weight.sum()
    variance = np.sum(weight * (grid - mean) ** 2) / weight.sum()
    images = (jnp.full((1, 1, 1, 1), value) for value in (x, x0))
    posterior_mean = forward.posterior_mean(process, *images, jnp.array([t]), jnp.array([s]))
    assert float(posterior_mean[0, 0, 0, 0]) == pytest.approx(mean, abs=2e-4)
    assert float(forward.posterior_variance(process, t, s)) == pytest.approx(variance, rel=1e-3)
    assert float(forward.posterior_variance(process, s, 0)) == 0


@pytest.mark.parametrize("kind", forward.PREDICTIONS)
def test_conversions_there_and_back(kind):
    process = diffusion.make_process("cosine", T)
    t = jnp.array([1, 20, 150, 280])
    keys = jax.random.split(jax.random.key(0))
    x0, noise = (jax.random.normal(key, (4, 2, 3, 1)) for key in keys)
    x = forward.q_sample(process, x0, t, noise)
    target = forward.prediction_target(kind, process, x0, noise, t)
    back = forward.to_x0(kind, process, target, x, t)
    np.testing.assert_allclose(back, x0, atol=3e-5)
    np.testing.assert_allclose(forward.to_eps(process, x0, x, t)[1:], noise[1:], atol=3e-5)
    np.testing.assert_allclose(
        forward.to_v(process, x0, x, t)[1:], forward.prediction_target("v", process, x0, noise, t)[1:], atol=5e-5
    )


def test_v_is_the_derivative_with_respect_to_the_angle():
    process, x0, noise = diffusion.make_process("cosine", T), jnp.full((1, 1, 1, 1), 0.8), jnp.full((1, 1, 1, 1), -1.2)
    t, phi = 120, np.arctan2(np.asarray(process.sigma, np.float64), np.asarray(process.alpha, np.float64))
    after, before = (float(forward.q_sample(process, x0, s, noise)[0, 0, 0, 0]) for s in (t + 1, t - 1))
    v = float(forward.prediction_target("v", process, x0, noise, t)[0, 0, 0, 0])
    assert v == pytest.approx((after - before) / (phi[t + 1] - phi[t - 1]), rel=1e-3)


def test_refusals():
    with pytest.raises(ValueError, match="schedule is 'quadratic'; allowed: linear_unscaled, linear, cosine"):
        schedules.alpha_bar("quadratic", 10)
    with pytest.raises(ValueError, match="timesteps is 20; allowed with schedule='linear': 21 or more"):
        schedules.alpha_bar("linear", 20)
    assert schedules.alpha_bar("linear", 21)[-1] > 0
    with pytest.raises(ValueError, match="alpha_bar is not a decreasing sequence"):
        forward.from_alpha_bar(np.array([1.0, 0.5, 0.5]))
    with pytest.raises(ValueError, match="prediction is 'score'; allowed: eps, x0, v"):
        forward.to_x0("score", diffusion.make_process("cosine", 5), jnp.zeros((1, 1, 1, 1)), jnp.zeros((1, 1, 1, 1)), 1)
