"""Intervals, conditional accuracy, copies and diversity against their definitions."""

import numpy as np
import pytest

from jaxgen.evaluation import class_diversity, conditional_accuracy, diversity_ratio, nearest_training, wilson


@pytest.mark.parametrize("successes, n", [(3, 10), (97, 100), (500, 1000)])
def test_wilson_ends_are_where_the_score_test_turns(successes, n):
    interval = wilson(successes, n)
    assert interval.value == successes / n and interval.low < interval.value < interval.high
    for end in (interval.low, interval.high):
        assert abs(interval.value - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / n), rel=1e-7)


def test_wilson_at_the_ends_and_refused():
    none, all_ = wilson(0, 20), wilson(20, 20)
    assert none.low == 0 and none.high == pytest.approx(1.959964**2 / (20 + 1.959964**2))
    assert all_.high == 1 and all_.low == pytest.approx(1 - none.high)
    for successes, n in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match=f"successes is {successes} of {n}; allowed: 0 to n"):
            wilson(successes, n)


def test_conditional_accuracy_counts_by_the_label_asked_for():
    accuracy = conditional_accuracy(np.asarray([0, 1, 1, 7, 9, 9]), np.asarray([0, 0, 1, 7, 9, 7]))
    assert accuracy.right.tolist() == [1, 1, 0, 0, 0, 0, 0, 1, 0, 1] and accuracy.count.tolist() == [
        2,
        1,
        *[0] * 5,
        2,
        0,
        1,
    ]
    assert accuracy.overall.value == 4 / 6 and accuracy.by_class[0].value == 0.5
    assert accuracy.by_class[2] is None and accuracy.by_class[9].low < 1


def test_conditional_accuracy_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"labels has shape \(2,\) for \(3,\) classes read"):
        conditional_accuracy(np.zeros(3, int), np.zeros(2, int))
    with pytest.raises(ValueError, match="labels has classes 0 to 10; allowed: 0 to 9"):
        conditional_accuracy(np.zeros(2, int), np.asarray([0, 10]))


def test_nearest_training_image_by_hand_and_by_search():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (40, 5, 4)).astype(np.uint8)
    images = rng.integers(0, 256, (9, 5, 4)).astype(np.uint8)
    images[3] = train[17]
    images[4] = train[22] ^ np.eye(5, 4, dtype=np.uint8)  # four pixels off by one grey
    nearest = nearest_training(images, train)
    every = np.sqrt(((images[:, None].astype(float) - train) ** 2).sum((2, 3))) / 255
    np.testing.assert_array_equal(nearest.index, every.argmin(1))
    np.testing.assert_allclose(nearest.distance, every.min(1), rtol=1e-12)
    assert nearest.index[3] == 17 and nearest.distance[3] == 0.0
    assert nearest.distance[4] == pytest.approx(2 / 255)


def test_diversity_is_the_mean_over_pairs():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(30, 3)).astype(np.float32), rng.integers(0, 3, 30)
    labels[0] = 8
    diversity = class_diversity(features, labels)
    for k in range(3):
        x = features[labels == k].astype(float)
        pairs = [np.linalg.norm(x[i] - x[j]) for i in range(len(x)) for j in range(i)]
        assert diversity[k] == pytest.approx(np.mean(pairs), rel=1e-6)
    assert np.isnan(diversity[3:]).all()  # no example, or a single one
    # Exactly known: unit steps apart on a line, two examples.
    assert class_diversity(np.asarray([[0.0], [3.0]]), np.asarray([5, 5]))[5] == pytest.approx(3)


def test_diversity_ratio_is_over_classes_that_both_have():
    fake, real = np.full(10, np.nan), np.full(10, 2.0)
    fake[:2], real[1] = (1.0, 5.0), np.nan
    assert diversity_ratio(fake, real) == 0.5
    with pytest.raises(ValueError, match="no class with two examples"):
        diversity_ratio(np.full(10, np.nan), real)
