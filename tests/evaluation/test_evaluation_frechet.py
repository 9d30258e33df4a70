"""The Frechet distance against closed forms and another matrix square root."""

import numpy as np
import pytest
import scipy.linalg

from jaxgen.evaluation import Moments, frechet_distance, moments
from jaxgen.evaluation.measures.frechet import frechet_limit


def gaussian(rng, d):
    factor = rng.normal(size=(d, d))
    return Moments(rng.normal(size=d), factor @ factor.T)


def test_diagonal_gaussians_in_closed_form():
    """(m1 - m2)^2 + (s1 - s2)^2, summed over the axes."""
    a = Moments(np.asarray([0.0, 1.0]), np.diag([4.0, 9.0]))
    b = Moments(np.asarray([3.0, 0.0]), np.diag([1.0, 25.0]))
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 1 + 4, abs=1e-12)


def test_plane_gaussians_in_closed_form():
    """For 2 x 2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)); these do not commute."""
    rng = np.random.default_rng(0)
    a, b = gaussian(rng, 2), gaussian(rng, 2)
    product = a.covariance @ b.covariance
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    wanted = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-12)
    assert abs(frechet_distance(a, b) - frechet_distance(a, Moments(b.mean, b.covariance.T[::-1, ::-1]))) > 0.01


@pytest.mark.parametrize("d", [3, 64])
def test_agrees_with_the_matrix_square_root_of_scipy(d):
    rng = np.random.default_rng(d)
    a, b = gaussian(rng, d), gaussian(rng, d)
    root = np.trace(scipy.linalg.sqrtm(a.covariance @ b.covariance)).real
    wanted = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-10)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)
    assert abs(frechet_distance(a, a)) < 1e-9 * np.trace(a.covariance)


def test_singular_covariances_are_no_special_case():
    """Two lines u u' and v v': the trace of the root is |u . v|."""
    u, v = np.asarray([3.0, 0.0, 4.0]), np.asarray([1.0, 2.0, -2.0])
    a, b = Moments(np.zeros(3), np.outer(u, u)), Moments(np.zeros(3), np.outer(v, v))
    assert frechet_distance(a, b) == pytest.approx(25 + 9 - 2 * 5, abs=1e-6)


def test_moments_are_unbiased_and_float64():
    x = np.asarray([[1, 2], [3, 6], [5, 1]], np.float32)
    both = moments(x)
    assert both.mean.dtype == both.covariance.dtype == np.float64
    np.testing.assert_allclose(both.mean, [3, 3])
    np.testing.assert_allclose(both.covariance, [[4, -1], [-1, 7]])
    # In float32 the mean of these would be off by more than its own spread.
    far = moments(np.asarray([[1e4], [1e4 + 1]] * 5000, np.float32))
    assert far.mean == pytest.approx(1e4 + 0.5, abs=1e-9) and far.covariance == pytest.approx(0.25, rel=1e-3)


def test_too_few_examples_are_refused():
    with pytest.raises(ValueError, match="features has 64 examples of 64 numbers; allowed: more examples"):
        moments(np.zeros((64, 64)))


def test_the_limit_has_no_bias_of_finite_samples():
    """Under one law the distance of n samples is biased by b / n and its limit is 0; a shift stays in the limit."""
    rng = np.random.default_rng(3)
    d, n = 16, 1000
    law = Moments(np.zeros(d), np.eye(d))
    raw, limits = [], []
    for _ in range(12):
        x = rng.normal(size=(n, d))
        raw.append(frechet_distance(moments(x), law))
        limits.append(frechet_limit(x, law))
    error = np.std(limits, ddof=1) / 12**0.5
    assert np.mean(raw) > 0.05 and abs(np.mean(limits)) < max(4 * error, 0.1 * np.mean(raw)), (raw, limits)
    assert frechet_limit(x + 0.5, law) == pytest.approx(d * 0.25, abs=0.3)
    with pytest.raises(ValueError, match="features has 40 examples of 16 numbers; allowed: 64 examples or more"):
        frechet_limit(x[:40], law)
