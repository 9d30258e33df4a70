"""Likelihoods from an estimated partition function against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import exact_draws, random_params

from jaxgen import gibbs, potts
from jaxgen.potts.likelihood.annealed_importance import class_params
from jaxgen.potts.likelihood.log_likelihood import base_biases, mixture_log_likelihood
from jaxgen.potts.oracles import enumeration
from jaxgen.potts.studies.likelihood import exact_rows

LATTICE = gibbs.Lattice.grid(2, 3)
PARAMS = random_params(0, LATTICE, 3, scale=1.0)
X = jnp.asarray(exact_draws(1, LATTICE, PARAMS, 50, 0.7))


@pytest.mark.parametrize(
    "side, levels, names", [(3, 17, ["Chow-Liu tree", "independent pixels"]), (60, 17, ["independent pixels"])]
)
def test_rows_of_the_models_that_are_tractable(side, levels, names):
    states = np.random.default_rng(0).integers(0, levels, (3, 12, side, side)).astype(np.uint8)
    rows = exact_rows(*states, levels)
    assert [row.quantity for row in rows] == [f"{name} on the same images" for name in names]


def test_log_likelihood_with_the_exact_log_z_is_that_of_enumeration():
    log_z = float(enumeration.log_partition(LATTICE, PARAMS, 0.7))
    log_p = potts.log_likelihood(potts.PottsEBM(LATTICE, 3), PARAMS, X, log_z, 0.7)
    expected = np.log(enumeration.distribution(LATTICE, PARAMS, 0.7))[enumeration.state_numbers(X, 3)]
    np.testing.assert_allclose(log_p, expected, rtol=1e-5)


def test_images_in_pieces_are_images_at_once(monkeypatch):
    model = potts.PottsEBM(LATTICE, 3)
    whole = potts.log_likelihood(model, PARAMS, X, 1.0)
    monkeypatch.setattr("jaxgen.potts.likelihood.log_likelihood._CHUNK", 17)
    np.testing.assert_allclose(potts.log_likelihood(model, PARAMS, X, 1.0), whole, rtol=1e-6)


def test_the_mixture_over_labels_sums_to_one():
    """Over all images, sum_x p(x) = 1 and p(x) = sum_y share_y p(x | y), each p(x | y) enumerated on its own."""
    model = potts.PottsEBM(LATTICE, 3, n_classes=3)
    params = PARAMS | {"label_coupling": jax.random.normal(jax.random.key(0), (2, 3, 3, 3))}
    label = np.array([0, 0, 0, 2], np.uint8)
    log_z = {y: float(enumeration.log_partition(LATTICE, class_params(params, y), 0.7)) for y in (0, 2)}
    states = jnp.asarray(enumeration.all_states(LATTICE, 3))
    log_p = mixture_log_likelihood(model, params, states, label, log_z, 0.7)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-4)
    by_class = [np.asarray(enumeration.distribution(LATTICE, class_params(params, y), 0.7)) for y in (0, 2)]
    np.testing.assert_allclose(np.exp(log_p), 0.75 * by_class[0] + 0.25 * by_class[1], atol=1e-6)


@pytest.mark.slow
def test_the_bracket_holds_and_reports_its_progress():
    seen = []
    samples = jnp.asarray(exact_draws(2, LATTICE, PARAMS, 128))
    base = base_biases(PARAMS, samples)
    model = potts.PottsEBM(LATTICE, 3)
    both = potts.bracket(jax.random.key(1), model, PARAMS, base, samples, 40, progress=seen.append)
    log_z = float(enumeration.log_partition(LATTICE, PARAMS))
    for bracket in both:
        assert abs(bracket.log_z - log_z) < 3 * bracket.standard_error < 0.2
    assert seen == [40, 80]


def test_bits_per_pixel_of_uniform_binary_images_is_one():
    assert potts.bits_per_pixel(np.full(3, -6 * np.log(2)), 6) == pytest.approx(1)
