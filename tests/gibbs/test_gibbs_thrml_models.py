"""THRML's models on the graph engine: energies by THRML's factors, states in its order, laws against its sampler."""

import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.stats
from graph_oracles import all_states, distribution, random_graph_params, state_numbers
from statistical import ALPHA, chi_square_p
from thrml import (
    Block,
    BlockGibbsSpec,
    CategoricalNode,
    FactorSamplingProgram,
    SamplingSchedule,
    SpinNode,
    sample_states,
)
from thrml.factor import AbstractFactor
from thrml.interaction import InteractionGroup
from thrml.models import (
    CategoricalEBMFactor,
    CategoricalGibbsConditional,
    DiscreteEBMFactor,
    IsingEBM,
    IsingSamplingProgram,
    SpinEBMFactor,
    SpinGibbsConditional,
    SquareCategoricalEBMFactor,
)
from thrml.models.ebm import FactorizedEBM
from thrml.pgm import AbstractNode

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.gibbs import Graph

N = 10_000
ENERGY = jax.jit(gibbs.graph_energy, static_argnums=0)


def normal(seed, *shape):
    return jnp.asarray(0.6 * np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def ising_grid():
    """THRML's example: an Ising model on a grid, here with one node that has no bias and one edge given twice."""
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(2, 3))
    nodes = [SpinNode() for _ in range(7)]
    edges = [(nodes[a], nodes[b]) for a, b in grid.edges] + [(nodes[6], nodes[0]), (nodes[1], nodes[0])]
    return IsingEBM(nodes[:6], edges, normal(0, 6), normal(1, len(edges)), jnp.array(0.8)), nodes


def mixed_factors():
    """Spins and categorical nodes of 2 to 4 levels, every kind of pair, an edge in both directions."""
    s, c3, c4 = [SpinNode() for _ in range(3)], [CategoricalNode() for _ in range(2)], [CategoricalNode()]
    factors = [
        SpinEBMFactor([Block(s)], normal(2, 3)),
        SpinEBMFactor([Block(s[:2]), Block(s[1:])], normal(3, 2)),
        CategoricalEBMFactor([Block(c3)], normal(4, 2, 3)),
        CategoricalEBMFactor([Block(c3), Block(c4 * 2)], normal(5, 2, 3, 4)),
        CategoricalEBMFactor([Block(c4), Block(c3[:1])], normal(6, 1, 4, 3)),
        SquareCategoricalEBMFactor([Block(c3[:1]), Block(c3[1:])], normal(7, 1, 3, 3)),
        DiscreteEBMFactor([Block(s[:2])], [Block(c3)], normal(8, 2, 3)),
        DiscreteEBMFactor([Block(s[2:])], [Block(c4)], normal(9, 1, 4)),
    ]
    return factors, s, c3, c4


def mixed_program(clamp_spins=False):
    factors, s, c3, c4 = mixed_factors()
    free = [(Block(c3[:1]), Block([s[0]])), Block(c3[1:]), Block(c4)]
    samplers = [CategoricalGibbsConditional(3), SpinGibbsConditional(), *map(CategoricalGibbsConditional, (3, 4))]
    others = [Block([s[1]]), Block([s[2]])]
    clamped = others if clamp_spins else []
    if not clamp_spins:
        free, samplers = [*free, *others], [*samplers, SpinGibbsConditional(), SpinGibbsConditional()]
    spec = BlockGibbsSpec(free, clamped)
    return FactorSamplingProgram(spec, samplers, factors, []), factors


def thrml_energies(factors, model, x):
    """Return the energies of the rows of x by THRML's factors."""
    ebm = FactorizedEBM(factors)
    blocks = [Block([node]) for node in model.nodes]

    def energy(row):
        states = [row[i : i + 1].astype(model.dtypes[type(node)]) for i, node in enumerate(model.nodes)]
        return ebm.energy(states, blocks)

    return np.asarray(jax.jit(jax.vmap(energy))(jnp.asarray(x)))


