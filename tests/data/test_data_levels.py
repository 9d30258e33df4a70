"""Level coding against its definition in exact rationals, and against the loss it is known to have on MNIST."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.data import ALLOWED_LEVELS, decode, encode, load, psnr, split

GREYS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("levels", [2, 3, 4, 7, 16, 17, 100, 255, 256])
def test_every_grey_falls_into_its_bin(levels):
    states = encode(GREYS, levels)
    assert states.dtype == np.uint8
    for grey, state in zip(GREYS.tolist(), states.tolist(), strict=True):
        value = Fraction(grey, 255)
        in_bin = Fraction(state, levels) <= value < Fraction(state + 1, levels)
        assert in_bin or (value == 1 and state == levels - 1)


def test_four_level_bins_are_those_of_float_digitize():
    expected = np.minimum(np.digitize(GREYS / 255, [0, 0.25, 0.5, 0.75, 1]) - 1, 3)
    np.testing.assert_array_equal(encode(GREYS, 4), expected)


@pytest.mark.parametrize("levels", range(2, 257))
def test_decode_is_a_right_inverse_and_keeps_black_and_white(levels):
    states = np.arange(levels, dtype=np.uint8)
    greys = decode(states, levels)
    assert greys.dtype == np.uint8 and (greys[0], greys[-1]) == (0, 255)
    np.testing.assert_array_equal(encode(greys, levels), states)
    if levels not in ALLOWED_LEVELS:
        assert np.abs(greys / 255 - states / (levels - 1)).max() <= 1 / 255
        return
    np.testing.assert_allclose(greys / 255, states / (levels - 1), rtol=1e-15)


@pytest.mark.parametrize("levels", [2, 4, 16, 17])
def test_jax_and_jit_agree_with_numpy(levels):
    states = jax.jit(encode, static_argnums=1)(jnp.asarray(GREYS), levels)
    greys = jax.jit(decode, static_argnums=1)(states, levels)
    assert isinstance(encode(jnp.asarray(GREYS), levels), jax.Array)
    assert states.dtype == greys.dtype == jnp.uint8
    np.testing.assert_array_equal(states, encode(GREYS, levels))
    np.testing.assert_array_equal(greys, decode(encode(GREYS, levels), levels))


def test_reconstruction_loss_on_mnist():
    """18.5 dB is the known loss at 4 levels when each bin is drawn at its centre; decoding to the ends loses less."""
    images, _ = split(load(), "test")
    centres = (encode(images, 4) + 0.5) / 4 * 255
    assert psnr(images, centres) == pytest.approx(18.5, abs=0.1)
    losses = [psnr(images, decode(encode(images, levels), levels)) for levels in (2, 4, 16)]
    assert losses == pytest.approx([20.69, 27.99, 40.42], abs=0.01)


def test_psnr_in_closed_form():
    black, white = np.zeros((2, 3), np.uint8), np.full((2, 3), 255, np.uint8)
    assert psnr(black, white) == pytest.approx(0, abs=1e-12)
    assert psnr(white, black) == pytest.approx(0, abs=1e-12)  # uint8 differences would wrap round
    assert psnr(black, black + 51) == pytest.approx(20 * np.log10(5))
    assert psnr(jnp.asarray(black), black) == float("inf")


@pytest.mark.parametrize("levels", [0, 1, 257, 4.0, True])
def test_other_levels_are_refused(levels):
    for code in (encode, decode):
        with pytest.raises(ValueError, match=f"levels is {levels}; allowed: an integer from 2 to 256"):
            code(GREYS, levels)


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="images has dtype float64; allowed: uint8"):
        encode(GREYS / 255, 4)
    with pytest.raises(ValueError, match="states has dtype float32; allowed: an integer type"):
        decode(np.zeros(3, np.float32), 4)
    with pytest.raises(ValueError, match="states has values 0 to 4; allowed: 0 to 3"):
        decode(np.array([0, 4], np.uint8), 4)
    with pytest.raises(ValueError, match="states has values -1 to 3; allowed: 0 to 3"):
        decode(jnp.array([-1, 3]), 4)
    with pytest.raises(ValueError, match=r"reconstructed has shape \(3,\) for images of \(2,\)"):
        psnr(GREYS[:2], GREYS[:3])
    with pytest.raises(ValueError, match="not empty"):
        psnr(GREYS[:0], GREYS[:0])
