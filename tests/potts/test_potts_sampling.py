"""Annealed fresh samples: their law by enumeration, and the check of two starts."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import empirical, exact_draws, random_params
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs, potts
from jaxgen.potts import sampling as fresh
from jaxgen.potts.likelihood.annealed_importance import draw_independent
from jaxgen.potts.oracles import enumeration

LATTICE = gibbs.Lattice.grid(2, 3)
PARAMS = random_params(0, LATTICE, 2, scale=1.0)
KEY = jax.random.key(0)


def tiny_task(params, n=600, labels=None, config=None):
    """A task whose training images are exact draws of the model."""
    x = jnp.asarray(exact_draws(3, LATTICE, {k: params[k] for k in ("bias", "coupling")}, n))
    model = potts.PottsEBM(LATTICE, 2, n_classes=0 if labels is None else 2)
    return potts.PottsTask(config or potts.PottsConfig(levels=2), model, x, x, labels, labels)


def test_annealed_sweeps_end_in_the_law_of_the_model():
    """Independent pixels, twelve temperatures and six sweeps against enumeration; without couplings it would show."""
    n, base = 4000, jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 2)), jnp.float32)
    x = draw_independent(KEY, base, n, 0.7)
    x = fresh.annealed_sweeps(jax.random.key(1), LATTICE, PARAMS, base, x, 12, beta=0.7)
    x, _ = gibbs.sample(jax.random.key(2), LATTICE, PARAMS, x, 6, beta=0.7)
    counts = empirical(x, 2)
    assert chi_square_p(counts, np.asarray(enumeration.distribution(LATTICE, PARAMS, 0.7))) > ALPHA
    alone = PARAMS | {"coupling": jax.tree.map(jnp.zeros_like, PARAMS["coupling"])}
    assert chi_square_p(counts, np.asarray(enumeration.distribution(LATTICE, alone, 0.7))) < ALPHA


def test_one_temperature_is_one_sweep_at_the_model():
    base, x = jnp.zeros((2, 3, 2)), jnp.zeros((5, 2, 3), jnp.uint8)
    field = jnp.asarray(np.random.default_rng(2).normal(size=(5, 2, 3, 2)), jnp.float32)
    expected, _ = gibbs.sample(jax.random.fold_in(KEY, 0), LATTICE, PARAMS, x, 1, field=field)
    np.testing.assert_array_equal(fresh.annealed_sweeps(KEY, LATTICE, PARAMS, base, x, 1, field), expected)
    np.testing.assert_array_equal(fresh.annealed_sweeps(KEY, LATTICE, PARAMS, base, x, 0, field), x)


def test_stages_of_a_dispatch_change_nothing(monkeypatch):
    base, x, seen = jnp.zeros((2, 3, 2)), jnp.zeros((5, 2, 3), jnp.uint8), []
    whole = fresh.annealed_sweeps(KEY, LATTICE, PARAMS, base, x, 7)
    monkeypatch.setattr(fresh, "_STAGE", 3)
    staged = fresh.annealed_sweeps(KEY, LATTICE, PARAMS, base, x, 7, progress=seen.append)
    np.testing.assert_array_equal(staged, whole)
    assert seen == [3, 3, 1]


def test_samples_that_mix_need_no_further_sweeps(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as in a program without a console: no bar, and no error
    samples = potts.fresh_samples(tiny_task(PARAMS), PARAMS, KEY, 2000, 20)
    assert (samples.temperatures, samples.sweeps) == (10, 10) and set(samples.r_hats) == {
        "energy",
        "principal component",
    }
    assert max(samples.r_hats.values()) <= fresh.R_HAT and samples.states.shape == (2000, 2, 3)
    assert samples.description == "annealed from independent pixels over 10 sweeps, then 10 sweeps"
    counts = empirical(samples.states, 2)
    assert chi_square_p(counts, np.asarray(enumeration.distribution(LATTICE, PARAMS))) > ALPHA


def test_chains_that_are_stuck_are_swept_on_and_reported():
    """Four of five images are white, and couplings of 9 let no chain change sides: annealing makes almost all white."""
    white = jnp.arange(600) % 5 > 0
    task = tiny_task(PARAMS)
    images = jnp.broadcast_to(white[:, None, None], (600, 2, 3)).astype(jnp.uint8)
    stuck = potts.PottsTask(task.config, task.model, images, images, None, None)
    couplings = jax.tree.map(lambda w: jnp.broadcast_to(9 * jnp.eye(2), w.shape), PARAMS["coupling"])
    samples = potts.fresh_samples(stuck, {"bias": jnp.zeros((2, 3, 2)), "coupling": couplings}, KEY, 400, 8)
    assert samples.sweeps == 4 * fresh.ROUNDS and max(samples.r_hats.values()) > fresh.R_HAT
    assert samples.states.mean() > 0.9


def test_controls_have_the_classes_of_the_samples():
    labels = jnp.asarray(np.repeat([0, 1], [150, 450]).astype(np.uint8))
    joined = jnp.asarray(np.random.default_rng(4).normal(size=(2, 3, 2, 2)), jnp.float32)
    task = tiny_task(PARAMS, labels=labels)
    samples = potts.fresh_samples(task, PARAMS | {"label_coupling": joined}, KEY, 40, 6)
    np.testing.assert_array_equal(np.bincount(samples.label), [10, 30])
    x, y = fresh._training_images(task, KEY, samples.label, np.arange(40))
    np.testing.assert_array_equal(y, samples.label)
    shows = {
        0: {t.tobytes() for t in np.asarray(task.train[:150])},
        1: {t.tobytes() for t in np.asarray(task.train[150:])},
    }
    assert all(image.tobytes() in shows[int(own)] for image, own in zip(np.asarray(x), np.asarray(y), strict=True))


@pytest.mark.parametrize("d", [0.0, 0.5])
def test_r_hat_of_two_populations_is_that_of_their_means(d, monkeypatch):
    """sqrt(1 + d^2 / 3) for means d standard deviations apart: 1.04 for half a standard deviation."""
    rng, task = np.random.default_rng(5), tiny_task(PARAMS)
    values = iter([rng.normal(size=4000), d + rng.normal(size=4000)] * 2)
    monkeypatch.setattr(potts.PottsEBM, "apply", lambda *args: next(values))
    x = jnp.zeros((4000, 2, 3), jnp.uint8)
    energy = fresh.population_r_hats(task, PARAMS, (x, x), None)["energy"]
    assert energy == pytest.approx(np.sqrt(1 + d**2 / 3), abs=0.01)


def test_fewer_than_four_samples_are_not_compared():
    assert potts.fresh_samples(tiny_task(PARAMS), PARAMS, KEY, 2, 1).r_hats == {}