def check_energies(model, factors):
    x = all_states(model.graph)
    ours = np.asarray(ENERGY(model.graph, model.params, x))
    np.testing.assert_allclose(ours, thrml_energies(factors, model, x), atol=2e-5)


def test_an_ising_model_has_its_energies_and_spin_parameters():
    ebm, nodes = ising_grid()
    model = gibbs.from_thrml(ebm)
    assert model.graph.n_sites == 7 and model.graph.n_edges == 8 and set(model.nodes) == set(nodes)
    assert model.params["bias"].shape == (7,) and model.clamp is None
    check_energies(model, ebm.factors)


@pytest.mark.parametrize("as_program", [False, True])
def test_spins_and_categorical_nodes_together(as_program):
    program, factors = mixed_program()
    model = gibbs.from_thrml(program if as_program else FactorizedEBM(factors))
    assert sorted(model.graph.levels) == [2, 2, 2, 3, 3, 4]
    check_energies(model, factors)


def test_a_program_of_spins_has_spin_parameters_and_its_blocks_as_colours():
    ebm, nodes = ising_grid()
    colour = nx.bipartite.color(nx.Graph(ebm.edges))
    blocks = [Block([node for node in nodes if colour[node] == c]) for c in (1, 0)]
    model = gibbs.from_thrml(IsingSamplingProgram(ebm, blocks, []))
    assert model.params["bias"].shape == (7,)
    np.testing.assert_array_equal(model.graph.colouring, [0] * len(blocks[0]) + [1] * len(blocks[1]))
    check_energies(model, ebm.factors)
    improper = gibbs.from_thrml(IsingSamplingProgram(ebm, [Block(nodes)], []))
    assert improper.graph.n_colours == 2
    check_energies(improper, ebm.factors)


def test_clamped_blocks_keep_their_states_and_the_rest_has_its_law():
    program, factors = mixed_program(clamp_spins=True)
    model = gibbs.from_thrml(program)
    assert model.clamp.sum() == 2
    x = all_states(model.graph)
    ours = np.asarray(ENERGY(model.graph, model.params, x))
    theirs = thrml_energies(factors, model, x)
    held = x[:, model.clamp] @ [2, 1]
    for group in range(4):  # energies of clamped nodes alone are constants
        difference = (ours - theirs)[held == group]
        np.testing.assert_allclose(difference, difference[0], atol=2e-5)
    free_state = [jnp.zeros((N, len(b)), model.dtypes[b.node_type]) for b in model.free_blocks]
    states = model.pack(free_state, [jnp.array([True]), jnp.array([False])])
    moved, _ = gibbs.sample(jax.random.key(0), model.graph, model.params, states, 40, clamp=model.clamp)
    p = np.where(held == 2, np.exp(-theirs), 0.0)
    assert chi_square_p(np.bincount(state_numbers(model.graph, moved), minlength=len(p)), p / p.sum()) > ALPHA
    free, clamped = model.unpack(moved)
    assert [state.dtype for state in clamped] == [bool, bool] and clamped[0].all() and not clamped[1].any()
    assert [state.dtype for state in free] == [np.uint8, bool, np.uint8, np.uint8]
    np.testing.assert_array_equal(model.pack(free, clamped), moved)
    np.testing.assert_array_equal(model.state(moved, [model.nodes[0]])[:, 0], moved[:, 0])


def two_sample_p(a, b):
    """Return the p-value of two samples of codes under one law."""
    size = max(a.max(), b.max()) + 1
    table = np.stack([np.bincount(a, minlength=size), np.bincount(b, minlength=size)])
    table = table[:, np.argsort(table.sum(0))]
    few = table.sum(0) < 20
    table = np.concatenate([table[:, few].sum(1, keepdims=True), table[:, ~few]], 1)
    return scipy.stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue


def run_thrml(program, chains, sweeps):
    blocks = program.gibbs_spec.free_blocks
    schedule = SamplingSchedule(n_warmup=sweeps, n_samples=1, steps_per_sample=0)

    def chain(key):
        start = [jnp.zeros(len(b), bool if b.node_type is SpinNode else jnp.uint8) for b in blocks]
        return [state[0] for state in sample_states(key, program, schedule, start, [], blocks)]

    return jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(1), chains))


