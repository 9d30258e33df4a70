"""Parallel tempering: its law at every replica, and that it crosses where plain Gibbs cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import empirical, exact_draws, random_params
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs, potts
from jaxgen.potts.oracles import enumeration

LATTICE = gibbs.Lattice.grid(2, 3)
PARAMS = random_params(0, LATTICE, 3, scale=1.5)
BASE = random_params(1, LATTICE, 3)["bias"]
T = jnp.array([0.0, 0.3, 0.7, 1.0])


def on_path(t):
    return {
        "bias": (1 - t) * BASE + t * PARAMS["bias"],
        "coupling": jax.tree.map(lambda w: t * w, PARAMS["coupling"]),
    }


def test_every_replica_keeps_its_law():
    """From exact draws of each replica's law, rounds of sweeps and swaps give draws of the same laws."""
    n = 4000
    x = jnp.stack([jnp.asarray(exact_draws(k, LATTICE, on_path(t), n, 0.9)) for k, t in enumerate(T)])
    moved, info = potts.parallel_tempering(jax.random.key(0), LATTICE, PARAMS, BASE, x, T, 3, beta=0.9)
    for states, t in zip(moved, T, strict=True):
        p = chi_square_p(empirical(states, 3), enumeration.distribution(LATTICE, on_path(t), 0.9))
        assert p > ALPHA
    assert (info.acceptance > 0.1).all() and (info.acceptance < 1).all()
    assert (np.asarray(moved) != np.asarray(x)).any((2, 3)).mean() > 0.9


def test_acceptance_is_that_of_exact_draws():
    """P(swap) between two independent draws, by enumeration of both."""
    n = 4000
    x = jnp.stack([jnp.asarray(exact_draws(k, LATTICE, on_path(t), n, 0.6)) for k, t in enumerate(T)])
    _, info = potts.parallel_tempering(jax.random.key(1), LATTICE, PARAMS, BASE, x, T, 2, beta=0.6)
    d = np.asarray(enumeration.log_weights(LATTICE, on_path(0.0)) - enumeration.log_weights(LATTICE, PARAMS))
    laws = [np.asarray(enumeration.distribution(LATTICE, on_path(t), 0.6)) for t in T]
    for r in range(3):
        ratio = np.minimum(1, np.exp(0.6 * (T[r + 1] - T[r]) * (d[None, :] - d[:, None])))
        assert info.acceptance[r] == pytest.approx(laws[r] @ ratio @ laws[r + 1], abs=0.03)


def test_it_crosses_a_barrier_that_gibbs_does_not():
    """A strong ferromagnet of two levels: all chains start in one state and should end half in each."""
    lattice = gibbs.Lattice.grid(4, 4)
    params = {"bias": jnp.zeros((4, 4, 2)), "coupling": jnp.array([2.0, 2.0])}
    x = jnp.zeros((6, 256, 4, 4), jnp.uint8)
    t = jnp.linspace(0, 1, 6)
    plain, _ = gibbs.sample(jax.random.key(2), lattice, params, x[0], 200)
    tempered, info = potts.parallel_tempering(jax.random.key(2), lattice, params, params["bias"], x, t, 200)
    assert plain.mean() < 0.1
    assert 0.4 < tempered[-1].mean() < 0.6
    np.testing.assert_array_equal(info.cold[-1], tempered[-1])
    assert info.cold.shape == (200, 256, 4, 4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"t": T[:3]}, r"t has shape \(3,\) for 4 replicas"),
        ({"x": jnp.zeros((1, 2, 2, 3), jnp.uint8), "t": T[:1]}, "two or more"),
        ({"n_rounds": 0}, "n_rounds is 0; allowed"),
        ({"base_bias": BASE[:1]}, "base_bias has shape"),
    ],
)
def test_refusals(change, message):
    given = {"params": PARAMS, "base_bias": BASE, "x": jnp.zeros((4, 2, 2, 3), jnp.uint8), "t": T, "n_rounds": 2}
    with pytest.raises(ValueError, match=message):
        potts.parallel_tempering(jax.random.key(0), LATTICE, **given | change)
