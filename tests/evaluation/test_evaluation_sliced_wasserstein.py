"""The sliced Wasserstein distance against closed forms, another computation of the quantiles, and real corruptions."""

import numpy as np
import pytest

from jaxgen.evaluation import sliced_wasserstein
from jaxgen.evaluation.measures.sliced_wasserstein import DIRECTIONS, projections, quantile_distance

RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (300, 4, 5)).astype(np.uint8)


def test_it_is_a_distance_that_ignores_order_and_repetition():
    a, b, c = IMAGES[:100], IMAGES[100:200] // 2, IMAGES[200:] // 3 + 100
    assert sliced_wasserstein(a, a[::-1]) == pytest.approx(0, abs=1e-6)
    assert sliced_wasserstein(np.repeat(a, 3, axis=0), a) == pytest.approx(0, abs=1e-6)
    assert 0 < sliced_wasserstein(a, b) == pytest.approx(sliced_wasserstein(b, a), rel=1e-12)
    assert sliced_wasserstein(a, c) <= sliced_wasserstein(a, b) + sliced_wasserstein(b, c)


def test_a_shift_of_all_pixels_in_closed_form():
    """W_2 of a law and its translate is the length of the translation; its mean square over directions is that / d."""
    a = IMAGES // 2
    shifted = a + np.uint8(51)
    moved = np.full((1, 20), 0.2)
    directions = projections((255 * np.eye(20)).astype(np.uint8).reshape(20, 4, 5))
    expected = np.sqrt(np.mean((moved @ directions) ** 2))
    assert sliced_wasserstein(a, shifted) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(0.2, rel=0.15)  # sqrt(sum of 20 squares / 20), up to the choice of directions
    assert directions.shape == (20, DIRECTIONS) and np.allclose(np.linalg.norm(directions, axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("n, m", [(1, 7), (6, 4), (12, 5), (30, 30)])
def test_quantiles_of_unequal_numbers(n, m):
    """The result is that of both samples repeated until they are equally many, sorted and compared pair by pair."""
    a, b = RNG.normal(size=(n, 3)), RNG.normal(size=(m, 3)) + 1
    pairs = np.sort(np.repeat(a, m, axis=0), axis=0) - np.sort(np.repeat(b, n, axis=0), axis=0)
    assert quantile_distance(a, b) == pytest.approx(np.sqrt(np.mean(pairs**2)), rel=1e-9)


def test_sets_of_one_law_approach_each_other():
    few, many = (sliced_wasserstein(*RNG.integers(0, 256, (2, n, 4, 5)).astype(np.uint8)) for n in (50, 3200))
    assert few / many == pytest.approx(8, rel=0.25)  # 1 / sqrt(n)


def test_different_sizes_and_nothing_are_refused():
    for other in (IMAGES[:, 1:], IMAGES[:0]):
        with pytest.raises(ValueError, match="allowed: images of one size, one or more of each"):
            sliced_wasserstein(IMAGES, other)
