"""Laws of the engine for any graph, against enumeration in numpy and closed forms.

Keys are fixed; a right engine fails a check on one key in 1 / ALPHA.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from graph_oracles import (
    all_states,
    distribution,
    log_weights,
    random_graph_params,
    state_numbers,
    sweep_matrix,
)
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs
from jaxgen.gibbs import Graph, Lattice, graph_plan
from jaxgen.potts.oracles import enumeration

N = 20_001
HOUSE = [(0, 1), (2, 1), (3, 0), (4, 2), (1, 4), (0, 4)]
CASES = {  # graph, kind of parameters
    "mixed levels": (Graph(HOUSE, 5, [2, 3, 4, 2, 3]), "edge"),
    "spins": (Graph([*HOUSE, (5, 0), (6, 5), (6, 2)], 7, 2), "spin"),
    "tied and isolated": (Graph(HOUSE, 6, 3), "tied"),
    "tied, mixed levels": (Graph(HOUSE, 5, [3, 2, 4, 2, 3]), "tied"),
    "many levels": (Graph([(1, 0), (1, 2), (2, 0)], 3, [12, 2, 5]), "edge"),
    "no edges": (Graph([], 3, [2, 3, 2]), "edge"),
}


# Checkers: each gives a p-value, so that mutants can be asked to fail them.


@functools.cache
def case_params(case, seed=0):
    graph, kind = CASES[case]
    return random_graph_params(seed, graph, kind, scale=0.35 if kind == "spin" else 0.7)


def fixed_start(case):
    graph = CASES[case][0]
    row = np.random.default_rng(4).integers(graph.levels).astype(np.uint8)
    return np.repeat(row[None], N, axis=0)


def drawn(case, x, seed, calls=1, n_sweeps=2, params=None, **conditions):
    params = case_params(case) if params is None else params
    for key in jax.random.split(jax.random.key(seed), calls):
        x, info = gibbs.sample(key, CASES[case][0], params, x, n_sweeps, **conditions)
        assert int(info.sweeps) == n_sweeps and info.engine == "graph"
    return x


def law_p(case, x, p):
    graph = CASES[case][0]
    return chi_square_p(np.bincount(state_numbers(graph, x), minlength=len(p)), p)


def stationarity_p(case, params=None, beta=1.0, calls=2):
    """Two calls from exact draws, under the law itself."""
    p = distribution(CASES[case][0], case_params(case) if params is None else params, beta)
    start = all_states(CASES[case][0])[np.random.default_rng(1).choice(len(p), N, p=p)]
    return law_p(case, drawn(case, start, 2, calls, params=params, beta=beta), p)


def transition_p(case, n_sweeps=2, params=None):
    """From one fixed state, under its row of the power of the sweep matrix."""
    graph, x = CASES[case][0], fixed_start(case)
    order = np.concatenate(graph_plan.blocks(graph)).tolist()
    matrix = sweep_matrix(graph, case_params(case) if params is None else params, order)
    row = np.eye(len(matrix))[state_numbers(graph, x[:1])[0]]
    for _ in range(n_sweeps):
        row = row @ matrix
    return law_p(case, drawn(case, x, 3, n_sweeps=n_sweeps, params=params), row)


def convergence_p(case):
    return law_p(case, drawn(case, fixed_start(case), 5, calls=10), distribution(CASES[case][0], case_params(case)))


@functools.cache
def strong_params(case):
    """Couplings of +-60 whose pulls the biases cancel at one state: sums must be used, and many states stay likely."""
    graph = CASES[case][0]
    params = jax.tree.map(lambda a: np.array(a, np.float64), case_params(case))
    rng, x0 = np.random.default_rng(9), fixed_start(case)[0].astype(int)
    shift = 60.0 * rng.choice([-1.0, 1.0], params["coupling"].shape)
    params["coupling"] += shift
    for e, (i, j) in enumerate(graph.edges):
        params["bias"][i] -= shift[e][:, x0[j]]
        params["bias"][j] -= shift[e][x0[i], :]
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)


# Laws.


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


@pytest.mark.parametrize("case", ["mixed levels", "spins"])
def test_clamps_and_fields_of_each_chain(case):
    """Two groups of chains with their own clamp, field and state."""
    graph, params, half = CASES[case][0], case_params(case), 5000
    rng = np.random.default_rng(11)
    states = all_states(graph)
    rows = states[rng.choice(len(states), 2)]
    clamps = np.zeros((2, graph.n_sites), bool)
    clamps[0, [1, 4]] = clamps[1, 0] = True
    fields = rng.normal(size=(2, *params["bias"].shape)).astype(np.float32)
    start, clamp, field = (np.repeat(a, half, axis=0) for a in (rows, clamps, fields))
    x = start
    for key in jax.random.split(jax.random.key(12), 10):
        x, info = gibbs.sample(key, graph, params, x, 2, clamp=clamp, field=field)
        assert info.site_updates == 2 * half * (~clamps).sum()
    np.testing.assert_array_equal(x[clamp], start[clamp])
    for group in range(2):
        held = clamps[group]
        p = np.where((states[:, held] == rows[group, held]).all(1), 1.0, 0.0)
        p *= np.exp(log_weights(graph, params, states, fields[group]))
        counts = np.bincount(state_numbers(graph, x[group * half : (group + 1) * half]), minlength=len(p))
        assert chi_square_p(counts, p / p.sum()) > ALPHA


def test_one_clamp_and_one_field_for_all_chains():
    case = "tied and isolated"
    graph = CASES[case][0]
    clamp = np.array([1, 0, 0, 0, 0, 0], bool)
    field = np.random.default_rng(13).normal(size=(6, 3)).astype(np.float32)
    start = fixed_start(case)
    x = drawn(case, start, 14, 1, clamp=clamp, field=field)
    every = np.broadcast_to(clamp, start.shape), np.broadcast_to(field, (N, 6, 3))
    np.testing.assert_array_equal(x, drawn(case, start, 14, 1, clamp=every[0], field=every[1]))
    assert graph.n_sites == 6 and not np.array_equal(x, start)


# Noise belongs to the chain.


@pytest.mark.parametrize("scale", [0.5, 60.0])
def test_a_chain_is_the_same_in_any_batch_and_with_any_tiles(scale):
    """Batches of one, few and many chains have different tiles and forms of tables."""
    edges = [(i, (i + k) % 30) for i in range(30) for k in (1, 3, 5)]
    graph = Graph(edges, 30, [2] * 15 + [3] * 15)
    params = random_graph_params(15, graph, scale=scale)
    x = np.random.default_rng(16).integers(graph.levels, size=(40, 30)).astype(np.uint8)
    ids = np.random.default_rng(17).permutation(1000)[:40].astype(np.uint32)

    def run(chosen):
        sampled, _ = gibbs.sample(jax.random.key(18), graph, params, x[chosen], 3, chain_ids=jnp.asarray(ids[chosen]))
        return np.asarray(sampled)

    whole = run(np.arange(40))
    assert not np.array_equal(whole, x)
    for chosen in ([5], [39, 0, 7], np.arange(40)[::-1]):
        np.testing.assert_array_equal(run(np.asarray(chosen)), whole[chosen])


def test_default_chain_numbers_count_from_zero():
    case, x = "spins", fixed_start("spins")
    default = drawn(case, x, 19)
    np.testing.assert_array_equal(default, drawn(case, x, 19, chain_ids=jnp.arange(N)))
    np.testing.assert_array_equal(drawn(case, x, 19, chain_ids=jnp.arange(N) + 5)[:-5], default[5:])


def test_memory_does_not_grow_with_the_sweeps():
    graph, params = CASES["spins"][0], case_params("spins")

    def bytes_for(n_sweeps):
        run = jax.jit(lambda key, params, x: gibbs.sample(key, graph, params, x, n_sweeps)[0])
        compiled = run.lower(jax.random.key(0), params, jnp.zeros((16, 7), jnp.uint8)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_for(100_000) == bytes_for(2)


def test_equal_graphs_share_one_executable_that_sees_new_weights():
    sample_module = __import__("importlib").import_module("jaxgen.gibbs.sample")
    case = "spins"
    drawn(case, fixed_start(case), 20)
    executables = sample_module._run._cache_size()
    same = Graph(np.array(CASES[case][0].edges), 7, [2] * 7)
    assert same == CASES[case][0] and hash(same) == hash(CASES[case][0]) and same is not CASES[case][0]
    params = case_params(case, seed=1)
    x = fixed_start(case)
    for key in jax.random.split(jax.random.key(21), 10):
        x, _ = gibbs.sample(key, same, params, x, 2)
    assert law_p(case, x, distribution(same, params)) > ALPHA
    assert law_p(case, x, distribution(same, case_params(case))) < ALPHA
    assert sample_module._run._cache_size() == executables


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
