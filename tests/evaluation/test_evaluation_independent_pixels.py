"""Independent pixels against counting by hand, enumeration and their own samples."""

import itertools

import jax
import numpy as np
import pytest
from statistical import ALPHA, chi_square_p

from jaxgen.evaluation import IndependentPixels
from jaxgen.evaluation.baselines.independent_pixels import _invert


def random_states(seed, n, height, width, levels):
    """States of unequal frequencies, other ones at every pixel."""
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.ones(levels), (height, width))
    return (rng.random((n, height, width, 1)) > law.cumsum(-1)[..., :-1]).sum(-1).astype(np.uint8)


def all_images(height, width, levels):
    return np.array(list(itertools.product(range(levels), repeat=height * width)), np.uint8).reshape(-1, height, width)


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_all_images_together_have_probability_one(levels):
    model = IndependentPixels.fit(random_states(0, 50, 2, 3, levels), levels, 1.0)
    assert np.exp(model.log_prob(all_images(2, 3, levels))).sum() == pytest.approx(1.0, abs=1e-12)


def test_probabilities_are_relative_frequencies_with_pseudo_observations():
    states = np.array([[[0, 1]], [[0, 1]], [[1, 1]]], np.uint8)
    np.testing.assert_allclose(IndependentPixels.fit(states, 2, 0.0).probabilities, [[[2 / 3, 1 / 3], [0, 1]]])
    np.testing.assert_allclose(IndependentPixels.fit(states, 2, 2.0).probabilities, [[[3 / 5, 2 / 5], [1 / 5, 4 / 5]]])


def test_log_prob_is_the_sum_over_pixels_in_nats_and_minus_infinity_where_impossible():
    model = IndependentPixels(np.array([[[0.25, 0.75], [1.0, 0.0]]]))
    np.testing.assert_allclose(model.log_prob(np.array([[[1, 0]], [[0, 0]]], np.uint8)), np.log([0.75, 0.25]))
    assert model.log_prob(np.array([[[0, 1]]], np.uint8))[0] == -np.inf


def test_samples_follow_the_law():
    model = IndependentPixels.fit(random_states(1, 40, 2, 2, 3), 3, 0.5)
    n = 20_000
    x = model.sample(jax.random.key(0), n)
    assert x.dtype == np.uint8 and x.shape == (n, 2, 2)
    images = all_images(2, 2, 3)
    numbers = x.reshape(n, -1) @ 3 ** np.arange(3, -1, -1)
    assert chi_square_p(np.bincount(numbers, minlength=81), np.exp(model.log_prob(images))) > ALPHA


def test_a_grey_image_model_never_draws_a_grey_it_has_not_seen():
    grey = np.random.default_rng(2).choice(np.array([0, 3, 254, 255], np.uint8), (30, 4, 4))
    model = IndependentPixels.fit(grey, 256, 0.0)
    assert model.probabilities.shape == (4, 4, 256)
    assert np.isfinite(model.log_prob(model.sample(jax.random.key(1), 3000))).all()


def test_a_uniform_number_of_zero_draws_no_impossible_state():
    cumulative = np.array([[0.0, 0.5, 1.0]], np.float32)
    drawn = _invert(cumulative, np.array([[0.0, 0.49, 0.5, 0.99]], np.float32))
    assert drawn.ravel().tolist() == [1, 1, 2, 2]


def test_a_sample_depends_on_its_number_alone():
    model = IndependentPixels.fit(random_states(3, 40, 3, 3, 2), 2, 1.0)
    few, many = (model.sample(jax.random.key(4), n) for n in (7, 1500))  # more than one chunk
    np.testing.assert_array_equal(few, many[:7])
    assert (many[0] != many[1]).any() and (many[:500] != many[1000:]).any()


@pytest.mark.parametrize(
    "states, levels, pseudo_count, message",
    [
        (np.zeros((3, 2, 2), np.uint8), 1, 1.0, "levels is 1; allowed: 2 to 256"),
        (np.zeros((3, 2, 2), np.uint8), 257, 1.0, "levels is 257; allowed: 2 to 256"),
        (np.zeros((3, 2, 2), np.int32), 2, 1.0, r"states is int32 of shape \(3, 2, 2\); allowed: uint8"),
        (np.zeros((2, 2), np.uint8), 2, 1.0, r"states is uint8 of shape \(2, 2\)"),
        (np.zeros((0, 2, 2), np.uint8), 2, 1.0, "not empty"),
        (np.full((1, 2, 2), 2, np.uint8), 2, 1.0, "states has values up to 2; allowed: 0 to 1"),
        (np.zeros((3, 2, 2), np.uint8), 2, -1.0, "pseudo_count is -1.0; allowed: a finite number, 0 or more"),
        (np.zeros((3, 2, 2), np.uint8), 2, np.nan, "pseudo_count is nan"),
    ],
)
def test_bad_input_is_refused_by_name(states, levels, pseudo_count, message):
    with pytest.raises(ValueError, match=message):
        IndependentPixels.fit(states, levels, pseudo_count)


def test_images_of_another_size_and_no_samples_are_refused():
    model = IndependentPixels.fit(np.zeros((3, 2, 2), np.uint8), 2, 1.0)
    with pytest.raises(ValueError, match=r"states has images of \(2, 3\); allowed: \(2, 2\)"):
        model.log_prob(np.zeros((3, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="n is 0; allowed: 1 or more"):
        model.sample(jax.random.key(0), 0)
