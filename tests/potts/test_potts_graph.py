"""Models on any graph: statistics by autodiff, gradients, conditionals, log Z and tempering against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graph_oracles import all_states, distribution, log_weights, random_graph_params, state_numbers
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs, potts
from jaxgen.errors import UserError
from jaxgen.gibbs import Graph
from jaxgen.potts.graph import GraphEBM, draw_hidden, hidden_contrastive_divergence, with_hidden
from jaxgen.potts.likelihood.annealed_importance import bound_log_partition, estimate_log_partition

HOUSE = [(0, 1), (2, 1), (3, 0), (4, 2), (1, 4), (0, 4)]
MODELS = {
    "edge": (Graph(HOUSE, 5, [2, 3, 4, 2, 3]), "edge"),
    "tied": (Graph(HOUSE, 6, 3), "tied"),
    "spin": (Graph(HOUSE, 5), "spin"),
}


def model_and_params(name, scale=0.5):
    graph, kind = MODELS[name]
    return GraphEBM(graph, kind), random_graph_params(0, graph, kind, scale)


def draws(graph, params, n, seed=1):
    p = distribution(graph, params)
    return all_states(graph)[np.random.default_rng(seed).choice(len(p), n, p=p)]


@pytest.mark.parametrize("name", MODELS)
def test_statistics_are_minus_the_gradient_of_the_mean_energy(name):
    model, params = model_and_params(name)
    x = draws(model.graph, params, 45)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda a: a.shape, shapes)
    gradient = jax.grad(lambda p: model.apply({"params": p}, x).mean())(params)
    statistics = potts.mean_statistics(model.graph, params, x)
    jax.tree.map(lambda g, s: np.testing.assert_allclose(-g, s, atol=1e-5), gradient, statistics)
    theta = log_weights(model.graph, params, x)
    np.testing.assert_allclose(model.apply({"params": params}, x), -theta, atol=1e-4)
    zero = {k: float(v) for k, v in potts.moment_errors(model.graph, statistics, statistics).items()}
    assert zero == {"marginal_error": 0.0, "pair_error": 0.0}


@pytest.mark.parametrize("name", MODELS)
def test_conditionals_and_pseudo_likelihood(name):
    """p(x_i | rest) from the enumerated law, with a field."""
    model, params = model_and_params(name)
    graph = model.graph
    field = np.asarray(random_graph_params(3, graph, MODELS[name][1])["bias"])
    states, beta = all_states(graph), 0.7
    p = distribution(graph, params, beta, field)
    x = states[:: max(1, len(states) // 7)]
    log_p = np.asarray(jax.nn.log_softmax(beta * gibbs.conditional_logits(graph, params, x, field)))
    total = np.zeros(len(x))
    for i in range(graph.n_sites):
        given = np.repeat(x[:, None], graph.levels[i], axis=1)
        given[:, :, i] = np.arange(graph.levels[i])
        joint = p[state_numbers(graph, given)]
        expected = joint / joint.sum(1, keepdims=True)
        np.testing.assert_allclose(np.exp(log_p[:, i, : graph.levels[i]]), expected, atol=1e-5)
        assert np.all(log_p[:, i, graph.levels[i] :] == -np.inf)
        total += np.log(expected[np.arange(len(x)), x[:, i]])
    per_chain = np.broadcast_to(field, (len(x), *field.shape))
    for given in (field, per_chain):
        np.testing.assert_allclose(gibbs.log_pseudo_likelihood(graph, params, x, given, beta), total, atol=1e-4)


def exact_statistics(graph, params, p):
    """< s > under probabilities of all states, by autodiff of the energies."""
    states = jnp.asarray(all_states(graph))
    return jax.grad(lambda q: -(jnp.asarray(p, jnp.float32) * gibbs.graph_energy(graph, q, states)).sum())(params)


def assert_close_in_sigmas(estimate, exact, n):
    """Entries are means of n terms in [-1, 1] or differences of two such."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5 * np.sqrt(2 / n)), estimate, exact)


SLOW_AND_FAST = [pytest.param("edge", marks=pytest.mark.slow), "spin"]


@pytest.mark.parametrize("name", SLOW_AND_FAST)
def test_the_gradient_of_persistent_contrastive_divergence(name):
    n = 8192
    model, params = model_and_params(name)
    graph = model.graph
    data_params = random_graph_params(9, graph, MODELS[name][1])
    data, chains = draws(graph, data_params, n), draws(graph, params, n, 2)
    carry = {"chains": jnp.asarray(chains), "chain_id": jnp.arange(n, dtype=jnp.uint32)}
    grad_fn = potts.contrastive_divergence(model, potts.ContrastiveSettings(sweeps=2, persistent=True))
    grads, carry, metrics = jax.jit(grad_fn)(params, carry, jax.random.key(0), {"image": data})
    laws = [distribution(graph, q) for q in (data_params, params)]
    positive, negative = (exact_statistics(graph, params, p) for p in laws)
    assert_close_in_sigmas(grads, jax.tree.map(lambda p, q: q - p, positive, negative), n)
    assert -1 <= metrics["lag_autocorrelation"] <= 1 and np.isfinite(metrics["energy_gap"])