def potts_grid(side=3, levels=5):
    """THRML's first example: five states on a grid, ferromagnetic couplings."""
    graph = nx.grid_graph((side, side))
    of = {at: CategoricalNode() for at in graph}
    blocks = [Block([of[at] for at in graph if sum(at) % 2 == c]) for c in (0, 1)]
    first, second = zip(*graph.edges, strict=True)
    factors = [
        CategoricalEBMFactor([Block(list(of.values()))], normal(10, side**2, levels)),
        CategoricalEBMFactor(
            [Block([of[a] for a in first]), Block([of[b] for b in second])],
            jnp.broadcast_to(0.5 * jnp.eye(levels), (len(first), levels, levels)),
        ),
    ]
    samplers = [CategoricalGibbsConditional(levels) for _ in blocks]
    return FactorSamplingProgram(BlockGibbsSpec(blocks, []), samplers, factors, [])


def test_the_example_of_the_readme():
    """An IsingEBM on a random regular graph, from THRML's lists of states and back."""
    network = nx.random_regular_graph(3, 200, seed=0)
    nodes = [SpinNode() for _ in network]
    edges = [(nodes[a], nodes[b]) for a, b in network.edges]
    ebm = IsingEBM(nodes, edges, jnp.zeros(200), jnp.full(300, 0.3), jnp.array(1.0))
    model = gibbs.from_thrml(ebm)
    x = model.pack([jnp.zeros((16, 200), bool)])
    x, info = gibbs.sample(jax.random.key(0), model.graph, model.params, x, n_sweeps=100, clamp=model.clamp)
    (state,), _ = model.unpack(x)
    assert state.shape == (16, 200) and state.dtype == bool and info.engine == "graph"
    s = 2.0 * state[:, [[nodes.index(a), nodes.index(b)] for a, b in edges]] - 1.0
    assert abs(s.prod(-1).mean() - np.tanh(0.3)) < 0.05  # nearly a tree


def spin_rbm(visible=6, hidden=3):
    v, h = [SpinNode() for _ in range(visible)], [SpinNode() for _ in range(hidden)]
    edges = list(itertools.product(v, h))
    ebm = IsingEBM([*v, *h], edges, normal(11, visible + hidden), 0.5 * normal(12, len(edges)), jnp.array(1.0))
    return IsingSamplingProgram(ebm, [Block(v), Block(h)], [])


@pytest.mark.parametrize("build", [pytest.param(potts_grid, marks=pytest.mark.slow), spin_rbm])
def test_examples_have_the_law_of_thrmls_own_sampler(build):
    program, sweeps = build(), 30
    theirs = run_thrml(program, N, sweeps)
    model = gibbs.from_thrml(program)
    start = model.pack([jnp.zeros((N, len(b)), model.dtypes[b.node_type]) for b in model.free_blocks])
    x, _ = gibbs.sample(jax.random.key(2), model.graph, model.params, start, sweeps)
    a, b = np.asarray(x).astype(int), np.asarray(model.pack(theirs)).astype(int)
    strides = 5 ** np.arange(3)
    triples = np.random.default_rng(0).permutation(model.graph.n_sites).reshape(-1, 3)
    p_values = [two_sample_p(a[:, sites] @ strides, b[:, sites] @ strides) for sites in triples]
    assert min(p_values) * len(p_values) > ALPHA


@pytest.mark.parametrize("kind", ["edge", "tied", "spin"])
def test_to_thrml_and_back(kind):
    levels = [2, 3, 2, 4, 2] if kind == "edge" else 2
    graph = Graph([(0, 1), (2, 1), (3, 0), (3, 4), (4, 0)], 5, levels)
    params = random_graph_params(0, graph, kind)
    program, nodes = gibbs.to_thrml(graph, params)
    model = gibbs.from_thrml(program)
    np.testing.assert_array_equal(np.sort(model.sites(nodes)), np.arange(5))
    x = all_states(graph)
    back = model.pack([jnp.asarray(x)[:, [nodes.index(node) for node in block]] for block in model.free_blocks])
    p = distribution(graph, params)
    theta = -np.asarray(ENERGY(model.graph, model.params, back), np.float64)
    np.testing.assert_allclose(np.exp(theta) / np.exp(theta).sum(), p, rtol=1e-4)


