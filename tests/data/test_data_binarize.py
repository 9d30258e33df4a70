"""Stochastic binarisation: the law of a pixel, and noise that belongs to an image's number."""

import jax
import numpy as np
import pytest
import scipy.stats
from statistical import ALPHA

from jaxgen import data

GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_every_grey_is_white_with_its_own_probability():
    n = 4000
    images = np.broadcast_to(GREYS, (n, 16, 16))
    bits = np.asarray(jax.jit(data.binarize)(jax.random.key(0), images, np.arange(n)))
    assert bits.dtype == np.uint8 and set(np.unique(bits)) == {0, 1}
    white = bits.sum(0).ravel()
    assert white[0] == 0 and white[255] == n
    p = np.arange(1, 255) / 255
    z = (white[1:255] - n * p) / np.sqrt(n * p * (1 - p))
    assert scipy.stats.chi2.sf(np.sum(z**2), 254) > ALPHA
    assert abs(z.sum()) / np.sqrt(254) < 4  # a threshold half a grey off would move them all one way


def test_pixels_and_images_have_noise_of_their_own():
    grey = np.full((2000, 4, 4), 128, np.uint8)
    flat = np.asarray(jax.jit(data.binarize)(jax.random.key(1), grey, np.arange(2000))).reshape(2000, 16)
    correlation = np.corrcoef(flat.T) - np.eye(16)
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
    assert np.abs(np.corrcoef(flat[:-1].ravel(), flat[1:].ravel())[0, 1]) < 5 / np.sqrt(32_000)


def test_bits_depend_on_key_and_number_not_on_the_batch():
    key, images, binarize = jax.random.key(2), np.broadcast_to(GREYS, (10, 16, 16)), jax.jit(data.binarize)
    whole = np.asarray(binarize(key, images, np.arange(10)))
    parts = [binarize(key, images[s], np.arange(10)[s]) for s in (slice(0, 5), slice(5, 10))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    order = np.array([7, 2, 0, 9, 4])
    np.testing.assert_array_equal(whole[order], binarize(key, images[order], order))
    assert (whole != binarize(jax.random.key(3), images, np.arange(10))).any()


def test_the_fixed_binarisation_is_fixed():
    images = np.broadcast_to(GREYS, (1003, 16, 16))  # more than one chunk
    test = data.fixed_binarization(images, "test")
    np.testing.assert_array_equal(test[:5], data.fixed_binarization(images[:5], "test"))
    assert (test[:3] != test[1000:]).any() and (test != data.fixed_binarization(images, "train")).any()
    # The bits of published likelihoods: these words may never change.
    rows = np.packbits(test[0, 4:8]).tobytes().hex()
    assert rows == "0dc5102010c21322"


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="images has dtype float32; allowed: uint8"):
        data.binarize(jax.random.key(0), np.zeros((2, 3), np.float32), np.arange(2))
    with pytest.raises(ValueError, match=r"index has shape \(3,\) for 2 images; allowed: one number per image"):
        data.binarize(jax.random.key(0), np.zeros((2, 3), np.uint8), np.arange(3))
    with pytest.raises(ValueError, match="part is 'holdout'; allowed: train, validation, test"):
        data.fixed_binarization(np.zeros((2, 3), np.uint8), "holdout")
