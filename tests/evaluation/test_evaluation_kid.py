"""KID against a double sum, its exact expectation, and zero on identical laws."""

import math

import numpy as np
import pytest

from jaxgen.evaluation import kernel_distance, squared_mmd


def kernel(a, b):
    return (float(np.dot(a, b)) / len(a) + 1) ** 3


def test_the_estimate_is_the_double_sum():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(1, 2, size=(7, 3))
    within_x = [kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    within_y = [kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    across = [kernel(a, b) for a in x for b in y]
    assert squared_mmd(x, y) == pytest.approx(np.mean(within_x) + np.mean(within_y) - 2 * np.mean(across), rel=1e-12)


def estimates(draw_x, draw_y, repeats=2000, n=10):
    rng = np.random.default_rng(1)
    return np.asarray([squared_mmd(draw_x(rng, (n, 1)), draw_y(rng, (n, 1))) for _ in range(repeats)])


def test_unbiased_on_identical_laws():
    law = lambda rng, size: rng.exponential(size=size)  # noqa: E731
    distances = estimates(law, law)
    error = distances.std() / math.sqrt(len(distances))
    assert abs(distances.mean()) < 4 * error
    # The estimate that keeps the diagonal is more by 2 / n (E k(x, x) - E k(x, x')), which this test would notice.
    diagonal = sum(math.comb(3, j) * math.factorial(2 * j) for j in range(4))
    across = sum(math.comb(3, j) * math.factorial(j) ** 2 for j in range(4))
    assert 2 / 10 * (diagonal - across) > 8 * error


def test_unbiased_on_different_laws():
    """In one dimension MMD^2 = sum_j C(3, j) (E x^j - E y^j)^2: exponential moments j!, uniform ones 1 / (j + 1)."""
    distances = estimates(lambda rng, size: rng.exponential(size=size), lambda rng, size: rng.uniform(size=size))
    wanted = sum(math.comb(3, j) * (math.factorial(j) - 1 / (j + 1)) ** 2 for j in range(4))
    assert abs(distances.mean() - wanted) < 4 * distances.std() / math.sqrt(len(distances))


def test_subsets_are_disjoint_and_their_spread_is_the_error():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(1000, 4)), rng.normal(size=(800, 4))
    distance = kernel_distance(x, y, subset=100)
    # Independent laws: over many subsets the error of the mean must be the one that repetition shows.
    again = [kernel_distance(*np.split(rng.normal(size=(1600, 4)), 2), subset=100) for _ in range(100)]
    spread = np.std([one.mean for one in again], ddof=1)
    assert np.median([one.standard_error for one in again]) == pytest.approx(spread, rel=0.25)
    assert 0.2 * spread < distance.standard_error < 3 * spread
    # The order of a file must not matter: sorted by class, every subset would hold a class of its own.
    apart = np.concatenate([np.full((500, 1), -1.0), np.full((500, 1), 1.0)])
    mixed = kernel_distance(apart, apart[::-1].copy(), subset=100)
    assert abs(mixed.mean) < 0.1


def test_too_few_examples_are_refused():
    with pytest.raises(ValueError, match="features has 1999 and 5000 examples; allowed: 2000 or more of each"):
        kernel_distance(np.zeros((1999, 2)), np.zeros((5000, 2)))
