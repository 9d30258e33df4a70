"""Annealing is `gibbs.sample` at one inverse temperature after the other, and ends in the lowest states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import UserError, gibbs
from jaxgen.gibbs import Graph, Lattice

GRAPH = Graph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)], 4, [2, 3, 2, 3])
PARAMS = {"bias": np.zeros((4, 3)), "coupling": np.random.default_rng(0).standard_normal((5, 3, 3))}
BETAS = np.array([0.5, 1.5])


def test_every_stage_is_a_call_of_sample():
    key, x = jax.random.key(3), jnp.zeros((20, 4), jnp.uint8)
    clamp, field = np.array([False, True, False, False]), np.ones((4, 3))
    conditions = {"clamp": clamp, "field": field, "chain_ids": np.arange(20) + 7}
    annealed = gibbs.anneal(key, GRAPH, PARAMS, x, BETAS, 3, **conditions)
    for m, beta in enumerate(BETAS):
        x, _ = gibbs.sample(jax.random.fold_in(key, m), GRAPH, PARAMS, x, 3, beta=beta, **conditions)
    np.testing.assert_array_equal(annealed, x)
    assert np.all(annealed[:, 1] == 0) and np.any(annealed != 0)


def test_most_chains_end_in_the_lowest_state():
    states = [s for s in itertools.product(*map(range, GRAPH.levels))]
    energies = gibbs.graph_energy(GRAPH, PARAMS, np.array(states, np.uint8))
    x = gibbs.anneal(jax.random.key(0), GRAPH, PARAMS, np.zeros((32, 4), np.uint8), np.linspace(0.1, 30, 60), 2)
    lowest = np.all(x == np.array(states[int(energies.argmin())]), 1)
    assert lowest.mean() > 0.8


def test_a_lattice_is_annealed_too():
    lattice = Lattice.grid(4, 6)
    params = {"bias": np.zeros((4, 6, 3)), "coupling": np.ones(2)}
    x = gibbs.anneal(jax.random.key(0), lattice, params, np.zeros((2, 4, 6), np.uint8), BETAS)
    assert x.shape == (2, 4, 6) and x.dtype == jnp.uint8


@pytest.mark.parametrize(
    "change, words",
    [
        ({"betas": np.array([0.5, -1.0])}, "betas go from -1.0 to 0.5; allowed: a vector of finite numbers, 0 or more"),
        ({"betas": np.array([np.nan])}, "betas go from nan to nan; allowed"),
        ({"betas": np.float32(1)}, r"betas is float32 \(\); allowed: a vector of finite numbers"),
        ({"betas": None}, "betas is NoneType; allowed: a vector"),
        ({"betas": [[1], [2, 3]]}, "betas is list; allowed: a vector"),
        ({"betas": np.array([1j])}, r"betas is complex128 \(1,\); allowed: a vector"),
        ({"betas": [1e39]}, "betas go from inf to inf; allowed: a vector"),
        ({"n_sweeps": 0}, "n_sweeps is 0; allowed"),
        ({"x": np.full((2, 4), 2, np.uint8)}, "x has a state of 2 at site 0; allowed there"),
        ({"key": 0}, "key is int; allowed"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(change, words):
    arguments = {"key": jax.random.key(0), "lattice": GRAPH, "params": PARAMS, "x": np.zeros((2, 4), np.uint8)}
    with pytest.raises(UserError, match=words):
        gibbs.anneal(**{**arguments, "betas": BETAS, **change})