def test_weights_may_be_traced():
    ebm, _ = ising_grid()

    @jax.jit
    def energy(weights):
        model = gibbs.from_thrml(IsingEBM(ebm.nodes, ebm.edges, ebm.biases, weights, ebm.beta))
        x = jnp.zeros((4, 7), jnp.uint8)
        x, _ = gibbs.sample(jax.random.key(0), model.graph, model.params, x, 1)
        return gibbs.graph_energy(model.graph, model.params, x)

    assert np.isfinite(energy(ebm.weights)).all()


class OwnConditional(CategoricalGibbsConditional):
    pass


class OwnFactor(AbstractFactor):
    def to_interaction_groups(self):
        return []


class FloatNode(AbstractNode):
    pass


def refused_program(sampler=None, factors=(), other=()):
    nodes = [CategoricalNode() for _ in range(3)]
    made, groups = ([build(nodes) for build in builders] for builders in (factors, other))
    samplers = [sampler or CategoricalGibbsConditional(3)] * 3
    return FactorSamplingProgram(BlockGibbsSpec([Block([n]) for n in nodes], []), samplers, made, groups)


def triple(nodes):
    return CategoricalEBMFactor([Block([n]) for n in nodes], normal(0, 1, 3, 3, 3))


def loop(nodes):
    return CategoricalEBMFactor([Block(nodes[:1]), Block(nodes[:1])], normal(0, 1, 3, 3))


def one_way(nodes):
    interaction = triple(nodes).to_interaction_groups()[0].interaction
    return InteractionGroup(type(interaction)(0, normal(0, 1, 3, 3)), Block(nodes[:1]), [Block(nodes[1:2])])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: refused_program(factors=[triple]), "a factor of the program joins 3 nodes; allowed: one or two"),
        (lambda: FactorizedEBM([triple([CategoricalNode() for _ in range(3)])]), "CategoricalEBMFactor joins 3 nodes"),
        (lambda: refused_program(sampler=OwnConditional(3)), "sampler OwnConditional is not one of THRML's"),
        (lambda: FactorizedEBM([OwnFactor([Block([SpinNode()])])]), "factor OwnFactor is not one of THRML's"),
        (lambda: refused_program(factors=[loop]), "joins a node to itself"),
        (lambda: refused_program(other=[one_way]), "see different weights"),
        (lambda: FactorizedEBM([SpinEBMFactor([Block([FloatNode()])], normal(0, 1))]), "nodes of type FloatNode"),
        (lambda: object(), "model is a object; allowed: FactorSamplingProgram"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(make, words):
    with pytest.raises(UserError, match=words):
        gibbs.from_thrml(make())


def test_states_that_do_not_fit_are_refused():
    model, five, four = gibbs.from_thrml(potts_grid()), jnp.zeros(5, jnp.uint8), jnp.zeros(4, jnp.uint8)
    for call, words in (
        (lambda: model.pack([five]), "states: 1 free and 0 clamped blocks; allowed: 2 and 0"),
        (lambda: model.pack([five, five]), r"state 1 has shape \(5,\); allowed: \(4,\)"),
        (lambda: model.pack(five), "free_state is a ArrayImpl; allowed: a list of arrays, one per block"),
        (lambda: model.pack([five, four - 1.0]), "state 1 has dtype float32; allowed: bool for spins, integers"),
        (lambda: model.pack([five, four.astype(int) - 1]), "x has a state of -1 at site .; allowed there: 0..4"),
        (lambda: model.sites([CategoricalNode()]), "1 of 1 nodes not in the model"),
        (lambda: model.unpack(jnp.zeros((2, 8), jnp.uint8)), r"x has shape \(2, 8\); allowed: \(chains, 9\)"),
    ):
        with pytest.raises(UserError, match=words):
            call()
