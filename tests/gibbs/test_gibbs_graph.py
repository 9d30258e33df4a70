"""Laws of the engine for any graph, against enumeration in numpy and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from graph_checks import (
    CASES,
    N,
    case_params,
    convergence_p,
    drawn,
    fixed_start,
    law_p,
    stationarity_p,
    strong_params,
    transition_p,
)
from graph_oracles import all_states, distribution, random_graph_params
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs
from jaxgen.gibbs import Graph, Lattice, graph_plan
from jaxgen.potts.oracles import enumeration


@pytest.mark.parametrize("case", CASES)
def test_the_law_is_kept_and_reached(case):
    assert stationarity_p(case) > ALPHA
    assert convergence_p(case) > ALPHA
    assert transition_p(case) > ALPHA


def test_every_block_is_one_colour_and_a_sweep_visits_every_site_once():
    for graph, _ in CASES.values():
        blocks = graph_plan.blocks(graph)
        assert sorted(np.concatenate(blocks)) == list(range(graph.n_sites))
        assert all(len(np.unique(graph.colouring[block])) == 1 for block in blocks)


def test_strong_couplings_keep_the_law():
    case = "mixed levels"
    params = strong_params(case)
    p = distribution(CASES[case][0], params)
    assert np.sum(p > 1e-3) > 5
    assert stationarity_p(case, params) > ALPHA
    assert transition_p(case, params=params) > ALPHA


@pytest.mark.parametrize("value", [-1e9, -np.inf])
def test_forbidden_levels_and_pairs(value):
    """A level of one site and some pairs of neighbouring levels never occur; the rest has its law."""
    case = "mixed levels"
    params = {k: np.array(v) for k, v in case_params(case).items()}
    params["bias"][2, 0] = value
    params["bias"][4, 2] = value
    params["coupling"][0, 0, 1] = value
    params["coupling"][3, 1, 1] = value
    params = jax.tree.map(jnp.asarray, params)
    p = distribution(CASES[case][0], params)
    start = all_states(CASES[case][0])[np.random.default_rng(1).choice(len(p), N, p=p)]
    x = drawn(case, start, 6, 2, params=params)
    assert law_p(case, x, p) > ALPHA
    assert np.all(np.asarray(x)[:, 2] != 0)
    at_zero_beta = drawn(case, start, 6, 1, params=params, beta=0.0)
    assert np.any(np.asarray(at_zero_beta)[:, 2] == 0) == (value > -np.inf)


def test_a_site_without_an_allowed_level_keeps_its_state():
    graph = Graph([(0, 1)], 2, 2)
    forbid = jnp.full((1, 2, 2), -jnp.inf)
    x = np.random.default_rng(0).integers(2, size=(64, 2), dtype=np.uint8)
    moved, _ = gibbs.sample(jax.random.key(0), graph, {"bias": jnp.zeros((2, 2)), "coupling": forbid}, x, 3)
    np.testing.assert_array_equal(moved, x)


@pytest.mark.parametrize("strength", [0.05, 0.6])
@pytest.mark.parametrize("levels", [2, 3])
def test_a_hub_of_forty_neighbours(strength, levels):
    """A star: given its centre all leaves are independent, so the joint law of the centre and three leaves is known."""
    n = 41
    graph = Graph([(i, 0) if i % 2 else (0, i) for i in range(1, n)], n, levels)
    params = random_graph_params(7, graph, scale=strength)
    bias, coupling = (np.asarray(params[name], np.float64) for name in ("bias", "coupling"))
    seen = np.array([w.T if i % 2 else w for i, w in enumerate(coupling, 1)])  # [leaf, level of the centre, own level]
    leaf = seen + bias[1:, None]
    log_centre = bias[0] + scipy.special.logsumexp(leaf, axis=2).sum(0)
    watched = [1, 2, n - 1]
    of_leaf = [scipy.special.softmax(leaf[i - 1], axis=1) for i in watched]
    p = np.einsum("c,ca,cb,cd->cabd", scipy.special.softmax(log_centre), *of_leaf).ravel()
    rng = np.random.default_rng(3)
    x = np.zeros((N, n), np.uint8)
    x[:, 0] = rng.choice(levels, N, p=scipy.special.softmax(log_centre))
    for i in range(1, n):
        chances = scipy.special.softmax(leaf[i - 1], axis=1).cumsum(1)[x[:, 0]]
        x[:, i] = (rng.random((N, 1)) > chances[:, :-1]).sum(1)
    for key in jax.random.split(jax.random.key(8), 3):
        x, _ = gibbs.sample(key, graph, params, x, 2)
    codes = np.asarray(x)[:, [0, *watched]].astype(int) @ levels ** np.array([3, 2, 1, 0])
    assert chi_square_p(np.bincount(codes, minlength=len(p)), p) > ALPHA


def test_beta_is_the_inverse_temperature():
    case = "tied and isolated"
    for beta in (0.0, jnp.float32(1.6)):
        p = distribution(CASES[case][0], case_params(case), float(beta))
        x = drawn(case, fixed_start(case), 8, 10, beta=beta)
        assert law_p(case, x, p) > ALPHA
    assert law_p(case, x, distribution(CASES[case][0], case_params(case))) < ALPHA


# Lattices.


def test_a_lattice_without_tiles_goes_to_the_graph_engine():
    lattice = Lattice(3, 4, ((0, 2), (1, 0)))
    levels = 2
    rng = np.random.default_rng(22)
    shapes = {gibbs.offset_name(o): (*lattice.edge_shape(o), levels, levels) for o in lattice.offsets}
    params = {
        "bias": jnp.asarray(rng.normal(size=(3, 4, levels)), jnp.float32),
        "coupling": {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()},
    }
    field = rng.normal(size=(3, 4, levels)).astype(np.float32)
    p = np.asarray(enumeration.distribution(lattice, params, 0.8, field))
    x = np.zeros((N, 3, 4), np.uint8)
    for key in jax.random.split(jax.random.key(23), 10):
        x, info = gibbs.sample(key, lattice, params, x, 2, beta=0.8, field=np.broadcast_to(field, (N, 3, 4, levels)))
        assert info.engine == "graph"
    counts = np.bincount(enumeration.state_numbers(np.asarray(x), levels), minlength=len(p))
    assert chi_square_p(counts, p) > ALPHA


@pytest.mark.parametrize("kind", ["edge", "tied"])
def test_a_torus_two_sites_wide_adds_its_double_edges(kind):
    lattice = Lattice.grid(2, 3, boundary="periodic")
    rng = np.random.default_rng(24)
    shapes = {gibbs.offset_name(o): (*lattice.edge_shape(o), 3, 3) for o in lattice.offsets}
    coupling = {name: jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    params = {
        "bias": jnp.asarray(rng.normal(size=(2, 3, 3)), jnp.float32),
        "coupling": coupling if kind == "edge" else jnp.array([0.7, -0.4]),
    }
    p = np.asarray(enumeration.distribution(lattice, params))
    x = np.zeros((N, 2, 3), np.uint8)
    for key in jax.random.split(jax.random.key(25), 10):
        x, _ = gibbs.sample(key, lattice, params, x, 2, engine="graph")
    counts = np.bincount(enumeration.state_numbers(np.asarray(x), 3), minlength=len(p))
    assert chi_square_p(counts, p) > ALPHA


def test_info_names_the_engine_inside_jit_too():
    lattice = Lattice.grid(2, 2)
    params = {"bias": jnp.zeros((2, 2, 2)), "coupling": jnp.zeros(2)}
    x = np.zeros((4, 2, 2), np.uint8)
    for engine in ("lattice", "graph", "sequential"):
        run = functools.partial(gibbs.sample, lattice=lattice, params=params, x=x, n_sweeps=1, engine=engine)
        _, info = jax.jit(run)(jax.random.key(0))
        assert info.engine == engine and isinstance(info.engine, str)
