"""Estimators of mutual information without networks, against their definitions, scikit-learn and known values."""

import math

import numpy as np
import pytest
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.neighbors import KNeighborsClassifier

from jaxgen.information import estimators
from jaxgen.information.estimators import comparison


def gaussian(n, correlation, seed=0):
    """A sample of two standard normal coordinates with this correlation, standardised."""
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, n, 1))
    return comparison.standardised(x), comparison.standardised(correlation * x + math.sqrt(1 - correlation**2) * noise)


def test_ksg_is_its_definition():
    rng = np.random.default_rng(1)
    x, k = rng.normal(size=(60, 2)), 4
    y = x[:, :1] + 0.5 * rng.normal(size=(60, 3))
    d_x, d_y = (np.abs(a[:, None] - a).max(-1) for a in (x, y))
    total = 0.0
    for i in range(60):
        others = np.delete(np.arange(60), i)
        radius = np.sort(np.maximum(d_x, d_y)[i, others])[k - 1]
        total += digamma((d_x[i, others] < radius).sum() + 1) + digamma((d_y[i, others] < radius).sum() + 1)
    assert estimators.ksg(x, y, k) == pytest.approx(digamma(k) + digamma(60) - total / 60)
    assert estimators.ksg(y, x, k) == pytest.approx(estimators.ksg(x, y, k))


def test_ross_is_its_definition():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], [30, 25, 1])  # a point that is alone in its label is left out
    x, k = rng.normal(size=(56, 2)) + labels[:, None], 3
    distance = np.abs(x[:, None] - x).max(-1)[:55, :55]
    total = 0.0
    for i in range(55):
        own = np.flatnonzero(labels[:55] == labels[i])
        radius = np.sort(distance[i, own])[k]  # the point itself is the nearest
        total += digamma(k) - digamma(len(own)) - digamma((distance[i] < radius).sum())
    assert estimators.ross(x, labels, k) == pytest.approx(digamma(55) + total / 55)


def test_in_one_dimension_both_are_those_of_scikit_learn():
    x, y = gaussian(300, 0.8)
    wanted = mutual_info_regression(x, y[:, 0], n_neighbors=3, random_state=0)[0]
    assert estimators.ksg(x, y) == pytest.approx(wanted, abs=1e-3)
    labels = (y[:, 0] > 0.3).astype(int) + (y[:, 0] > 1)
    wanted = mutual_info_classif(x, labels, discrete_features=False, n_neighbors=3, random_state=0)[0]
    assert estimators.ross(x, labels) == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_neighbours_and_correlations_find_the_value_of_a_gaussian(correlation):
    exact = -0.5 * math.log(1 - correlation**2)
    x, y = gaussian(3000, correlation)
    assert estimators.ksg(x, y) == pytest.approx(exact, abs=0.06)
    assert estimators.gaussian_estimate(x, y) == pytest.approx(exact, abs=0.06)


def test_the_estimate_of_the_correlations_is_that_of_the_covariance():
    rng = np.random.default_rng(3)
    both = rng.normal(size=(80, 5)) @ rng.normal(size=(5, 5))
    wanted = estimators.gaussian_information(np.cov(both.T), 2)
    assert estimators.gaussian_estimate(both[:, :2], both[:, 2:]) == pytest.approx(wanted)
    # A column that follows from others, such as the last one of one-hot labels, adds nothing.
    more = np.concatenate([both[:, 2:], both[:, 2:].sum(1, keepdims=True)], axis=1)
    assert estimators.gaussian_estimate(both[:, :2], more) == pytest.approx(wanted)
    assert len(estimators.canonical_correlations(both[:, :2], more)) == 2


def test_limited_information_is_the_whole_where_the_class_holds_the_posterior():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 20_000)
    x = rng.normal(size=20_000) + 2 * labels
    posterior = 1 / (1 + np.exp(-2 * (x - 1)))
    pointwise = np.log(2 * np.where(labels, posterior, 1 - posterior))
    assert estimators.limited_information(x[:, None], labels) == pytest.approx(pointwise.mean(), abs=0.02)


def test_linear_classifiers_cannot_use_what_neighbours_can():
    """Labels of the quadrants of a square, as in XOR: I = log 2, and a linear classifier sees none of it."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, (4000, 2))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    assert abs(estimators.limited_information(x, labels)) < 0.01
    near = estimators.limited_information(x, labels, KNeighborsClassifier(50))
    assert 0.5 < near < math.log(2) and estimators.ross(x, labels) == pytest.approx(math.log(2), abs=0.05)


def estimate(name, n, value, labelled):
    return comparison.Estimate("labels" if labelled else "roll", name, n, 0, value, 0.5, labelled)


def test_rows_are_means_beside_the_exact_value_and_errors_by_kind():
    found = [
        estimate(comparison.INFO_NCE, 300, 0.1, False),
        estimate(comparison.INFO_NCE, 1000, 0.4, False),
        estimate(comparison.INFO_NCE, 1000, 0.7, False),
        estimate(comparison.CLASSIFIER, 300, 0.3, True),
        estimate(comparison.CLASSIFIER, 1000, 0.45, True),
    ]
    errors = comparison.mean_errors(found)
    assert errors["continuous Y", comparison.INFO_NCE] == pytest.approx({300: 0.4, 1000: 0.15})
    assert errors["labels", comparison.CLASSIFIER] == pytest.approx({300: 0.2, 1000: 0.05})
    rows = {row.quantity: row for row in comparison.rows(found)}
    row = rows["roll: InfoNCE"]
    assert row.value == pytest.approx(0.55) and row.target == "exact 0.5000"
    assert row.note == "error +0.050, -0.400 with 300 pairs; range of 2 samples 0.400 to 0.700"
    assert rows["mean absolute error, labels: classifier bound"].value == pytest.approx(0.05)
    assert len(rows) == 4


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: estimators.ksg(x, x[:4]), r"x has shape \(20, 2\), y \(4, 2\)"),
        (lambda x: estimators.ksg(x, x, 20), "k is 20 with 20 points; allowed: 1 to 19"),
        (lambda x: estimators.ross(x, np.zeros(3)), "labels"),
        (lambda x: estimators.ross(x, np.arange(20)), "labels are all different"),
        (lambda x: estimators.gaussian_estimate(x[:4], x[:4]), r"with n > d_x \+ d_y"),
        (lambda x: estimators.limited_information(x, np.arange(20) // 10), "label 1 is not in the first half"),
        (lambda x: estimators.limited_information(x, np.zeros(3)), "labels"),
        (lambda x: comparison.standardised(np.ones((5, 2))), "coordinate 0 is constant"),
        (lambda x: comparison.check_sizes([300, 200]), "each 300 or more"),
    ],
)
def test_bad_samples_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0).normal(size=(20, 2)))
