"""The restricted machine: free energy, logits, gradient, law and annealing against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistical import ALPHA, chi_square_p
from thrml import Block, CategoricalNode
from thrml.models import FactorizedEBM, SquareCategoricalEBMFactor

from jaxgen import UserError, potts
from jaxgen.potts import restricted
from jaxgen.potts.restricted import annealing, likelihood
from jaxgen.potts.restricted import machine as machine_module

HIDDEN = 3
SIZES = {2: 5, 3: 4}  # visible units by levels


def random_model(levels: int, seed: int = 0, scale: float = 0.7, dtype=jnp.float32):
    """A machine with random parameters, and a random mean of the data."""
    rng, visible = np.random.default_rng(seed), SIZES[levels]
    machine = potts.RestrictedPotts(visible, levels, HIDDEN, dtype=dtype)
    mean = jnp.asarray(rng.dirichlet(np.ones(levels), visible)[:, 1:], jnp.float32)
    shapes = machine.init(jax.random.key(0), mean, jnp.zeros((1, visible), jnp.uint8))["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32), shapes)
    return machine, params, mean


def all_states(levels: int) -> np.ndarray:
    return np.array(list(itertools.product(range(levels), repeat=SIZES[levels])), np.uint8)


def exact_free_energy(params, mean, levels: int) -> np.ndarray:
    """F of every state by summing over hidden states in float64, term by term as the module docstring states it."""
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    states = np.eye(levels)[all_states(levels)][:, :, 1:]
    total = 0.0
    for h in itertools.product((0, 1), repeat=HIDDEN):
        h = np.array(h)
        energy = -np.einsum("nvl,vl->n", states, p["visible_bias"]) - h @ p["hidden_bias"]
        energy -= np.einsum("nvl,vlh,h->n", states - np.asarray(mean, np.float64), p["weight"], h - 0.5)
        total = total + np.exp(-energy)
    return -np.log(total)


def exact_log_z(params, mean, levels: int) -> float:
    return float(np.logaddexp.reduce(-exact_free_energy(params, mean, levels)))


def counts_of(v, levels: int) -> np.ndarray:
    numbers = np.asarray(v, int) @ levels ** np.arange(v.shape[1])[::-1]
    return np.bincount(numbers, minlength=levels ** v.shape[1])


@pytest.mark.parametrize("levels", [2, 3])
def test_the_free_energy_sums_the_hidden_states(levels):
    machine, params, mean = random_model(levels)
    free = machine.apply({"params": params}, mean, all_states(levels))
    np.testing.assert_allclose(free, exact_free_energy(params, mean, levels), rtol=2e-5, atol=2e-5)


def test_a_state_that_is_no_level_has_no_free_energy():
    """It is not taken for level 0."""
    machine, params, mean = random_model(3)
    with pytest.raises(UserError, match="v has a value of 3; allowed: 0 to 2"):
        machine.apply({"params": params}, mean, np.full((1, SIZES[3]), 3, np.uint8))


@pytest.mark.parametrize("levels", [2, 3])
def test_the_chains_have_the_law_of_the_energy(levels):
    """The uncentred logits, sampled by the bipartite engine, give the law of the centred energy."""
    machine, params, mean = random_model(levels, seed=1)
    start = jnp.zeros((20_000, SIZES[levels]), jnp.uint8)
    v = restricted.sweep_machine(jax.random.key(levels), machine, params, mean, start, 20)
    free = exact_free_energy(params, mean, levels)
    p = np.exp(-free - exact_log_z(params, mean, levels))
    assert chi_square_p(counts_of(v, levels), p) > ALPHA


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits_are_those_of_the_rounded_machine(dtype):
    """log f of the uncentred machine differs from - F of the rounded weights by one constant, to float32."""
    machine, params, mean = random_model(2, seed=2, dtype=dtype)
    own = machine_module.rounded(machine, params)
    logits = machine.apply({"params": params}, mean, method="logits")
    weight, visible, hidden = (np.asarray(array, np.float64) for array in logits)
    states = all_states(2).astype(float)
    log_f = states @ visible[:, 0] + np.logaddexp(0, hidden + states @ weight[:, 0]).sum(1)
    difference = log_f + exact_free_energy(own, mean, 2)
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)
    path = annealing.annealing_path(machine, params, mean, jnp.zeros_like(mean))
    np.testing.assert_allclose(difference[0], -path.constant, atol=1e-5)


def test_its_logits_are_the_weights_of_thrml_factors():
    """THRML's energy of every joint state is the centred energy but for a constant; hidden units are of two levels."""
    machine, params, mean = random_model(2, seed=8)
    weight, visible, hidden = machine.apply({"params": params}, mean, method="logits")
    nodes = [CategoricalNode() for _ in range(5)], [CategoricalNode() for _ in range(HIDDEN)]
    pairs = [(i, j) for i in range(5) for j in range(HIDDEN)]
    matrices = jnp.zeros((5, HIDDEN, 2, 2)).at[:, :, 1, 1].set(weight[:, 0]).reshape(-1, 2, 2)
    ends = [Block([nodes[0][i] for i, _ in pairs]), Block([nodes[1][j] for _, j in pairs])]
    factors = [
        SquareCategoricalEBMFactor([Block(nodes[0])], jnp.pad(visible, ((0, 0), (1, 0)))),
        SquareCategoricalEBMFactor([Block(nodes[1])], jnp.pad(hidden[:, None], ((0, 0), (1, 0)))),
        SquareCategoricalEBMFactor(ends, matrices),
    ]
    model, blocks = FactorizedEBM(factors), [Block(nodes[0]), Block(nodes[1])]
    joint = np.array(list(itertools.product((0, 1), repeat=5 + HIDDEN)), np.uint8)
    v, h = joint[:, :5], joint[:, 5:]
    thrml = jax.jit(jax.vmap(lambda v, h: model.energy([v, h], blocks)))(v, h)
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    v, h = v.astype(float), h.astype(float)
    own = -v @ p["visible_bias"][:, 0] - h @ p["hidden_bias"]
    own -= np.einsum("nv,vh,nh->n", v - np.asarray(mean)[:, 0], p["weight"][:, 0], h - 0.5)
    np.testing.assert_allclose(thrml - own, np.mean(thrml - own), atol=1e-5)


