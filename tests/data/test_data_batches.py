"""The order of examples: full batches, each example once an epoch, and the same indices after a restart."""

import jax
import numpy as np
import pytest

from jaxgen.data import EpochOrder, evaluation_slices

KEY = jax.random.key(7)


@pytest.mark.parametrize(("n_examples", "batch_size"), [(12, 4), (10, 4), (7, 7), (5, 13), (1, 3), (9, 1)])
def test_stream_is_one_permutation_after_another(n_examples, batch_size):
    epochs = 6
    order = EpochOrder(KEY, n_examples, batch_size)
    steps = -(-epochs * n_examples // batch_size)
    batches = [order.indices(step) for step in range(steps)]
    assert all(batch.shape == (batch_size,) and batch.dtype == np.int32 for batch in batches)
    stream = np.concatenate(batches)[: epochs * n_examples].reshape(epochs, n_examples)
    np.testing.assert_array_equal(np.sort(stream), np.tile(np.arange(n_examples), (epochs, 1)))
    for epoch, permutation in enumerate(stream):
        expected = jax.random.permutation(jax.random.fold_in(KEY, epoch), n_examples)
        np.testing.assert_array_equal(permutation, expected)


def test_epochs_and_keys_differ():
    order = EpochOrder(KEY, 100, 100)
    assert not np.array_equal(order.indices(0), order.indices(1))
    assert not np.array_equal(order.indices(0), EpochOrder(jax.random.key(8), 100, 100).indices(0))


@pytest.mark.parametrize("batch_size", [4, 23])
def test_indices_depend_on_key_and_step_alone(batch_size):
    straight = EpochOrder(KEY, 10, batch_size)
    expected = [straight.indices(step) for step in range(30)]
    resumed = EpochOrder(KEY, 10, batch_size)
    for step in (17, 18, 3, 29, 0, 17):  # a restart in the middle, then leaps back and forth
        np.testing.assert_array_equal(resumed.indices(step), expected[step])
    raw_key = EpochOrder(jax.random.key_data(KEY), 10, batch_size)
    np.testing.assert_array_equal(raw_key.indices(np.int64(5)), expected[5])


def test_callers_cannot_spoil_later_batches():
    order = EpochOrder(KEY, 4, 4)
    first = order.indices(0)
    expected = first.copy()
    first[:] = -1
    np.testing.assert_array_equal(order.indices(0), expected)


def test_each_permutation_is_drawn_once_in_a_run(monkeypatch):
    drawn = []
    draw = jax.random.permutation
    monkeypatch.setattr(jax.random, "permutation", lambda key, n: drawn.append(n) or draw(key, n))
    order = EpochOrder(KEY, 10, 4)
    for step in range(10):  # 40 positions, 4 epochs
        order.indices(step)
    assert len(drawn) == 4


def test_epoch_of_a_step_is_that_of_its_first_example():
    assert [EpochOrder(KEY, 10, 4).epoch(step) for step in range(6)] == [0, 0, 0, 1, 1, 2]
    assert [EpochOrder(KEY, 5, 13).epoch(step) for step in range(3)] == [0, 2, 5]
    assert EpochOrder(KEY, 54_000, 512).epoch(np.int32(2**31 - 1)) == (2**31 - 1) * 512 // 54_000


@pytest.mark.parametrize(("n_examples", "batch_size"), [(10, 4), (8, 4), (3, 5), (1, 1)])
def test_evaluation_slices_cover_everything_once(n_examples, batch_size):
    slices = list(evaluation_slices(n_examples, batch_size))
    covered = np.concatenate([np.arange(n_examples)[piece] for piece in slices])
    np.testing.assert_array_equal(covered, np.arange(n_examples))
    lengths = [piece.stop - piece.start for piece in slices]
    assert all(length == batch_size for length in lengths[:-1])
    assert 1 <= lengths[-1] <= batch_size
    assert sum(lengths) == n_examples  # numpy forgives a slice that runs past the end; a length taken from it would not


@pytest.mark.parametrize("build", [lambda n, b: EpochOrder(KEY, n, b), evaluation_slices])
def test_sizes_below_one_are_refused(build):
    with pytest.raises(ValueError, match="n_examples is 0; allowed: 1 or more"):
        build(0, 4)
    with pytest.raises(ValueError, match="batch_size is -2; allowed: 1 or more"):
        build(4, -2)


def test_negative_step_is_refused():
    order = EpochOrder(KEY, 10, 4)
    for ask in (order.indices, order.epoch):
        with pytest.raises(ValueError, match="step is -1; allowed: 0 or more"):
            ask(-1)
