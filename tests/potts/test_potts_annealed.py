"""Annealed importance sampling against enumeration, the transfer matrix and what can be said by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SMALL_LATTICES, exact_draws, random_params

from jaxgen import gibbs, potts
from jaxgen.potts.likelihood import annealed_importance as annealed
from jaxgen.potts.oracles import enumeration as exact
from jaxgen.potts.oracles import transfer_matrix as transfer

LATTICE = gibbs.Lattice.grid(2, 3)
PARAMS = random_params(0, LATTICE, 4, scale=1.0)
BASE = random_params(1, LATTICE, 4)["bias"]


def test_the_mean_weight_is_the_ratio_of_partition_functions():
    """Neal's identity holds for any number of temperatures, also for three, where weights vary much."""
    log_z = float(exact.log_partition(LATTICE, PARAMS, 0.8))
    estimate = annealed.estimate_log_partition(jax.random.key(0), LATTICE, PARAMS, BASE, 20_000, 3, beta=0.8)
    assert estimate.standard_error < 0.03
    assert abs(estimate.log_z - log_z) < 4 * estimate.standard_error
    samples = jnp.asarray(exact_draws(1, LATTICE, PARAMS, 20_000, 0.8))
    other = annealed.bound_log_partition(jax.random.key(1), LATTICE, PARAMS, BASE, samples, 3, beta=0.8)
    assert abs(other.log_z - log_z) < 4 * other.standard_error


def test_log_z_of_another_neighbourhood_is_that_of_enumeration():
    lattice, levels = SMALL_LATTICES["3x3 jumps"]
    params = random_params(2, lattice, levels, scale=1.0)
    estimate = annealed.estimate_log_partition(
        jax.random.key(2), lattice, params, jnp.zeros_like(params["bias"]), 512, 60
    )
    assert estimate.standard_error < 0.05
    assert abs(estimate.log_z - exact.log_partition(lattice, params)) < 2 * estimate.standard_error


@pytest.mark.parametrize("coupling", ["edge", "tied"])
def test_a_strip_is_bracketed_within_its_errors(coupling):
    lattice = gibbs.Lattice.grid(12, 5)
    params = random_params(3, lattice, 4, coupling, scale=0.7)
    log_z = float(transfer.log_partition(lattice, params))
    base = jnp.zeros_like(params["bias"])
    low = annealed.estimate_log_partition(jax.random.key(3), lattice, params, base, 256, 500)
    samples = transfer.draw(jax.random.key(4), lattice, params, 256)
    high = annealed.bound_log_partition(jax.random.key(5), lattice, params, base, samples, 500)
    for bound in (low, high):
        assert bound.standard_error < 0.1 and bound.effective_chains > 100
        assert abs(bound.log_z - log_z) < 2 * bound.standard_error


def test_one_temperature_is_plain_importance_sampling():
    key_start, _ = jax.random.split(jax.random.key(6))
    x = annealed.draw_independent(key_start, BASE, 8, 0.5)
    numbers = exact.state_numbers(x, 4)
    base = {"bias": BASE, "coupling": jax.tree.map(jnp.zeros_like, PARAMS["coupling"])}
    by_hand = (exact.log_weights(LATTICE, PARAMS, 0.5) - exact.log_weights(LATTICE, base, 0.5))[numbers]
    estimate = annealed.estimate_log_partition(jax.random.key(6), LATTICE, PARAMS, BASE, 8, 1, beta=0.5)
    np.testing.assert_allclose(estimate.log_weights, by_hand, rtol=1e-4)
    w = np.exp(np.asarray(by_hand, np.float64))
    log_z_base = float(exact.log_partition(LATTICE, base, 0.5))
    np.testing.assert_allclose(estimate.log_z, log_z_base + np.log(w.mean()), rtol=1e-5)
    np.testing.assert_allclose(estimate.standard_error, w.std(ddof=1) / w.mean() / np.sqrt(8), rtol=1e-4)
    np.testing.assert_allclose(estimate.effective_chains, w.sum() ** 2 / (w**2).sum(), rtol=1e-4)


def test_no_couplings_need_no_annealing():
    params = {"bias": BASE, "coupling": jax.tree.map(jnp.zeros_like, PARAMS["coupling"])}
    estimate = annealed.estimate_log_partition(jax.random.key(7), LATTICE, params, BASE, 16, 7)
    np.testing.assert_allclose(estimate.log_z, exact.log_partition(LATTICE, params), rtol=1e-5)
    assert estimate.standard_error == 0 and estimate.effective_chains == 16


def test_stages_of_a_dispatch_change_nothing(monkeypatch):
    seen = []
    whole = annealed.estimate_log_partition(jax.random.key(8), LATTICE, PARAMS, BASE, 16, 7)
    monkeypatch.setattr(annealed, "STAGE", 3)
    staged = annealed.estimate_log_partition(jax.random.key(8), LATTICE, PARAMS, BASE, 16, 7, progress=seen.append)
    np.testing.assert_allclose(staged.log_weights, whole.log_weights, rtol=1e-4)
    assert seen == [3, 6, 7]


def test_a_class_is_a_model_of_its_own():
    model = potts.PottsEBM(LATTICE, levels=4, n_classes=3)
    x = jnp.asarray(exact_draws(2, LATTICE, PARAMS, 5))
    joined = jax.random.normal(jax.random.key(9), (2, 3, 4, 3))
    params = PARAMS | {"label_coupling": joined}
    expected = model.apply({"params": params}, x, jnp.full(5, 2))
    alone = potts.PottsEBM(LATTICE, levels=4).apply({"params": annealed.class_params(params, 2)}, x)
    np.testing.assert_allclose(alone, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_chains": 1}, "n_chains is 1; allowed"),
        ({"n_temperatures": 0}, "n_temperatures is 0; allowed"),
        ({"base_bias": BASE[:1]}, "base_bias has shape"),
    ],
)
def test_refusals(change, message):
    given = {"params": PARAMS, "base_bias": BASE, "n_chains": 4, "n_temperatures": 2} | change
    with pytest.raises(ValueError, match=message):
        annealed.estimate_log_partition(jax.random.key(0), LATTICE, **given)


def test_independent_pixels_are_drawn_from_their_softmax():
    x = annealed.draw_independent(jax.random.key(10), 4 * BASE, 20_000, 0.5)
    frequencies = np.eye(4)[np.asarray(x)].mean(0)
    np.testing.assert_allclose(frequencies, jax.nn.softmax(0.5 * 4 * BASE), atol=0.015)
    np.testing.assert_array_equal(annealed.draw_independent(jax.random.key(10), 4 * BASE, 5, 0.5), x[:5])