@pytest.mark.parametrize("levels", [2, 3])
def test_the_gradient_with_exact_chains_is_that_of_the_likelihood(levels):
    """Autodiff of the enumerated - mean log p, against the step's own gradient with 20,000 chains that have mixed."""
    machine, params, mean = random_model(levels, seed=3)
    states, rng, n = all_states(levels), np.random.default_rng(0), 20_000
    chosen = rng.integers(0, len(states), 6)

    def loss(params):
        return -jax.nn.log_softmax(-machine.apply({"params": params}, mean, states))[chosen].mean()

    exact = jax.jit(jax.grad(loss))(params)
    p = np.exp(-exact_free_energy(params, mean, levels) - exact_log_z(params, mean, levels))
    chains = {"chains": jnp.asarray(states[rng.choice(len(states), n, p=p / p.sum())]), "chain_id": jnp.arange(n)}
    grad_fn = restricted.restricted_divergence(machine, mean, 1, lambda key, image, ids: image)
    batch = {"image": jnp.asarray(states[chosen]), "position": jnp.arange(6)}
    grads, carry, metrics = jax.jit(grad_fn)(params, chains, jax.random.key(0), batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02), grads, exact)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(exact)) > 0.2
    assert 0 < metrics["level_error"] < 1
    assert (np.asarray(carry["chains"]) != np.asarray(chains["chains"])).any()


def test_without_persistent_chains_the_negative_phase_starts_at_the_data():
    machine, params, mean = random_model(2, seed=4)
    stiff = {**params, "visible_bias": params["visible_bias"] * 0, "weight": params["weight"] * 0}
    data = jnp.ones((64, 5), jnp.uint8)
    grad_fn = restricted.restricted_divergence(machine, mean, 1, lambda key, image, ids: image)
    grads, carry, _ = grad_fn(stiff, None, jax.random.key(0), {"image": data, "position": jnp.arange(64)})
    assert carry is None
    np.testing.assert_allclose(grads["visible_bias"], -0.5, atol=0.25)  # data are all 1, chains are fair coins


