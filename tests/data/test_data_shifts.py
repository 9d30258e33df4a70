"""Random shifts of images."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import data

shift = jax.jit(data.shift, static_argnums=3)


def test_shifts_depend_on_key_and_position_alone():
    rng = np.random.default_rng(1)
    key, images = jax.random.key(0), jnp.asarray(rng.integers(0, 256, (64, 28, 28)), jnp.uint8)
    place = jnp.arange(64, dtype=jnp.uint32)
    whole = shift(key, images, place, 2)
    # Any part of the batch on any device: the same shifts.
    order = rng.permutation(64)[:16]
    np.testing.assert_array_equal(shift(key, images[order], place[order], 2), whole[order])
    assert (np.asarray(shift(jax.random.key(1), images, place, 2)) != whole).any()
    assert (np.asarray(shift(key, images, place[::-1], 2)) != whole).any()


def test_shifts_are_uniform_and_bring_in_zeros():
    dot = jnp.zeros((5000, 9, 9), jnp.uint8).at[:, 4, 4].set(7).at[:, 0, 0].set(1)
    moved = np.asarray(shift(jax.random.key(0), dot, jnp.arange(5000, dtype=jnp.uint32), 2))
    _, y, x = np.nonzero(moved == 7)
    counts = np.histogram2d(y, x, bins=[np.arange(9) - 0.5] * 2)[0]
    assert counts.sum() == 5000 and (counts > 0).sum() == 25 and counts[2:7, 2:7].min() > 130
    assert set(np.unique(moved.sum((1, 2)))) == {7, 8}  # the corner is either inside or gone, never doubled