@pytest.mark.parametrize("bipartite", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_gradient_with_hidden_sites(bipartite):
    """Against d log p(v) / d theta by autodiff of the enumerated sums."""
    edges = [(0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4)] + ([] if bipartite else [(3, 4), (0, 1)])
    graph = Graph(edges, 5, [2, 3, 2, 2, 3])
    visible = np.array([1, 1, 1, 0, 0], bool)
    params, n = random_graph_params(4, graph), 8192
    model = GraphEBM(graph)
    states = all_states(graph)
    v = draws(graph, random_graph_params(5, graph), n)[:, visible]

    def loss(q):
        theta = -gibbs.graph_energy(graph, q, jnp.asarray(states))
        groups = states[:, visible] @ [6, 2, 1]
        of_v = jax.ops.segment_sum(jnp.exp(theta), groups, 12)
        return jax.nn.logsumexp(theta) - jnp.log(of_v)[v @ [6, 2, 1]].mean()

    carry = {"chains": jnp.asarray(draws(graph, params, n)), "chain_id": jnp.arange(n, dtype=jnp.uint32)}
    settings = potts.ContrastiveSettings(persistent=True)
    grad_fn = jax.jit(hidden_contrastive_divergence(model, settings, visible, 1 if bipartite else 20))
    batch = {"image": jnp.asarray(v), "position": jnp.arange(n, dtype=jnp.uint32)}
    grads, carry, _ = grad_fn(params, carry, jax.random.key(1), batch)
    assert_close_in_sigmas(grads, jax.grad(loss)(params), n)
    x = draw_hidden(jax.random.key(2), graph, params, with_hidden(visible, jnp.asarray(v)), visible)
    np.testing.assert_array_equal(x[:, :3], v)
    assert set(np.unique(x[:, 4])) == {0, 1, 2}


@pytest.mark.parametrize("name", SLOW_AND_FAST)
def test_log_z_is_bracketed(name):
    model, params = model_and_params(name, 0.7)
    graph = model.graph
    theta = log_weights(graph, params, all_states(graph))
    exact = np.logaddexp.reduce(theta)
    base = 0.5 * params["bias"]
    low = estimate_log_partition(jax.random.key(0), graph, params, base, 512, 50)
    high = bound_log_partition(jax.random.key(1), graph, params, base, draws(graph, params, 512), 50)
    for estimate in (low, high):
        assert abs(estimate.log_z - exact) < 4 * estimate.standard_error + 1e-3
        assert estimate.standard_error < 0.1
    assert np.all(np.asarray(low.states) < graph.levels)


@pytest.mark.slow
def test_tempering_keeps_the_law():
    model, params = model_and_params("edge", 1.0)
    graph, n = model.graph, 4096
    x = np.stack([draws(graph, jax.tree.map(lambda a, s=s: s * a, params), n) for s in (0.0, 1.0)])
    base = jnp.zeros_like(params["bias"])
    t = jnp.array([0.0, 1.0])
    x, info = potts.parallel_tempering(jax.random.key(0), graph, params, base, jnp.asarray(x), t, 5)
    p = distribution(graph, params)
    assert chi_square_p(np.bincount(state_numbers(graph, x[-1]), minlength=len(p)), p) > ALPHA
    assert 0 < info.acceptance[0] < 1 and info.cold.shape == (5, n, graph.n_sites)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: GraphEBM(Graph([], 2, 3), "spin").init(jax.random.key(0), np.zeros((1, 2), np.uint8)), "has 3 levels"),
        (lambda: GraphEBM(Graph([], 2), "pair").init(jax.random.key(0), np.zeros((1, 2), np.uint8)), "coupling is 'pa"),
        (lambda: with_hidden(np.array([True, False]), np.zeros((1, 2), np.uint8)), r"v has shape \(1, 2\)"),
        (lambda: hidden_contrastive_divergence(GraphEBM(Graph([], 2)), None, np.ones(2)), "visible is float64"),
        (
            lambda: hidden_contrastive_divergence(GraphEBM(Graph([], 2)), None, np.ones(2, bool), 0),
            "hidden_sweeps is 0",
        ),
        (
            lambda: potts.mean_statistics(Graph([], 2), {}, np.zeros((1, 2), np.uint8), np.zeros(1, int)),
            "label is for models on a lattice",
        ),
    ],
)
def test_refusals(call, words):
    with pytest.raises(UserError, match=words):
        call()
