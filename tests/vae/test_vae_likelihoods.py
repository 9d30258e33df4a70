"""Each law of a pixel: masses that sum to one, draws that follow them, means; the discretised logistic in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from statistical import ALPHA, chi_square_p

from jaxgen import data
from jaxgen.vae import likelihood

LEVELS = [2, 4, 256]
LAWS = {levels: likelihood(levels) for levels in (*LEVELS, 16)}
LOG_PROB = {levels: jax.jit(law.log_prob) for levels, law in LAWS.items()}


def random_outputs(levels, seed, n, scale=2.0):
    """n pixels as images of 1 x 1."""
    return scale * jax.random.normal(jax.random.key(seed), (n, 1, 1, LAWS[levels].channels))


def masses(levels, outputs):
    """p(state) of every pixel, (n, levels)."""
    states = jnp.arange(levels, dtype=jnp.uint8)[:, None, None, None]
    return np.exp(np.asarray(LOG_PROB[levels](outputs[None], states), np.float64)).T


@pytest.mark.parametrize("levels", [*LEVELS, 16])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_masses_sum_to_one(levels, scale):
    np.testing.assert_allclose(masses(levels, random_outputs(levels, 0, 200, scale)).sum(1), 1.0, atol=2e-5)


def test_the_logistic_mixture_is_the_difference_of_distribution_functions():
    outputs = random_outputs(256, 1, 50)
    logits, mean, log_scale = np.split(np.asarray(outputs, np.float64)[:, 0, 0], 3, axis=-1)
    weight = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    edges = (np.arange(257) - 0.5) * 2 / 255 - 1
    edges[[0, -1]] = -np.inf, np.inf
    below = scipy.stats.logistic.cdf(edges[:, None, None], mean, np.exp(log_scale))
    np.testing.assert_allclose(masses(256, outputs), (weight * np.diff(below, axis=0)).sum(-1).T, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("levels", LEVELS)
def test_the_log_probability_of_an_image_is_the_sum_over_its_pixels(levels):
    outputs = random_outputs(levels, 2, 6).reshape(1, 2, 3, -1)
    states = (np.arange(6) * 41 % levels).astype(np.uint8).reshape(1, 2, 3)
    wanted = np.log(masses(levels, outputs.reshape(6, 1, 1, -1)))[np.arange(6), states.ravel()].sum()
    log_p = LOG_PROB[levels](jnp.stack([outputs, outputs]), states)
    assert log_p.shape == (2, 1)
    np.testing.assert_allclose(log_p, wanted, rtol=1e-5)


@pytest.mark.parametrize("levels, seed", [(2, 3), (4, 3), (256, 3), (256, 4)])
def test_draws_follow_the_law_and_have_its_mean(levels, seed):
    law, outputs = LAWS[levels], random_outputs(levels, seed, 1, scale=1.0)
    if seed == 4:  # scales of about a grey step, which show a shift of the bins
        outputs = outputs.at[..., 3:6].multiply(0.3).at[..., 6:].set(-4.5)
    n = 200
    drawn = np.asarray(jax.jit(law.sample)(jax.random.key(0), jnp.broadcast_to(outputs[0], (n, n, law.channels))))
    p = masses(levels, outputs)[0]
    assert drawn.dtype == np.uint8
    assert chi_square_p(np.bincount(drawn.ravel(), minlength=levels), p) > ALPHA
    # of the logistic before rounding, hence not exact for 256 levels
    assert float(law.mean(outputs)[0, 0, 0]) == pytest.approx(
        p @ np.linspace(0, 1, levels), abs=1e-5 if levels < 256 else 1e-3
    )


def test_extreme_logistics_keep_finite_values_and_gradients():
    law = LAWS[256]
    extremes = [(0.0, -60.0), (0.0, 40.0), (300.0, -3.0), (-300.0, -7.0), (-1.0, -7.0)]
    outputs = jnp.array([[0.0] * 3 + [mean] * 3 + [scale] * 3 for mean, scale in extremes]).reshape(5, 1, 1, 9)
    each = jax.jit(jax.value_and_grad(lambda o, s: law.log_prob(o, s).sum()))
    for state in (0, 1, 128, 254, 255):
        value, grad = each(outputs, jnp.full((5, 1, 1), state, jnp.uint8))
        assert np.isfinite(value) and np.isfinite(grad).all()
    mean = np.asarray(law.mean(outputs))
    assert (mean >= 0).all() and (mean <= 1).all()


def test_what_each_law_calls_an_image():
    images, index, key = np.arange(256, dtype=np.uint8).reshape(1, 16, 16), np.array([5]), jax.random.key(0)
    np.testing.assert_array_equal(likelihood(2).code(key, images, index), data.binarize(key, images, index))
    np.testing.assert_array_equal(likelihood(4).code(key, images, index), data.encode(images, 4))
    np.testing.assert_array_equal(likelihood(256).code(key, images, index), images)


def test_other_levels_are_refused():
    with pytest.raises(ValueError, match="levels is 3; allowed: 2, 4, 16, 256"):
        likelihood(3)
