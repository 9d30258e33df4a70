"""Exact quantities against the published table, sums written out by hand, and the laws they obey."""

import itertools
import math

import numpy as np
import pytest

from jaxgen import information
from jaxgen.information import bounds
from jaxgen.information.bounds import cross_entropy
from jaxgen.information.report import metadata

PUBLISHED = {
    0.0: (0.1291, 0.0895, 0.9511),
    1e-4: (0.2635, 0.1827, 0.9305),
    3e-4: (0.4817, 0.3339, 0.8921),
    1e-3: (1.0434, 0.7232, 0.7810),
    3e-3: (1.9145, 1.3270, 0.5831),
}


@pytest.fixture(scope="module")
def ten():
    return information.ten_labels()


@pytest.mark.parametrize("noise", PUBLISHED)
def test_published_values(noise):
    distribution = information.ten_labels(noise)
    bits, nats, accuracy = PUBLISHED[noise]
    entropy = information.conditional_entropy(distribution)
    assert entropy == pytest.approx(nats, abs=5e-5)
    assert information.bits(entropy) == pytest.approx(bits, abs=6e-5)
    assert information.bayes_accuracy(distribution) == pytest.approx(accuracy, abs=5e-5)


def test_published_values_of_subsets_fano_and_naive_bayes(ten):
    for n, bits, accuracy in ((5, 0.3080, 0.9063), (3, 0.1517, 0.9543)):
        part = ten.subset(range(n))
        assert information.bits(information.conditional_entropy(part)) == pytest.approx(bits, abs=5e-5)
        assert information.bayes_accuracy(part) == pytest.approx(accuracy, abs=5e-5)
    naive = information.naive_bayes(ten)
    assert information.bits(naive.cross_entropy) == pytest.approx(1.063, abs=5e-4)
    assert naive.accuracy == pytest.approx(0.802, abs=5e-4)
    assert information.fano_accuracy(information.conditional_entropy(ten), 10) == pytest.approx(0.9450, abs=5e-5)


def test_sums_written_out_by_hand():
    """Unequal priors and a zero, each term typed out."""
    distribution = information.CellDistribution.from_masses(
        np.array([[1.0, 3.0, 0.0], [2.0, 1.0, 1.0]]), ((0, 1, 2, 3),), [0.2, 0.8]
    )
    joint = {(0, 0): 0.05, (0, 1): 0.15, (1, 0): 0.4, (1, 1): 0.2, (1, 2): 0.2}
    cell = {c: sum(p for (_, d), p in joint.items() if d == c) for c in range(3)}
    entropy = -sum(p * math.log(p / cell[c]) for (_, c), p in joint.items())
    assert information.conditional_entropy(distribution) == pytest.approx(entropy, rel=1e-12)
    assert bounds.label_entropy(distribution) == pytest.approx(-0.2 * math.log(0.2) - 0.8 * math.log(0.8), rel=1e-12)
    assert information.bayes_accuracy(distribution) == pytest.approx(0.4 + 0.2 + 0.2, rel=1e-12)
    information_sum = sum(p * math.log(p / cell[c] / (0.2, 0.8)[y]) for (y, c), p in joint.items())
    assert information.mutual_information(distribution) == pytest.approx(information_sum, rel=1e-12)
    zero = bounds.class_bounds(distribution)[0]
    assert zero.loss == pytest.approx(-(0.05 * math.log(0.05 / 0.45) + 0.15 * math.log(0.15 / 0.35)) / 0.2)
    assert zero.recall == 0.0 and bounds.class_bounds(distribution)[1].recall == pytest.approx(1.0)


def test_more_coordinates_never_raise_the_entropy(ten):
    of_subsets = {bound.axes: bound for bound in information.subset_bounds(ten)}
    assert len(of_subsets) == 31
    for small, large in itertools.permutations(of_subsets, 2):
        if set(small) < set(large):
            assert of_subsets[large].conditional_entropy <= of_subsets[small].conditional_entropy + 1e-12
            assert of_subsets[large].bayes_accuracy >= of_subsets[small].bayes_accuracy - 1e-12
    assert of_subsets[0, 1, 2, 3, 4].conditional_entropy == pytest.approx(information.conditional_entropy(ten))
    for bound in of_subsets.values():
        total = bound.conditional_entropy + bound.mutual_information
        assert total == pytest.approx(math.log(10), rel=1e-12)
        assert bound.bayes_accuracy <= information.fano_accuracy(bound.conditional_entropy, 10)


def test_class_bounds_average_to_the_whole(ten):
    of_classes = bounds.class_bounds(ten)
    assert np.mean([bound.loss for bound in of_classes]) == pytest.approx(
        information.conditional_entropy(ten), rel=1e-12
    )
    assert np.mean([bound.recall for bound in of_classes]) == pytest.approx(information.bayes_accuracy(ten), rel=1e-12)


def test_more_uniform_is_harder_and_all_uniform_says_nothing(ten):
    entropies = [information.conditional_entropy(ten.mix(weight)) for weight in (0.0, 0.1, 0.5, 1.0)]
    assert entropies == sorted(entropies) and entropies[-1] == pytest.approx(math.log(10))


@pytest.mark.parametrize("k", [2, 3, 10])
def test_fano_inverts_its_formula(k):
    for error in (0.0, 0.01, 0.3, 1 - 1 / k):
        entropy = error * math.log(k - 1)
        entropy -= sum(p * math.log(p) for p in (error, 1 - error) if p)
        assert information.fano_accuracy(entropy, k) == pytest.approx(1 - error, abs=1e-6)
    with pytest.raises(ValueError, match="entropy is"):
        information.fano_accuracy(math.log(k) + 0.1, k)


def test_naive_bayes_is_exact_where_coordinates_are_independent():
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.ones(3), size=2) for _ in range(3)]
    masses = np.einsum("ya,yb,yc->yabc", *rows)
    distribution = information.CellDistribution.from_masses(masses, ((0, 1, 2, 3),) * 3, [0.3, 0.7])
    naive = information.naive_bayes(distribution)
    assert naive.cross_entropy == pytest.approx(information.conditional_entropy(distribution), rel=1e-10)
    assert naive.accuracy == pytest.approx(information.bayes_accuracy(distribution), rel=1e-10)


def test_cross_entropy_is_least_at_the_posterior(ten):
    best = ten.log_posterior()
    assert cross_entropy(ten, best) == pytest.approx(information.conditional_entropy(ten), rel=1e-12)
    other = best + 0.1 * np.random.default_rng(0).normal(size=best.shape)
    other -= np.logaddexp.reduce(other, axis=0)
    assert cross_entropy(ten, other) > information.conditional_entropy(ten) + 1e-4
    # A table that excludes what happens has no finite loss; one that excludes what cannot happen does.
    bare = information.ten_labels(0.0)
    assert np.isfinite(cross_entropy(bare, bare.log_posterior()))
    assert cross_entropy(ten, bare.log_posterior()) == math.inf


def test_bits_and_nats_agree_wherever_both_are_written(ten):
    def pairs(tree):
        if isinstance(tree, dict):
            if {"nats", "bits"} <= set(tree):
                yield tree["nats"], tree["bits"]
            for value in tree.values():
                yield from pairs(value)
        elif isinstance(tree, list):
            for value in tree:
                yield from pairs(value)

    nats_and_bits = np.array(list(pairs(metadata(ten, 1))))
    assert len(nats_and_bits) == 4 + 10 + 2 * 31
    np.testing.assert_allclose(nats_and_bits[:, 0], nats_and_bits[:, 1] * math.log(2), rtol=1e-12)
