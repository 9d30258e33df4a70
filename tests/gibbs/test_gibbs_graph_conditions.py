"""Clamps, fields, chain numbers and executables of the graph engine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graph_checks import CASES, N, case_params, drawn, fixed_start, law_p
from graph_oracles import all_states, distribution, log_weights, random_graph_params, state_numbers
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs
from jaxgen.gibbs import Graph


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
