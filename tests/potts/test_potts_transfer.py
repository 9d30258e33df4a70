"""The transfer matrix against enumeration, against a row-by-row matrix in numpy, and in a limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import empirical, exact_draws, random_params
from statistical import ALPHA, chi_square_p

from jaxgen.gibbs.lattice import Lattice
from jaxgen.potts.oracles import enumeration as exact
from jaxgen.potts.oracles import transfer_matrix as transfer

CASES = [
    (3, 2, 4, "edge"),
    (3, 3, 4, "edge"),
    (4, 4, 2, "edge"),
    (2, 6, 3, "edge"),
    (1, 5, 3, "edge"),
    (4, 1, 2, "tied"),
    (3, 3, 4, "tied"),
    (2, 4, 3, "tied"),
]


@pytest.mark.parametrize("height, width, levels, coupling", CASES)
def test_log_partition_and_marginals_are_those_of_enumeration(height, width, levels, coupling):
    lattice = Lattice.grid(height, width)
    params = random_params(1, lattice, levels, coupling, scale=0.8)
    field = np.random.default_rng(2).normal(size=params["bias"].shape).astype(np.float32)
    expected = exact.log_partition(lattice, params, 0.7, field)
    np.testing.assert_allclose(transfer.log_partition(lattice, params, 0.7, field), expected, rtol=1e-6)
    got, expected = (module.marginals(lattice, params, 0.7, field) for module in (transfer, exact))
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-6), got, expected)


@pytest.mark.parametrize("coupling", ["edge", "tied"])
def test_likelihood_gradient_is_that_of_enumeration_in_float64(coupling):
    lattice = Lattice.grid(3, 3)
    x = exact_draws(0, lattice, random_params(3, lattice, 3), 30)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), random_params(4, lattice, 3, coupling))

        def log_likelihood(params):
            in_data = exact.log_weights(lattice, params, 0.6)[exact.state_numbers(x, 3)].mean()
            return in_data - transfer.log_partition(lattice, params, 0.6)

        expected = jax.jit(jax.grad(lambda params: exact.log_likelihood(lattice, params, x, 0.6)))(params)
        got = jax.jit(jax.grad(log_likelihood))(params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, expected)
        if coupling == "edge":
            data_bias = np.eye(3)[x].mean(0)
            model = transfer.marginals(lattice, params, 0.6)
            np.testing.assert_allclose(0.6 * (data_bias - model["bias"]), expected["bias"], atol=1e-12)


def test_strong_couplings_reach_the_ground_state_without_overflow():
    lattice = Lattice.grid(3, 3)
    params = random_params(5, lattice, 3)
    weights = exact.log_weights(lattice, params, 400.0)
    np.testing.assert_allclose(transfer.log_partition(lattice, params, 400.0), weights.max(), rtol=1e-6)
    ground = exact.all_states(lattice, 3)[int(weights.argmax())]
    np.testing.assert_allclose(transfer.marginals(lattice, params, 400.0)["bias"], np.eye(3)[ground], atol=1e-5)
    np.testing.assert_array_equal(transfer.draw(jax.random.key(0), lattice, params, 1, 400.0)[0], ground)


def row_by_row_ising(height, width, coupling):
    """log Z of Ising without field, E = -sum s_i s_j, from a dense 2^W x 2^W matrix between rows, in numpy."""
    rows = np.arange(2**width, dtype=np.uint32)
    inside = coupling * (width - 1 - 2 * np.bitwise_count((rows ^ (rows >> 1)) & (2 ** (width - 1) - 1)).astype(float))
    between = np.exp(coupling * (width - 2.0 * np.bitwise_count(rows[:, None] ^ rows)))
    vector, log_scale = np.exp(inside), 0.0
    for _ in range(height - 1):
        vector = np.exp(inside) * (between @ vector)
        log_scale += np.log(vector.max())
        vector /= vector.max()
    return log_scale + np.log(vector.sum())


@pytest.mark.parametrize("height, width", [(12, 10), (10, 12), (28, 11)])
def test_binary_strip_is_the_row_by_row_matrix(height, width):
    # W_ij = 2 K delta is K (s_i s_j + 1): log Z_potts = log Z_ising + K edges. K = 0.44 is near the critical point.
    lattice = Lattice.grid(height, width)
    params = {"bias": jnp.zeros((height, width, 2)), "coupling": jnp.full(2, 0.88)}
    expected = row_by_row_ising(height, width, 0.44) + 0.44 * lattice.n_edges
    np.testing.assert_allclose(transfer.log_partition(lattice, params), expected, rtol=1e-6)


def test_onsager_free_energy_per_site():
    # Differences of log Z in height and width cancel the boundary; at K = 0.3 the correlation length is under 2 sites.
    # Onsager 1944: log Z / sites = log 2 + 1/(8 pi^2) int int log(cosh^2 2K - sinh 2K (cos a + cos b)) da db.
    def log_z(height, width):
        params = {"bias": jnp.zeros((height, width, 2)), "coupling": jnp.full(2, 2 * k)}
        lattice = Lattice.grid(height, width)
        return float(transfer.log_partition(lattice, params)) - k * lattice.n_edges

    k = 0.3
    with jax.enable_x64(True):
        bulk = (log_z(40, 12) - log_z(39, 12)) - (log_z(40, 11) - log_z(39, 11))
    angles = 2 * np.pi * (np.arange(512) + 0.5) / 512
    integrand = np.cosh(2 * k) ** 2 - np.sinh(2 * k) * (np.cos(angles)[:, None] + np.cos(angles))
    np.testing.assert_allclose(bulk, np.log(2) + np.log(integrand).mean() / 2, atol=1e-6)


@pytest.mark.parametrize("height, width, levels", [(2, 3, 4), (3, 2, 4), (4, 4, 2)])
def test_draws_follow_the_enumerated_law(height, width, levels):
    lattice = Lattice.grid(height, width)
    params = random_params(6, lattice, levels, scale=0.8)
    x = transfer.draw(jax.random.key(7), lattice, params, 40_000, beta=0.8)
    assert x.shape == (40_000, height, width) and x.dtype == jnp.uint8
    p = exact.distribution(lattice, params, 0.8)
    assert chi_square_p(empirical(x, levels), p) > ALPHA
    wrong = exact.distribution(lattice, params, 0.85)
    assert chi_square_p(empirical(x, levels), wrong) < ALPHA


def test_draws_of_a_longer_strip_have_its_pair_marginals():
    lattice = Lattice.grid(5, 14)
    params = random_params(8, lattice, 4)
    x = np.asarray(transfer.draw(jax.random.key(9), lattice, params, 20_000))
    expected = transfer.marginals(lattice, params)
    p_values = []
    for offset in lattice.offsets:
        source, target = (end.reshape(len(x), -1).T for end in lattice.ends(x, offset))
        pairs = [np.bincount(codes, minlength=16) for codes in 4 * source + target]
        tables = np.asarray(expected["coupling"]["{},{}".format(*offset)]).reshape(-1, 16)
        p_values += [chi_square_p(counts, p) for counts, p in zip(pairs, tables, strict=True)]
    assert min(p_values) > ALPHA / len(p_values)


def test_a_draw_depends_on_the_key_and_its_number_alone():
    lattice = Lattice.grid(4, 3)
    params = random_params(10, lattice, 3)
    few, many, other = (
        np.asarray(transfer.draw(jax.random.key(seed), lattice, params, n)) for seed, n in ((0, 5), (0, 50), (1, 50))
    )
    np.testing.assert_array_equal(few, many[:5])
    assert np.any(many != other)


def test_refusals():
    def refuse(lattice, levels, message, **kwargs):
        with pytest.raises(ValueError, match=message):
            transfer.draw(jax.random.key(0), lattice, random_params(0, lattice, levels), **{"n": 1, **kwargs})

    refuse(Lattice.grid(4, 4, "8"), 2, "lattice has offsets .* boundary .open.; allowed")
    refuse(Lattice.grid(4, 4, boundary="periodic"), 2, "lattice has offsets .* boundary .periodic.; allowed")
    refuse(
        Lattice.grid(28, 12),
        4,
        r"lattice has shorter side W = 12 at L = 4 levels; allowed: L\^\(W\+1\) of at most 16777216",
    )
    refuse(Lattice.grid(28, 10), 4, "lattice: draws would store 293601280 numbers; allowed: at most 268435456")
    refuse(Lattice.grid(3, 3), 2, "n is 0; allowed: an integer, 1 or more", n=0)
