"""Density, coverage, precision and recall against counting, and what two samples of one law give."""

import math

import numpy as np
import pytest

from jaxgen.evaluation import expected_coverage, manifold


def counted(real, fake, k):
    """The definitions, point by point."""

    def radius(set_, i):
        return sorted(math.dist(set_[i], other) for j, other in enumerate(set_) if j != i)[k - 1]

    real_radius = [radius(real, i) for i in range(len(real))]
    fake_radius = [radius(fake, j) for j in range(len(fake))]
    inside = [[math.dist(y, x) <= r for x, r in zip(real, real_radius, strict=True)] for y in fake]
    covered = [any(column) for column in zip(*inside, strict=True)]
    recalled = [any(math.dist(x, y) <= r for y, r in zip(fake, fake_radius, strict=True)) for x in real]
    return (
        sum(map(sum, inside)) / (k * len(fake)),
        sum(covered) / len(real),
        sum(map(any, inside)) / len(fake),
        sum(recalled) / len(real),
    )


@pytest.mark.parametrize("k", [1, 3])
def test_the_four_figures_are_the_counts(k, monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["jaxgen.evaluation.measures.manifold"], "_CHUNK", 7)  # several, the last one short
    rng = np.random.default_rng(k)
    real, fake = rng.normal(size=(25, 3)), rng.normal(0.5, 0.7, size=(18, 3))
    figures = manifold(real, fake, k)
    assert figures == pytest.approx(counted(real, fake, k), abs=1e-12)
    assert len({round(value, 6) for value in figures}) == 4  # figures in each other's place would show


@pytest.mark.parametrize("n, m", [(30, 30), (40, 20)])
def test_density_and_coverage_of_one_law_are_known_exactly(n, m):
    rng = np.random.default_rng(3)
    figures = np.asarray([manifold(rng.exponential(size=(n, 2)), rng.exponential(size=(m, 2)), 5) for _ in range(600)])
    error = figures.std(0) / math.sqrt(len(figures))
    assert abs(figures[:, 0].mean() - 1) < 4 * error[0]
    assert abs(figures[:, 1].mean() - expected_coverage(n, m, 5)) < 4 * error[1]


def test_expected_coverage():
    assert expected_coverage(2, 1, 1) == pytest.approx(1 / 2)  # 1 - (N-1) / (M+N-1)
    assert expected_coverage(10_000, 10_000) == pytest.approx(1 - 2**-5, abs=2e-4)


def test_two_identical_gaussians_do_not_give_perfect_precision():
    """For 1,000 points each in 64 dimensions and k = 3 (Kynkaanniemi et al. 2019) it is 0.63; a floor shows that."""
    rng = np.random.default_rng(4)
    figures = manifold(rng.normal(size=(1000, 64)), rng.normal(size=(1000, 64)), 3)
    assert figures.precision == pytest.approx(0.63, abs=0.05) and figures.recall == pytest.approx(0.63, abs=0.05)
    assert figures.coverage == pytest.approx(expected_coverage(1000, 1000, 3), abs=0.04)


def test_a_dropped_mode_is_seen_by_coverage_and_recall():
    rng = np.random.default_rng(5)
    real = np.concatenate([rng.normal(size=(200, 2)), rng.normal(20, 1, size=(200, 2))])
    one_mode = manifold(real, rng.normal(size=(400, 2)))
    assert one_mode.coverage < 0.52 and one_mode.recall < 0.52
    assert one_mode.precision > 0.9 and one_mode.density > 0.8


@pytest.mark.parametrize("sizes, k", [((5, 9), 5), ((9, 5), 5), ((9, 9), 0)])
def test_too_few_examples_are_refused(sizes, k):
    with pytest.raises(ValueError, match=f"k is {k} with {sizes[0]} and {sizes[1]} examples; allowed: 1 or more"):
        manifold(np.zeros((sizes[0], 2)), np.zeros((sizes[1], 2)), k)
