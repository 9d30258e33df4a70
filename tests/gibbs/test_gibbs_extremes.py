"""Parameters beyond what float32 differences hold, and forbidden levels, against enumeration in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs

LATTICE = gibbs.Lattice.grid(2, 3)
ENGINES = ("lattice", "lattice13")
CHAINS = 4000


def bias_alone(values) -> dict:
    bias = jnp.broadcast_to(jnp.asarray(values, jnp.float32), (2, 3, len(values)))
    return {"bias": bias, "coupling": jnp.zeros(len(LATTICE.offsets))}


def counts_of_levels(params, engine, levels, jitted=False, n_sweeps=3):
    x = jnp.zeros((CHAINS, 2, 3), jnp.uint8)

    def run(params):
        return gibbs.sample(jax.random.key(0), LATTICE, params, x, n_sweeps, engine=engine)[0]

    drawn = (jax.jit(run) if jitted else run)(params)
    return np.bincount(np.asarray(drawn).ravel(), minlength=levels)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("jitted", [False, True], ids=["", "jit"])
@pytest.mark.parametrize(
    "values, exact",
    [
        ((-1e8, 0.0, 3.0), [0, 1, np.exp(3)]),
        ((-3e38, 0.0, 1.0), [0, 1, np.e]),
        ((0.0, -1e9, 2.0), [1, 0, np.exp(2)]),
    ],
)
def test_a_level_that_is_all_but_forbidden_leaves_the_law_of_the_rest(engine, jitted, values, exact):
    counts = counts_of_levels(bias_alone(values), engine, 3, jitted)
    p = np.array(exact) / np.sum(exact)
    assert counts[p == 0].sum() == 0
    assert chi_square_p(counts[p > 0], p[p > 0]) > ALPHA


@pytest.mark.parametrize("jitted", [False, True], ids=["", "jit"])
def test_a_pair_that_is_all_but_forbidden(jitted):
    """An open chain of three sites, W[0, 0] = -1e7 and a bias towards 1: P(middle = 1) by enumeration."""
    lattice = gibbs.Lattice(1, 3, ((0, 1),))
    weight = np.zeros((2, 2), np.float32)
    weight[0, 0] = -1e7
    params = {
        "bias": jnp.broadcast_to(jnp.array([0.0, 1.0]), (1, 3, 2)),
        "coupling": {"0,1": jnp.broadcast_to(jnp.asarray(weight), (1, 2, 2, 2))},
    }
    x = jnp.ones((20_000, 1, 3), jnp.uint8)

    def run(params):
        return gibbs.sample(jax.random.key(1), lattice, params, x, 30)[0]

    drawn = np.asarray((jax.jit(run) if jitted else run)(params))[:, 0]
    states = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    p = np.array([np.exp(a + b + c) * ((a or b) and (b or c)) for a, b, c in states], float)
    counts = np.bincount(drawn @ np.array([4, 2, 1]), minlength=8)
    assert counts[p == 0].sum() == 0
    assert chi_square_p(counts[p > 0], p[p > 0] / p.sum()) > ALPHA


EVERY_ENGINE = ("lattice", "graph", "sequential", "thrml", "columns")


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_forbidden_level_is_forbidden_in_every_engine_at_any_beta(engine, beta):
    x = jnp.ones((1000, 2, 3), jnp.uint8)
    params = bias_alone((-np.inf, 0.0, 1.0))
    drawn, _ = gibbs.sample(jax.random.key(2), LATTICE, params, x, 2, engine=engine, beta=beta)
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=3)
    p = np.exp([0.0, beta])
    assert counts[0] == 0 and chi_square_p(counts[1:], p / p.sum()) > ALPHA


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_tied_couplings_that_forbid_keep_a_proper_colouring(engine):
    params = {"bias": jnp.zeros((2, 3, 3)), "coupling": jnp.full(2, -jnp.inf)}
    x = np.broadcast_to(LATTICE.colouring.astype(np.uint8), (1000, 2, 3))
    drawn, _ = gibbs.sample(jax.random.key(3), LATTICE, params, x, 4, engine=engine)
    assert all(np.all(here != there) for here, there in (LATTICE.ends(np.asarray(drawn), o) for o in LATTICE.offsets))
    assert set(np.unique(drawn)) == {0, 1, 2}, "the third level is reached"


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_the_log_odds_are_as_exact_as_a_sum_in_float32(engine):
    """A site between neighbours in states 0 and 1, tied by W: the couplings cancel, and the bias of 1 remains.

    Its log-odds may be off by (d + 1) 2^-23 times the sum of the absolute parameters at the site, which is 0.007 for
    W = 1e4 and 0.75 for W = 2^20.
    """
    lattice = gibbs.Lattice(3, 1, ((1, 0),))
    n = 10_000
    x = np.broadcast_to(np.array([[0], [0], [1]], np.uint8), (n, 3, 1))
    clamp = np.array([[True], [False], [True]])
    for strength in (1e4, 2.0**20):
        params = {"bias": jnp.zeros((3, 1, 2)).at[1, 0, 1].set(1.0), "coupling": jnp.array([strength])}
        drawn, _ = gibbs.sample(jax.random.key(5), lattice, params, x, 1, engine=engine, clamp=clamp)
        bound = 3 * 2.0**-23 * (2 * strength + 1)
        low, high = (1 / (1 + np.exp(-1 + sign * bound)) for sign in (1, -1))
        share = np.asarray(drawn)[:, 1].mean()
        error = 4 * np.sqrt(0.25 / n)
        assert low - error < share < high + error, (strength, share)
