"""Graphs: what is refused, colourings, equality, and the layout of a sweep."""

import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from graph_oracles import random_graph_params

from jaxgen import gibbs, potts
from jaxgen.errors import UserError
from jaxgen.gibbs import Graph, Lattice, graph_plan

TRIANGLE = [(0, 1), (1, 2), (2, 0)]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (([(0, 1), (2, 2)], 3), r"edges\[1\] is the self-loop \(2, 2\)"),
        (([(0, 1), (1, 2), (1, 0)], 3), r"\(0, 1\) appears 2 times"),
        (([(0, 3)], 3), r"edges\[0\] is \(0, 3\); allowed: sites 0..2"),
        (([(0, -1)], 3), r"edges\[0\] is \(0, -1\)"),
        (([(0, 1, 2)], 3), "edges has shape"),
        (([(0, 1), (2,)], 3), "edges has rows of different lengths; allowed: pairs"),
        (([(0.0, 1.0)], 3), "edges has dtype float64"),
        ((set(TRIANGLE), 3), r"edges is a set; allowed: pairs .* list\(network.edges\)"),
        ((None, 3), "edges is a NoneType; allowed: pairs"),
        ((TRIANGLE, 3, None), "levels is a NoneType; allowed: 2..256"),
        ((TRIANGLE, 3, 2, {0: 0, 1: 1, 2: 2}), "colours is a dict; allowed: one integer per site"),
        ((TRIANGLE, 0), "n_sites is 0; allowed: an integer, 1 or more"),
        ((TRIANGLE, 3.0), "n_sites is 3.0"),
        ((TRIANGLE, 3, 1), "levels: a site has 1; allowed: 2..256"),
        ((TRIANGLE, 3, [2, 3, 257]), "levels: a site has 257"),
        ((TRIANGLE, 3, [2, 3]), r"levels has shape \(2,\)"),
        ((TRIANGLE, 3, 2, [0, 1, 1]), r"edges\[1\] = \(1, 2\) joins two sites of colour 1"),
        ((TRIANGLE, 3, 2, [0, 1]), "colours has shape"),
        ((TRIANGLE, 3, 2, [0, 1, -1]), "least -1"),
    ],
)
def test_what_is_no_graph_is_refused_by_name(arguments, words):
    with pytest.raises(UserError, match=words):
        Graph(*arguments)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"bias": jnp.zeros((3, 3))}, r"params\['bias'\] has shape \(3, 3\); allowed: \(3, 2\) or \(3,\)"),
        ({"coupling": jnp.zeros((2, 2, 2))}, r"params\['coupling'\] has shape \(2, 2, 2\)"),
        ({"bias": jnp.zeros(3)}, r"params\['coupling'\] has shape \(3, 2, 2\); allowed: \(3,\)"),
        ({"coupling": {"0,1": jnp.zeros(3)}}, r"params\['coupling'\] has shape dict"),
        ({"bias": jnp.full((3, 2), jnp.nan)}, r"params\['bias'\] has an entry that is NaN"),
        ({"coupling": jnp.full((3, 2, 2), jnp.inf)}, r"params\['coupling'\] has an entry that is NaN or [+]inf"),
        (
            {"bias": jnp.array([0, -jnp.inf, 0]), "coupling": jnp.zeros(3)},
            r"params\['bias'\] has an entry of -inf, which multiplies spins",
        ),
        ({"bias": jnp.zeros(3), "coupling": jnp.full(3, -jnp.inf)}, r"params\['coupling'\] has an entry of -inf"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(change, words):
    graph = Graph(TRIANGLE, 3)
    params = random_graph_params(0, graph) | change
    with pytest.raises(UserError, match=words):
        gibbs.sample(jax.random.key(0), graph, params, np.zeros((1, 3), np.uint8), 1)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"x": np.zeros((1, 4), np.uint8)}, r"x is uint8 \(1, 4\); allowed: uint8 \(n, 3\)"),
        ({"x": np.full((1, 3), 2, np.uint8)}, "x has a state of 2"),
        ({"x": np.array([[0, 2, 2]], np.uint8), "levels": [3, 3, 2]}, r"state of 2 at site 2; allowed there: 0\.\.1"),
        ({"x": None}, r"x is NoneType; allowed: uint8 \(n, 3\)"),
        ({"beta": None}, "beta is NoneType; allowed: one finite number, 0 or more"),
        ({"engine": "kernel"}, "engine is 'kernel'; allowed on a Graph: 'graph'"),
        ({"clamp": np.zeros((1, 4), bool)}, "clamp"),
        ({"field": np.zeros((3, 5), np.float32)}, "field"),
        ({"n_sweeps": 0}, "n_sweeps"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(arguments, words):
    graph = Graph(TRIANGLE, 3, arguments.pop("levels", 2))
    call = {"x": np.zeros((1, 3), np.uint8), "n_sweeps": 1} | arguments
    with pytest.raises(UserError, match=words):
        gibbs.sample(jax.random.key(0), graph, random_graph_params(0, graph), **call)


def test_states_of_another_shape_or_beyond_the_levels_have_no_energy():
    graph = Graph(TRIANGLE, 3, [2, 3, 2])
    params, model = random_graph_params(0, graph), potts.GraphEBM(graph)
    long, beyond = np.zeros((1, 4), np.uint8), np.full((1, 3), 2, np.uint8)
    for call in (gibbs.graph_energy, gibbs.conditional_logits, gibbs.log_pseudo_likelihood):
        with pytest.raises(UserError, match=r"x has shape \(1, 4\); allowed: \((chains|n), 3\)"):
            call(graph, params, long)
    with pytest.raises(UserError, match=r"x has a state of 2 at site 0; allowed there: 0\.\.1"):
        gibbs.log_pseudo_likelihood(graph, params, beyond)
    with pytest.raises(UserError, match=r"x has shape \(1, 4\)"):
        model.apply({"params": params}, long)
    with pytest.raises(UserError, match="x has a value of 2; allowed"):
        model.apply({"params": params}, beyond)
    with pytest.raises(UserError, match=r"graph is a networkx\S+Graph; allowed: a gibbs.Graph"):
        potts.GraphEBM(nx.Graph(TRIANGLE)).init(jax.random.key(0), long)
    with pytest.raises(UserError, match=r"lattice is networkx\S+Graph; allowed: a gibbs.Lattice or a gibbs.Graph"):
        gibbs.sample(jax.random.key(0), nx.Graph(TRIANGLE), params, long, 1)


@pytest.mark.parametrize(
    "network, colours",
    [
        (nx.grid_2d_graph(5, 7), 2),
        (nx.complete_graph(9), 9),
        (nx.star_graph(300), 2),
        (nx.cycle_graph(7), 3),
        (nx.random_regular_graph(6, 200, seed=0), 5),
        (nx.complete_bipartite_graph(30, 40), 2),
    ],
)
def test_colourings_are_proper_and_small(network, colours):
    network = nx.convert_node_labels_to_integers(network)
    graph = Graph(list(network.edges), network.number_of_nodes())
    first, second = graph.edges.T
    assert np.all(graph.colouring[first] != graph.colouring[second])
    assert graph.n_colours <= colours
    assert sorted(np.unique(graph.colouring)) == list(range(graph.n_colours))


def test_more_than_256_colours():
    graph = Graph(list(itertools.combinations(range(300), 2)), 300)
    assert graph.n_colours == 300


def test_a_given_colouring_is_the_one_used():
    given = Graph([(0, 1), (1, 2)], 3, 2, [5, 3, 7])
    np.testing.assert_array_equal(given.colouring, [1, 0, 2])
    assert given.n_colours == 3 and given != Graph([(0, 1), (1, 2)], 3)


def test_equality_is_of_the_content():
    graph = Graph(TRIANGLE, 3)
    assert graph == Graph(np.array(TRIANGLE), 3, [2, 2, 2]) and len({graph, Graph(TRIANGLE, 3)}) == 1
    for other in (Graph(TRIANGLE, 4), Graph(TRIANGLE, 3, 3), Graph([(0, 1), (1, 2), (0, 2)], 3)):
        assert graph != other
    with pytest.raises(ValueError, match="read-only"):
        graph.edges[0, 0] = 2


def test_a_lattice_has_the_edges_of_its_offsets():
    lattice = Lattice.grid(3, 4, "8")
    graph = Graph.from_lattice(lattice, 5)
    assert graph.n_edges == lattice.n_edges and graph.max_levels == 5
    expected = np.concatenate([np.stack(lattice.edges(offset), 1) for offset in lattice.offsets])
    np.testing.assert_array_equal(graph.edges, expected)


def test_a_hub_does_not_fill_up_the_other_lists():
    n = 3000
    ring = [(i, (i + 1) % n) for i in range(n)]
    graph = Graph(ring + [(n, i) for i in range(n)], n + 1)
    runs = graph_plan.plan(graph, 16).runs
    assert sum(run.neighbours.size for run in runs) < 3 * 2 * graph.n_edges


@pytest.mark.parametrize("n_chains", [1, 16, 256])
def test_every_plan_holds_every_edge_from_both_ends(n_chains):
    rng = np.random.default_rng(0)
    network = nx.barabasi_albert_graph(400, 5, seed=0)
    graph = Graph(list(network.edges), 400, rng.integers(2, 6, 400))
    plan = graph_plan.plan(graph, n_chains)
    np.testing.assert_array_equal(plan.site[plan.position], np.arange(400))
    seen = set()
    for run in plan.runs:
        assert np.all(graph.levels[run.sites] == run.levels)
        sites = np.broadcast_to(run.sites[:, None], run.edges.shape)
        real = run.edges < 2 * graph.n_edges
        for site, there, edge in zip(sites[real], plan.site[run.neighbours[real]], run.edges[real], strict=True):
            ends = graph.edges[edge % graph.n_edges]
            assert (site, there) == (tuple(ends) if edge < graph.n_edges else tuple(ends[::-1]))
            assert graph.levels[there] <= run.others
            seen.add((edge, site))
    assert len({edge for edge, _ in seen}) == 2 * graph.n_edges
