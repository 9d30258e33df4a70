"""Enumeration against hand formulas, and the sweep matrices of Gibbs scans against the law they must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import SMALL_LATTICES, exact_draws, random_params
from torch_reference import potts as reference

from jaxgen.gibbs.lattice import Lattice
from jaxgen.potts.oracles import enumeration

NAMES = sorted(SMALL_LATTICES)
SCANNED = ["2x2 torus", "3x3 diagonals", "3x3 torus", "3x3 jumps"]


def stationary_error(p, sweep):
    return np.abs(p @ sweep - p).max()


def as_float64(p):
    return np.asarray(p, np.float64)


def test_states_are_numbered_in_base_levels():
    lattice = Lattice.grid(2, 3)
    states = enumeration.all_states(lattice, 4)
    assert states.shape == (4096, 2, 3) and states.dtype == np.uint8
    np.testing.assert_array_equal(states[1], [[0, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(states[4**5 * 3 + 4 * 2], [[3, 0, 0], [0, 2, 0]])
    np.testing.assert_array_equal(enumeration.state_numbers(states, 4), np.arange(4096))


@pytest.mark.parametrize("beta", [0.1, 0.44, 1.0])
def test_ising_on_a_two_by_two_torus(beta):
    # Ising: E = -sum s_i s_j over 8 edges, Z = 2 e^(8 beta) + 12 + 2 e^(-8 beta) = 4 cosh(8 beta) + 12.
    # Potts with W_ij = 2 delta: s_i s_j = 2 delta - 1, so log Z_potts = log Z_ising + 8 beta.
    lattice = Lattice.grid(2, 2, boundary="periodic")
    params = {"bias": jnp.zeros((2, 2, 2)), "coupling": jnp.array([2.0, 2.0])}
    expected = np.log(4 * np.cosh(8 * beta) + 12) + 8 * beta
    np.testing.assert_allclose(enumeration.log_partition(lattice, params, beta), expected, rtol=1e-6)


@pytest.mark.parametrize("name, coupling", [(name, "edge") for name in NAMES] + [("3x3 jumps", "tied")])
def test_weights_are_minus_beta_times_the_reference_energy(name, coupling):
    lattice, levels = SMALL_LATTICES[name]
    params = random_params(1, lattice, levels, coupling)
    field = np.random.default_rng(2).normal(size=params["bias"].shape).astype(np.float32)
    states = enumeration.all_states(lattice, levels)
    with_field = {"bias": params["bias"] + field, "coupling": params["coupling"]}
    expected = -0.7 * reference.energy(with_field, states, lattice.offsets, lattice.boundary).numpy()
    got = enumeration.log_weights(lattice, params, 0.7, field)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    p = as_float64(enumeration.distribution(lattice, params, 0.7, field))
    np.testing.assert_allclose(p, np.exp(expected) / np.exp(expected).sum(), rtol=2e-5)
    np.testing.assert_allclose(
        enumeration.log_partition(lattice, params, 0.7, field), np.log(np.exp(expected).sum()), rtol=1e-6
    )


def test_conditionals_are_the_softmax_of_the_local_field():
    # The centre of a 3 x 3 grid: logits = beta (b + W_left[left, :] + W_right[:, right] + the same, vertical).
    lattice = Lattice.grid(3, 3)
    params = random_params(3, lattice, 3)
    states = enumeration.all_states(lattice, 3)
    across, down = as_float64(params["coupling"]["0,1"]), as_float64(params["coupling"]["1,0"])
    logits = 1.3 * (
        as_float64(params["bias"])[1, 1]
        + across[1, 0][states[:, 1, 0]]
        + across[1, 1].T[states[:, 1, 2]]
        + down[0, 1][states[:, 0, 1]]
        + down[1, 1].T[states[:, 2, 1]]
    )
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(enumeration.conditional(lattice, params, 4, beta=1.3), expected, atol=2e-6)


@pytest.mark.parametrize("name", ["2x2 torus", "2x4 diagonals", "3x3 jumps"])
def test_marginals_are_the_gradient_of_log_z(name):
    lattice, levels = SMALL_LATTICES[name]
    params = random_params(4, lattice, levels)
    gradient = jax.grad(enumeration.log_partition, argnums=1)(lattice, params, 0.8)
    expected = enumeration.marginals(lattice, params, 0.8)
    jax.tree.map(lambda g, m: np.testing.assert_allclose(g / 0.8, m, atol=5e-6), gradient, expected)
    np.testing.assert_allclose(expected["bias"].sum(-1), 1, atol=1e-12)


@pytest.mark.parametrize("coupling", ["edge", "tied"])
def test_likelihood_gradient_is_the_central_difference(coupling):
    lattice, levels = SMALL_LATTICES["3x3 jumps"]
    x = exact_draws(0, lattice, random_params(5, lattice, levels), 20)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), random_params(6, lattice, levels, coupling))
        direction = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), random_params(7, lattice, levels, coupling))

        @jax.jit
        def along(t):
            moved = jax.tree.map(lambda a, d: a + t * d, params, direction)
            return enumeration.log_likelihood(lattice, moved, x, beta=0.9)

        assert along(0.0).dtype == jnp.float64
        gradient = jax.grad(along)(0.0)
        np.testing.assert_allclose(gradient, (along(1e-4) - along(-1e-4)) / 2e-4, rtol=1e-6)
        numbers = enumeration.state_numbers(x, levels)
        p = enumeration.distribution(lattice, params, 0.9)
        np.testing.assert_allclose(along(0.0), np.log(p[numbers]).mean(), rtol=1e-12)


@pytest.mark.parametrize("name", SCANNED)
def test_colour_and_sequential_sweeps_keep_the_law(name):
    lattice, levels = SMALL_LATTICES[name]
    params = random_params(8, lattice, levels, scale=0.8)
    p = as_float64(enumeration.distribution(lattice, params, 0.9))
    start = np.full(len(p), 1 / len(p))
    for order in (enumeration.colour_blocks(lattice), [np.array([site]) for site in range(lattice.n_sites)]):
        sweep = enumeration.sweep_matrix(lattice, params, order, 0.9)
        np.testing.assert_allclose(sweep.sum(1), 1, atol=1e-9)
        assert stationary_error(p, sweep) < 1e-6
        assert stationary_error(start, sweep) > 1e-5
        flow = p[:, None] * sweep
        assert np.abs(flow - flow.T).max() > 1e-5, "a fixed scan should not be reversible"
        np.testing.assert_allclose(start @ np.linalg.matrix_power(sweep, 256), p, atol=1e-6)


def test_one_site_kernels_are_reversible():
    lattice, levels = SMALL_LATTICES["2x2 torus"]
    params = random_params(8, lattice, levels)
    flow = as_float64(enumeration.distribution(lattice, params))[:, None] * enumeration.sweep_matrix(
        lattice, params, [[2]]
    )
    np.testing.assert_allclose(flow, flow.T, atol=1e-12)


@pytest.mark.parametrize("name, colours", [("2x3 open", 2), ("3x3 diagonals", 4), ("3x3 jumps", 2)])
def test_blocks_are_the_colours(name, colours):
    lattice, _ = SMALL_LATTICES[name]
    blocks = enumeration.colour_blocks(lattice)
    assert len(blocks) == colours
    np.testing.assert_array_equal(np.sort(np.concatenate(blocks)), np.arange(lattice.n_sites))


def test_two_colours_do_not_keep_the_law_with_diagonals():
    lattice, levels = SMALL_LATTICES["3x3 diagonals"]
    params = random_params(9, lattice, levels)
    checkerboard = enumeration.colour_blocks(Lattice.grid(3, 3))
    sweep = enumeration.sweep_matrix(lattice, params, checkerboard)
    assert stationary_error(as_float64(enumeration.distribution(lattice, params)), sweep) > 1e-4


def test_skipping_a_colour_keeps_the_law_but_does_not_reach_it():
    lattice, levels = SMALL_LATTICES["2x2 torus"]
    params = random_params(9, lattice, levels)
    p = as_float64(enumeration.distribution(lattice, params))
    sweep = enumeration.sweep_matrix(lattice, params, enumeration.colour_blocks(lattice)[:1])
    assert stationary_error(p, sweep) < 1e-6
    assert np.abs(np.eye(len(p))[0] @ np.linalg.matrix_power(sweep, 64) - p).max() > 1e-3


def test_clamped_sites_stay_and_the_rest_reaches_the_conditional_law():
    lattice, levels = SMALL_LATTICES["2x2 torus"]
    params = random_params(10, lattice, levels)
    clamp = np.array([[True, False], [False, True]])
    p = as_float64(enumeration.distribution(lattice, params))
    states = enumeration.all_states(lattice, levels)
    sweep = enumeration.sweep_matrix(lattice, params, enumeration.colour_blocks(lattice), clamp=clamp)
    assert stationary_error(p, sweep) < 1e-6
    start = 137
    allowed = np.all(states[:, clamp] == states[start][clamp], axis=1)
    reached = np.linalg.matrix_power(sweep, 64)[start]
    np.testing.assert_allclose(reached, np.where(allowed, p, 0) / p[allowed].sum(), atol=1e-7)


def test_refusals():
    big = Lattice.grid(5, 5)
    with pytest.raises(ValueError, match=r"lattice has 2\^25 states .* at most 4194304"):
        enumeration.all_states(big, 2)
    medium, params = Lattice.grid(3, 3), random_params(0, Lattice.grid(3, 3), 3)
    with pytest.raises(ValueError, match=r"lattice has 3\^9 states .* at most 4096"):
        enumeration.sweep_matrix(medium, params, enumeration.colour_blocks(medium))
    with pytest.raises(ValueError, match="x has levels 0 to 3; allowed: 0 to 2"):
        enumeration.log_likelihood(medium, params, np.full((1, 3, 3), [0, 1, 3], np.uint8))
    with pytest.raises(ValueError, match=r"field has shape \(3, 3\); allowed: \(3, 3, 3\)"):
        enumeration.log_partition(medium, params, field=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"params\['bias'\] has shape \(3, 3, 3\)"):
        enumeration.log_partition(Lattice.grid(2, 3), params)
