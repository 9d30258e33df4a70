"""The Chow-Liu tree against enumeration, against every other tree, and against its own samples."""

import itertools

import jax
import numpy as np
import pytest
import scipy.sparse.csgraph
import scipy.stats
from statistical import ALPHA, chi_square_p

from jaxgen.evaluation import ChowLiuTree, PairCounts, choose_pseudo_count
from jaxgen.evaluation.baselines.chow_liu import mutual_information


def all_images(height, width, levels):
    return np.array(list(itertools.product(range(levels), repeat=height * width)), np.uint8).reshape(-1, height, width)


def draws(seed, law, images, n):
    return images[np.random.default_rng(seed).choice(len(images), n, p=law)]


def random_law(seed, images):
    return np.random.default_rng(seed).dirichlet(np.full(len(images), 0.3))


def random_tree(seed, parent, levels, shape):
    """A law that is a tree; `parent` has its own number at the root."""
    conditional = np.random.default_rng(seed).dirichlet(np.full(levels, 0.4), (len(parent), levels))
    root = int(np.flatnonzero(np.asarray(parent) == np.arange(len(parent)))[0])
    conditional[root] = conditional[root, 0]
    return ChowLiuTree(np.asarray(parent, np.int32), conditional, shape)


def edges(tree):
    return {frozenset((i, int(p))) for i, p in enumerate(tree.parent) if i != p}


@pytest.mark.parametrize("height, width, levels", [(2, 2, 4), (2, 3, 2), (1, 5, 3), (1, 1, 2)])
def test_all_images_together_have_probability_one(height, width, levels):
    images = all_images(height, width, levels)
    tree = ChowLiuTree.fit(draws(0, random_law(1, images), images, 60), levels, 1.0)
    assert np.exp(tree.log_prob(images)).sum() == pytest.approx(1.0, abs=1e-12)


def test_pair_counts_are_those_of_counting():
    states = np.random.default_rng(0).integers(0, 3, (2500, 2, 2)).astype(np.uint8)  # more than one chunk
    pairs, flat = PairCounts.of(states, 3), states.reshape(2500, 4)
    assert pairs.n == 2500 and pairs.shape == (2, 2)
    for i, a, j, b in itertools.product(range(4), range(3), range(4), range(3)):
        assert pairs.counts[i, a, j, b] == np.sum((flat[:, i] == a) & (flat[:, j] == b))


def test_pseudo_observations_are_spread_over_the_states_of_a_pair():
    states = np.array([[[0, 0]]] * 3 + [[[0, 1]]] + [[[1, 1]]] * 2, np.uint8)
    tree = ChowLiuTree.fit(states, 2, 4.0)
    assert tree.parent.tolist() == [0, 0]
    np.testing.assert_allclose(tree.conditional[0], [[6 / 10, 4 / 10]] * 2)
    np.testing.assert_allclose(tree.conditional[1], [[4 / 6, 2 / 6], [1 / 4, 3 / 4]])


