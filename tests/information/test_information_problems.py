"""Exact values of the mutual information: closed forms, integrals, averages of the pointwise value, inverse maps."""

import math

import jax
import numpy as np
import pytest
import scipy.stats

from jaxgen.information import estimators
from jaxgen.information.estimators import problems as known

PROBLEMS = {problem.name: problem for problem in estimators.all_problems()}


def test_gaussian_values_are_the_closed_forms():
    plane = np.array([[4.0, 1.5], [1.5, 1.0]])  # correlation 0.75
    assert estimators.gaussian_information(plane, 1) == pytest.approx(-0.5 * math.log(1 - 0.75**2))
    found = {name: problem.information for name, problem in PROBLEMS.items()}
    assert found["sparse Gaussian, 5 + 5"] == pytest.approx(-math.log(1 - 0.8**2))
    assert found["spiral of a sparse Gaussian, 3 + 3"] == pytest.approx(-math.log(1 - 0.8**2))
    assert found["dense Gaussian, 5 + 5"] == pytest.approx(0.5 * math.log(18 / 5.5))
    assert found["Swiss roll, 2 + 1"] == pytest.approx(-0.5 * math.log(1 - 0.75**2))
    assert found["ten labels, 5 coordinates"] == pytest.approx(math.log(10) - 0.3339, abs=1e-4)


def test_regular_linear_maps_of_x_change_nothing():
    rng = np.random.default_rng(0)
    covariance = known.two_pairs(3)
    change = np.eye(6)
    change[:3, :3] = rng.normal(size=(3, 3))
    changed = estimators.gaussian_information(change @ covariance @ change.T, 3)
    assert changed == pytest.approx(estimators.gaussian_information(covariance, 3))


@pytest.mark.parametrize("degrees, d_x, d_y", [(1.0, 1, 1), (2.0, 5, 5), (3.0, 2, 4), (50.0, 3, 3)])
def test_the_correction_of_student_is_a_difference_of_entropies(degrees, d_x, d_y):
    h_x, h_y, h_both = (
        scipy.stats.multivariate_t(shape=np.eye(d), df=degrees).entropy() for d in (d_x, d_y, d_x + d_y)
    )
    assert estimators.student_correction(degrees, d_x, d_y) == pytest.approx(h_x + h_y - h_both, rel=1e-9)


def test_the_correction_of_student_is_the_integral_in_two_dimensions():
    """In polar coordinates with r = tan b, where one quadrant stands for four; and the Gaussian limit."""
    both, one = scipy.stats.multivariate_t(shape=np.eye(2), df=2), scipy.stats.t(2)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    angles, weights = (nodes + 1) * math.pi / 4, weights * math.pi / 4
    r, theta = np.tan(angles), angles[:, None]
    x, y = r * np.cos(theta), r * np.sin(theta)
    log_p = both.logpdf(np.stack([x, y], axis=-1))
    values = np.exp(log_p) * (log_p - one.logpdf(x) - one.logpdf(y)) * r / np.cos(angles) ** 2
    assert 4 * weights @ values @ weights == pytest.approx(estimators.student_correction(2.0, 1, 1), rel=1e-4)
    assert 0 < estimators.student_correction(1e6, 1, 1) < 1e-6


def test_pointwise_information_of_students_draws_averages_to_the_exact_value():
    problem = PROBLEMS["Student's t, 2 degrees of freedom, 5 + 5"]
    x, y = map(np.asarray, problem.draw(jax.random.key(0), 20_000))
    ten, five = (scipy.stats.multivariate_t(shape=np.eye(d), df=2) for d in (10, 5))
    pointwise = ten.logpdf(np.concatenate([x, y], 1)) - five.logpdf(x) - five.logpdf(y)
    assert abs(pointwise.mean() - problem.information) < 4 * pointwise.std() / math.sqrt(20_000)


def test_pointwise_information_of_labelled_draws_averages_to_the_exact_value():
    problem = PROBLEMS["three Gaussian classes, 2 coordinates"]
    x, y = map(np.asarray, problem.draw(jax.random.key(1), 20_000))
    means, tilts = ([0, 0], [2, 0], [0, 2]), ([[1, 0], [0, 1]], [[1, 0.6], [0.6, 1]], [[0.25, 0], [0, 2.25]])
    density = np.stack([scipy.stats.multivariate_normal.pdf(x, m, c) for m, c in zip(means, tilts, strict=True)], 1)
    pointwise = np.log(density[np.arange(len(y)), y] / density.mean(1))
    assert abs(pointwise.mean() - problem.information) < 4 * pointwise.std() / math.sqrt(20_000)
    assert set(y) == {0, 1, 2} == set(range(problem.n_labels))


def test_the_spiral_keeps_the_norm_and_can_be_undone():
    x = jax.random.normal(jax.random.key(0), (500, 3))
    wound = known.spiral(x, (1, 2))
    assert np.abs(np.asarray(wound - x)[:, 0]).max() == 0 and np.abs(np.asarray(wound - x)[:, 1:]).max() > 1
    np.testing.assert_allclose(np.linalg.norm(wound, axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)
    angle = -known.SPIRAL_SPEED * np.square(wound).sum(1)
    first, second = np.asarray(wound)[:, 1], np.asarray(wound)[:, 2]
    back = np.stack([np.cos(angle) * first - np.sin(angle) * second, np.sin(angle) * first + np.cos(angle) * second], 1)
    np.testing.assert_allclose(back, np.asarray(x)[:, 1:], atol=1e-4)


def test_the_swiss_roll_can_be_unrolled():
    u = np.linspace(0, 1, 101)
    rolled = np.asarray(known.swiss_roll(u))
    t = known.SWISS_ROLL_SCALE * np.linalg.norm(rolled, axis=1)
    np.testing.assert_allclose((t / (1.5 * math.pi) - 1) / 2, u, atol=1e-5)
    assert rolled.shape == (101, 2) and np.abs(rolled).max() < 1


def test_draws_have_the_stated_shapes_and_marginals():
    shapes = [
        [part.shape for part in jax.eval_shape(lambda p=p: p.draw(jax.random.key(0), 7))] for p in PROBLEMS.values()
    ]
    assert shapes == [
        [(7, 5), (7,)], [(7, 2), (7,)], [(7, 5), (7, 5)], [(7, 5), (7, 5)], [(7, 5), (7, 5)], [(7, 3), (7, 3)],
        [(7, 2), (7, 1)],
    ]  # fmt: skip
    x, y = PROBLEMS["sparse Gaussian, 5 + 5"].draw(jax.random.key(1), 20_000)
    both = np.concatenate([x, y], axis=1)
    np.testing.assert_allclose(np.cov(both.T), known.two_pairs(5), atol=0.05)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: estimators.gaussian_information(np.ones((2, 2)), 1), "covariance has shape"),
        (lambda: estimators.gaussian_information(np.eye(3), 3), "d_x is 3; allowed: 1 to 2"),
        (lambda: estimators.student_correction(0.0, 1, 1), "degrees is 0.0"),
        (lambda: known.two_pairs(1), "d is 1; allowed: 2 or more"),
    ],
)
def test_bad_requests_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
