"""Draws have the law of the table."""

import jax
import numpy as np
import pytest
from statistical import ALPHA, chi_square_p

from jaxgen import information
from jaxgen.information import sampler

UNEVEN = information.CellDistribution.from_masses(
    np.random.default_rng(0).dirichlet(np.ones(6), 3).reshape(3, 2, 3), ((0, 1, 5), (-2, 0, 1, 1.5)), [0.5, 0.1, 0.4]
)


@pytest.mark.parametrize("distribution", [information.ten_labels(), UNEVEN, information.ten_labels(0.0)])
def test_labels_and_cells_have_their_frequencies(distribution):
    x, y = information.sample(jax.random.key(1), distribution, 200_000)
    assert x.dtype == np.float32 and y.dtype == np.int32
    joint = distribution.joint()
    flat = np.asarray(y) * joint.shape[1] + distribution.cells_of(np.asarray(x))
    assert chi_square_p(np.bincount(flat, minlength=joint.size), joint.ravel()) > ALPHA


def test_points_are_uniform_inside_their_cells():
    x, _ = information.sample(jax.random.key(2), UNEVEN, 100_000)
    x = np.asarray(x)
    places = []
    for interval, column, edge in zip(np.unravel_index(UNEVEN.cells_of(x), (2, 3)), x.T, UNEVEN.edges, strict=True):
        lower, upper = np.array(edge)[interval], np.array(edge)[interval + 1]
        places.append((column - lower) / (upper - lower))
    # Together, so that axes that share their noise are found.
    counts = np.histogram2d(*places, 10, [(0, 1), (0, 1)])[0].ravel()
    assert counts.sum() == len(x) and chi_square_p(counts, np.full(100, 0.01)) > ALPHA


def test_frequencies_inside_a_bin_of_posterior_are_that_posterior():
    """The stated p(y | x) is that of the draws: in cells of one posterior, labels come as often as it says."""
    distribution = information.ten_labels()
    x, y = information.sample(jax.random.key(3), distribution, 200_000)
    posterior = np.exp(distribution.log_posterior()[:, distribution.cells_of(np.asarray(x))])
    place = np.minimum((posterior * 20).astype(int), 19)
    for label in range(10):
        for bin in np.unique(place[label]):
            inside = place[label] == bin
            p, hits = posterior[label, inside], np.asarray(y)[inside] == label
            assert abs(hits.sum() - p.sum()) < 4.5 * np.sqrt((p * (1 - p)).sum()) + 1e-9


def test_points_in_cells_lie_there():
    x = np.asarray(sampler.points_in_cells(jax.random.key(0), UNEVEN, 50))
    assert x.shape == (6, 50, 2)
    np.testing.assert_array_equal(UNEVEN.cells_of(x.reshape(-1, 2)), np.repeat(np.arange(6), 50))


def test_equal_keys_draw_equal_examples_and_others_do_not():
    draws = [information.sample(jax.random.key(seed), UNEVEN, 100) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    assert (np.asarray(draws[0][0]) != np.asarray(draws[2][0])).all()


def test_less_than_one_sample_is_refused():
    with pytest.raises(ValueError, match="num_samples is 0; allowed: 1 or more"):
        information.sample(jax.random.key(0), UNEVEN, 0)
    with pytest.raises(ValueError, match="per_cell is 0; allowed: 1 or more"):
        sampler.points_in_cells(jax.random.key(0), UNEVEN, 0)