def test_mutual_information_is_the_sum_of_entropies_less_the_joint_one():
    images = all_images(2, 2, 3)
    states = draws(2, random_law(3, images), images, 300)
    information, flat = mutual_information(PairCounts.of(states, 3), 1e-9), states.reshape(300, 4).astype(int)

    def entropy(code):
        return scipy.stats.entropy(np.bincount(code))

    for i, j in itertools.combinations(range(4), 2):
        wanted = entropy(flat[:, i]) + entropy(flat[:, j]) - entropy(3 * flat[:, i] + flat[:, j])
        assert information[i, j] == pytest.approx(wanted, abs=1e-7)
        assert information[j, i] == pytest.approx(information[i, j], abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_no_tree_of_four_pixels_fits_better(seed):
    """All 16 spanning trees, each with its maximum-likelihood conditionals by counting."""
    images = all_images(2, 2, 2)
    states = draws(seed, random_law(seed + 10, images), images, 200)
    flat = states.reshape(-1, 4)
    fitted = ChowLiuTree.fit(states, 2, 1e-6).log_prob(states).sum()
    scores = []
    for chosen in itertools.combinations(list(itertools.combinations(range(4), 2)), 3):
        graph = np.zeros((4, 4))
        graph[tuple(np.transpose(chosen))] = 1
        if scipy.sparse.csgraph.connected_components(graph)[0] > 1:
            continue
        frequency = {j: np.bincount(flat[:, j], minlength=2)[flat[:, j]] / 200 for j in range(4)}
        score = sum(np.log(f).sum() for f in frequency.values())
        for i, j in chosen:
            code = 2 * flat[:, i] + flat[:, j]
            score += np.log(np.bincount(code, minlength=4)[code] / 200 / frequency[i] / frequency[j]).sum()
        scores.append(score)
    assert len(scores) == 16 and max(scores) - min(scores) > 1
    assert fitted == pytest.approx(max(scores), abs=1e-3)


@pytest.mark.parametrize("parent", [[0, 0, 1, 2, 3, 4], [2, 2, 2, 2, 3, 3], [0, 0, 1, 1, 2, 2]])
def test_a_law_that_is_a_tree_is_recovered(parent):
    law = random_tree(5, parent, 3, (2, 3))
    images = all_images(2, 3, 3)
    p = np.exp(law.log_prob(images))
    tree = ChowLiuTree.fit(draws(6, p / p.sum(), images, 20_000), 3, 1.0)
    assert edges(tree) == edges(law)
    divergence = np.sum(p * (law.log_prob(images) - tree.log_prob(images)))
    assert 0 <= divergence < 32 * 3 / 20_000  # about its number of free parameters / 2n


@pytest.mark.parametrize("parent", [[0, 0, 1, 2, 3, 4], [2, 2, 2, 2, 3, 3], [0]])
def test_samples_follow_the_law(parent):
    shape = (1, len(parent))
    law, n = random_tree(7, parent, 3, shape), 20_000
    x = law.sample(jax.random.key(0), n)
    assert x.dtype == np.uint8 and x.shape == (n, *shape)
    numbers = x.reshape(n, -1) @ 3 ** np.arange(len(parent) - 1, -1, -1)
    counts = np.bincount(numbers, minlength=3 ** len(parent))
    assert chi_square_p(counts, np.exp(law.log_prob(all_images(*shape, 3)))) > ALPHA


def test_a_sample_depends_on_its_number_alone():
    law = random_tree(8, [0, 0, 1, 2, 3, 4], 2, (2, 3))
    few, many = (law.sample(jax.random.key(1), n) for n in (5, 1200))
    np.testing.assert_array_equal(few, many[:5])
    assert (many[:200] != many[1000:]).any()


def test_pixels_that_never_change_still_have_a_place_in_the_tree():
    states = np.zeros((20, 3, 3), np.uint8)
    states[::2, 1, 1] = 1
    tree = ChowLiuTree.fit(states, 2, 0.1)
    assert len(edges(tree)) == 8 and np.isfinite(tree.log_prob(states)).all()
    assert tree.log_prob(states).mean() == pytest.approx(np.log(0.5), abs=0.1)


def test_the_pseudo_count_is_the_one_that_the_validation_states_prefer():
    images = all_images(2, 2, 2)
    law = random_law(20, images)
    train, validation = draws(21, law, images, 30), draws(22, law, images, 3000)
    pairs = PairCounts.of(train, 2)
    candidates = [1e-6, 1.0, 3.0, 1e4]
    scores = [ChowLiuTree.from_counts(pairs, s).log_prob(validation).mean() for s in candidates]
    tree, chosen = choose_pseudo_count(pairs, validation, candidates)
    assert chosen == candidates[int(np.argmax(scores))] and chosen in (1.0, 3.0)
    assert tree.log_prob(validation).mean() == max(scores)


def test_bad_input_is_refused_by_name():
    states = np.zeros((3, 2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"pseudo_count is 0\.0; allowed: a finite number above 0"):
        ChowLiuTree.fit(states, 2, 0.0)
    with pytest.raises(ValueError, match="levels is 257; allowed: 2 to 256"):
        ChowLiuTree.fit(states, 257, 1.0)
    with pytest.raises(ValueError, match="levels is 17 for 1024 pixels; allowed: up to 16 levels"):
        ChowLiuTree.fit(np.zeros((3, 32, 32), np.uint8), 17, 1.0)
    with pytest.raises(ValueError, match="states has values up to 2; allowed: 0 to 1"):
        ChowLiuTree.fit(states + np.uint8(2), 2, 1.0)
    with pytest.raises(ValueError, match="candidates is empty"):
        choose_pseudo_count(PairCounts.of(states, 2), states, [])
    tree = ChowLiuTree.fit(states, 2, 1.0)
    with pytest.raises(ValueError, match=r"states has images of \(4, 1\); allowed: \(2, 2\)"):
        tree.log_prob(states.reshape(3, 4, 1))
    with pytest.raises(ValueError, match="n is -1; allowed: 1 or more"):
        tree.sample(jax.random.key(0), -1)