def test_the_gradient_of_a_bfloat16_product_is_summed_in_float32():
    """1001 equal rows: autodiff of the product would round the sum to eight bits, 1000."""
    v, weight = jnp.ones((1001, 1), jnp.uint8), jnp.ones((1, 1))
    grads = jax.grad(lambda weight: machine_module.dense(v, weight, 2, jnp.bfloat16).sum())(weight)
    assert grads == 1001


@pytest.mark.parametrize("levels", [2, 3])
def test_log_z_from_both_ends_is_that_of_enumeration(levels):
    machine, params, mean = random_model(levels, seed=5)
    exact = exact_log_z(params, mean, levels)
    fixed = mean, jnp.log(mean / (1 - mean.sum(1, keepdims=True)))
    low = likelihood.log_partition_from_below(jax.random.key(0), machine, params, fixed, (4000, 20))
    free = exact_free_energy(params, mean, levels)
    p = np.exp(-free - exact)
    chosen = np.random.default_rng(0).choice(len(p), 4000, p=p / p.sum())
    samples = jnp.asarray(all_states(levels)[chosen])
    high = likelihood.log_partition_from_above(jax.random.key(1), machine, params, fixed, samples, 20)
    for estimate in (low, high):
        assert abs(estimate.log_z - exact) < 4 * estimate.standard_error < 0.05
    assert abs(low.log_z - annealing.log_partition_base(annealing.annealing_path(machine, params, *fixed))) > 0.3


def test_the_conservative_end_is_below_the_likelihood_and_reaches_it():
    """Test every state, with few temperatures and with many."""
    machine, params, mean = random_model(2, seed=6, scale=1.0)
    states, exact = all_states(2), -exact_free_energy(params, mean, 2) - exact_log_z(params, mean, 2)
    p = np.exp(exact)
    v = states[np.random.default_rng(0).choice(len(p), 4000, p=p / p.sum())]
    fixed, truth = (mean, jnp.log(mean / (1 - mean))), exact[v.astype(int) @ 2 ** np.arange(5)[::-1]].mean()
    short, long = (
        likelihood.likelihood_bracket(jax.random.key(2), machine, params, fixed, v, (4000, number, len(v)))
        for number in (2, 100)
    )
    errors = [bracket.conservative.std() / np.sqrt(len(v)) for bracket in (short, long)]
    assert short.conservative.mean() < truth - 4 * errors[0]
    assert abs(long.conservative.mean() - truth) < 0.05 and abs(long.gap) < 0.05
    assert short.optimistic.shape == (4000,) and abs(long.optimistic.mean() - truth) < 0.05


def test_the_probability_of_the_annealed_law_is_unbiased():
    """With one temperature the upward path draws v_0 from the base and sweeps at t = 1: its law is enumerated."""
    machine, params, mean = random_model(2, seed=7)
    states = all_states(2)
    base = jnp.log(mean / (1 - mean))
    weight, visible, hidden = (
        np.asarray(a, np.float64) for a in machine.apply({"params": params}, mean, method="logits")
    )
    white = np.asarray(mean, np.float64)[:, 0]
    p0 = np.prod(np.where(states, white, 1 - white), axis=1)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    on = sigmoid(hidden + states @ weight[:, 0])
    law = 0.0
    for h in itertools.product((0, 1), repeat=HIDDEN):
        p_h = p0 @ np.prod(np.where(h, on, 1 - on), axis=1)
        p_v = sigmoid(visible[:, 0] + weight[:, 0] @ np.array(h))
        law = law + p_h * np.prod(np.where(states, p_v, 1 - p_v), axis=1)
    target, n = 11, 20_000
    v = np.tile(states[target], (n, 1))
    result = likelihood.likelihood_bracket(jax.random.key(3), machine, params, (mean, base), v, (2, 1, n))
    assert abs(np.exp(result.conservative).mean() / law[target] - 1) < 0.03


def test_sizes_out_of_range_are_refused_by_name():
    machine, params, mean = random_model(2)
    with pytest.raises(UserError, match="n_chains is 1; allowed: an integer, 2 or more"):
        likelihood.log_partition_from_below(jax.random.key(0), machine, params, (mean, mean), (1, 10))
