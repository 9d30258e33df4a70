"""H(Y|X) of smooth mixtures against an adaptive integral, limits, symmetries and draws."""

import itertools
import math

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from jaxgen import information
from jaxgen.information import excess


def pair(distance, d=1, direction=None):
    """Two equally probable unit Gaussians in d dimensions."""
    direction = np.eye(d)[0] if direction is None else direction
    mean = np.stack([-direction, direction]) * distance / 2
    return information.GaussianMixture(np.arange(2), np.full(2, 0.5), mean, np.stack([np.eye(d)] * 2))


def adaptive(distance):
    """E log(1 + exp(-distance z - distance^2 / 2)) over a standard normal z, by scipy's own rule."""

    def integrand(z):
        return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * np.logaddexp(0, -distance * (z + distance / 2))

    parts = [-14, -distance / 2, 14]
    return sum(scipy.integrate.quad(integrand, *ends, epsabs=1e-14)[0] for ends in itertools.pairwise(parts))


@pytest.mark.parametrize("distance", [0.5, 2.0, 4.0, 8.0])
def test_the_stated_error_holds(distance):
    in_one = pair(distance).conditional_entropy()
    assert abs(in_one.value - adaptive(distance)) <= in_one.error + 1e-13 and in_one.error < 1e-9
    for points in (16, 32, 64):
        in_two = pair(distance, 2).conditional_entropy(points)
        assert abs(in_two.value - adaptive(distance)) <= in_two.error + 1e-13


def test_the_error_falls_faster_than_any_power():
    errors = [pair(2.0, 2).conditional_entropy(points).error for points in (16, 32, 64)]
    assert errors[1] < errors[0] * 2**-7 and errors[2] < errors[1] * 2**-14


@pytest.mark.parametrize("width", [0.02, 1e-6])
def test_a_component_much_narrower_than_the_other_is_not_overlooked(width):
    """Labels N(0, 1) and N(.133, width^2), against the same integral over z = (x - .133) / width."""

    def integrand(z):
        log_wide = scipy.stats.norm.logpdf(0.133 + width * z) + math.log(width)
        log_narrow = scipy.stats.norm.logpdf(z)
        log_sum = np.logaddexp(log_wide, log_narrow)
        return 0.5 * (np.exp(log_wide) * (log_sum - log_wide) + np.exp(log_narrow) * (log_sum - log_narrow))

    expected = scipy.integrate.quad(integrand, -14, 14, epsabs=1e-14, limit=500)[0]
    mixture = information.GaussianMixture(
        np.arange(2), np.full(2, 0.5), np.array([[0.0], [0.133]]), np.array([[[1.0]], [[width]]])
    )
    entropy = mixture.conditional_entropy()
    assert entropy.value == pytest.approx(expected, rel=1e-6) and abs(entropy.value - expected) <= entropy.error + 1e-13
    assert width < 0.01 or entropy.value == pytest.approx(0.08697, abs=5e-6)


def test_a_grid_that_misses_a_component_is_refused():
    scale = np.stack([np.eye(2), 0.02 * np.eye(2)])
    mixture = information.GaussianMixture(np.arange(2), np.full(2, 0.5), np.array([[0.0, 0.0], [0.133, 0.0]]), scale)
    with pytest.raises(ValueError, match="points is 64, too few where one component is 50 times as wide as another"):
        mixture.conditional_entropy()
    # Where the grid is fine enough, the second dimension tells 0.02 apart even better than the first did.
    entropy = mixture.conditional_entropy(774)
    assert 0 < entropy.value < 0.08697 and entropy.error < 1e-3


def test_limits():
    assert pair(0.0).conditional_entropy().value == pytest.approx(math.log(2), abs=1e-12)
    assert pair(30.0).conditional_entropy().value == pytest.approx(0.0, abs=1e-12)


def test_what_the_labels_do_not_touch_changes_nothing():
    """More dimensions, a rotation, and a component cut in two leave H(Y|X) as it is."""
    wanted = pair(3.0).conditional_entropy().value
    assert pair(3.0, 2, np.array([0.6, 0.8])).conditional_entropy().value == pytest.approx(wanted, abs=1e-6)
    assert pair(3.0, 3).conditional_entropy(48).value == pytest.approx(wanted, abs=1e-6)
    cut = information.GaussianMixture(
        np.array([0, 1, 1]), np.array([0.5, 0.2, 0.3]), np.array([[-1.5], [1.5], [1.5]]), np.ones((3, 1, 1))
    )
    assert cut.conditional_entropy().value == pytest.approx(wanted, abs=1e-10)
    assert cut.n_labels == 2


def test_draws_have_the_entropy_and_the_posterior():
    scale = np.array([[[1.0, 0.0], [0.8, 0.5]], [[0.5, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]])
    mean = np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 2.0]])
    mixture = information.GaussianMixture(np.array([0, 1, 2]), np.array([0.5, 0.3, 0.2]), mean, scale)
    x, y = mixture.sample(jax.random.key(0), 200_000)
    log_p = mixture.log_posterior(np.asarray(x))
    joint = [
        weight * scipy.stats.multivariate_normal.pdf(x[:100], center, root @ root.T)
        for weight, center, root in zip(mixture.weight, mean, scale, strict=True)
    ]
    np.testing.assert_allclose(np.exp(log_p[:100]), np.transpose(joint / np.sum(joint, axis=0)), rtol=1e-6)
    bound = mixture.conditional_entropy(128)
    risk = excess.excess_risk(-log_p[np.arange(len(y)), np.asarray(y)], bound.value)
    assert bound.error < 1e-6 and abs(risk.excess) < 4 * risk.standard_error
    for label in range(3):
        inside = np.asarray(x)[np.asarray(y) == label]
        assert len(inside) == pytest.approx(mixture.weight[label] * 200_000, abs=4 * 300)
        np.testing.assert_allclose(inside.mean(0), mean[label], atol=0.05)
        np.testing.assert_allclose(np.cov(inside.T), scale[label] @ scale[label].T, atol=0.1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weight": np.array([0.5, 0.6])}, "weight is"),
        ({"weight": np.array([1.0, 0.0])}, "weight is"),
        ({"label": np.array([0, 2])}, "label is"),
        ({"label": np.array([0, 0])}, "label is"),
        ({"label": np.array([0])}, "label has shape"),
        ({"mean": np.zeros(2)}, "mean has shape"),
        ({"scale": np.ones((2, 2, 2))}, "scale has shape"),
        ({"scale": np.zeros((2, 1, 1))}, "scale is singular"),
    ],
)
def test_bad_mixtures_are_refused(change, message):
    good = {"label": np.arange(2), "weight": np.full(2, 0.5), "mean": np.zeros((2, 1)), "scale": np.ones((2, 1, 1))}
    information.GaussianMixture(**good)
    with pytest.raises(ValueError, match=message):
        information.GaussianMixture(**{**good, **change})


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="num_samples is 0"):
        pair(1.0).sample(jax.random.key(0), 0)
    for points, d in ((7, 2), (33, 2), (64, 5)):
        with pytest.raises(ValueError, match=f"points is {points} in {d} dimensions"):
            pair(1.0, d).conditional_entropy(points)
