"""Contrastive gradients against autodiff, enumeration and PyTorch; and the training step around them."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import exact_draws, random_params
from torch_reference import potts as reference

from jaxgen import gibbs, training
from jaxgen.errors import UserError
from jaxgen.gibbs import Lattice
from jaxgen.potts import (
    ContrastiveSettings,
    PottsEBM,
    contrastive_divergence,
    mean_statistics,
    moment_errors,
    persistent_chains,
)
from jaxgen.potts.contrastive import decay_couplings
from jaxgen.potts.model import label_field
from jaxgen.potts.oracles import enumeration

LATTICE, LEVELS = Lattice.grid(3, 3), 2
MODEL = PottsEBM(LATTICE, LEVELS)
BETA, L2 = 0.8, 0.05
statistics_of = jax.jit(mean_statistics, static_argnums=0)
KEY = jax.random.key(1)


def params_of(seed, kind="edge", lattice=LATTICE, levels=LEVELS, scale=0.5):
    return random_params(seed, lattice, levels, kind, scale)


def data_of(n, seed=2):
    """Draws from another model than any that is being trained."""
    return jnp.asarray(exact_draws(seed, LATTICE, params_of(3, scale=0.8), n))


def batch_of(x, **more):
    return {"image": x, "position": jnp.arange(len(x))} | more


@functools.cache
def estimator(settings, model=MODEL):
    return jax.jit(contrastive_divergence(model, settings))


def assert_trees_close(got, expected, **tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), got, expected)


def scaled(gradient):
    """beta times the gradient of the difference of energies."""
    return jax.tree.map(lambda g: BETA * g, dict(gradient))


# One gradient.


@pytest.mark.parametrize("kind", ["edge", "tied"])
def test_cd_is_the_gradient_of_the_difference_of_energies(kind):
    """Compare with autodiff and with PyTorch on the same samples, which are those of `gibbs.sample` from the data."""
    model, params, data = PottsEBM(LATTICE, LEVELS, kind), params_of(4, kind), data_of(50)
    settings = ContrastiveSettings(sweeps=2, beta=BETA)
    batch = {"image": data, "position": 100 + jnp.arange(50)}
    grads, carry, metrics = estimator(settings, model)(params, None, KEY, batch)
    assert carry is None
    x, _ = gibbs.sample(KEY, LATTICE, params, data, 2, beta=BETA, chain_ids=batch["position"])

    @jax.jit
    def energies_and_gradient(params):
        def energies(params):
            return [model.apply({"params": params}, images).mean() for images in (data, x)]

        return energies(params), jax.grad(lambda params: jnp.subtract(*energies(params)))(params)

    (of_data, of_samples), gradient = energies_and_gradient(params)
    assert_trees_close(grads, scaled(gradient), rtol=1e-5, atol=1e-6)
    by_torch = reference.cd_gradient(params, data, x, LATTICE.offsets, LATTICE.boundary)
    assert_trees_close(grads, scaled(by_torch), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["data_energy"], of_data, rtol=1e-5)
    np.testing.assert_allclose(metrics["sample_energy"], of_samples, rtol=1e-5)
    np.testing.assert_allclose(metrics["energy_gap"], of_samples - of_data, atol=1e-5)


def scores(grads, params, data, n):
    """(gradient - exact gradient) / its standard deviation over n independent samples, for every parameter."""
    exact_gradient = jax.jit(jax.grad(lambda params: -enumeration.log_likelihood(LATTICE, params, data, BETA)))(params)
    p = enumeration.marginals(LATTICE, params, BETA)
    deviation = jax.tree.map(lambda p: BETA * np.sqrt(p * (1 - p) / n), p)
    z = jax.tree.map(lambda g, e, s: (g - e) / s, grads, dict(exact_gradient), deviation)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(z)])


@pytest.mark.parametrize("persistent", [False, True])
def test_long_chains_give_the_exact_gradient(persistent):
    """CD-20 from the data repeated, and PCD-2 after ten calls; 84 scores, so 5 deviations are a false alarm in 2e4."""
    n, params, data = 20_000, params_of(5), data_of(40)
    settings = ContrastiveSettings(2 if persistent else 20, persistent, beta=BETA)
    grad_fn = estimator(settings)
    carry = persistent_chains(jax.random.key(6), data, n) if persistent else None
    batch = batch_of(data if persistent else jnp.tile(data, (n // 40, 1, 1)))
    for key in jax.random.split(KEY, 10 if persistent else 1):
        grads, carry, _ = grad_fn(params, carry, key, batch)
    assert np.abs(scores(grads, params, data, n)).max() < 5
    wrong = jax.tree.map(lambda g, w: g - 0.1 * w, grads, params)
    assert np.abs(scores(wrong, params, data, n)).max() > 5


# Persistent chains.


def test_persistent_chains_go_on_with_their_own_noise():
    params, batch = params_of(8), batch_of(data_of(50))
    grad_fn = estimator(ContrastiveSettings(1, persistent=True))
    carry = persistent_chains(jax.random.key(9), batch["image"], 64)
    _, after, metrics = grad_fn(params, carry, KEY, batch)
    x, _ = gibbs.sample(KEY, LATTICE, params, carry["chains"], 1)
    np.testing.assert_array_equal(after["chains"], x)
    assert np.any(after["chains"] != carry["chains"]) and after["chains"].dtype == jnp.uint8
    assert set(after) == set(carry) == {"chains", "chain_id"}
    np.testing.assert_array_equal(after["chain_id"], np.arange(64))
    by_chance = np.mean(np.sum(np.eye(2)[x].mean(0) ** 2, -1))
    overlap = (np.mean(x == carry["chains"]) - by_chance) / (1 - by_chance)
    np.testing.assert_allclose(metrics["lag_autocorrelation"], overlap, atol=1e-5)
    _, onward, _ = grad_fn(params, after, jax.random.key(10), batch)
    assert np.any(onward["chains"] != after["chains"])
    order = np.random.default_rng(11).permutation(64)
    shuffled = jax.tree.map(lambda a: a[order], carry)
    np.testing.assert_array_equal(grad_fn(params, shuffled, KEY, batch)[1]["chains"], x[order])


@pytest.mark.parametrize("coupling, expected", [(0.0, 0.0), (40.0, 1.0)])
def test_lag_autocorrelation_of_fresh_chains_and_of_stuck_ones(coupling, expected):
    """Half the chains are all 0, half all 1; no couplings forget it in a sweep, strong ones hold it."""
    x = jnp.broadcast_to((jnp.arange(64) % 2).astype(jnp.uint8)[:, None, None], (64, 3, 3))
    params = jax.tree.map(jnp.zeros_like, params_of(0))
    params["coupling"] = jax.tree.map(lambda w: w + coupling * jnp.eye(2), params["coupling"])
    carry = {"chains": x, "chain_id": jnp.arange(64)}
    grad_fn = estimator(ContrastiveSettings(1, persistent=True))
    metrics = grad_fn(params, carry, KEY, batch_of(data_of(50)))[2]
    np.testing.assert_allclose(metrics["lag_autocorrelation"], expected, atol=0.15)


def test_chains_start_at_distinct_examples():
    x = jnp.arange(200, dtype=jnp.uint8).reshape(-1, 1, 1)
    few = persistent_chains(KEY, x, 150)["chains"]
    assert few.shape == (150, 1, 1) and len(np.unique(few)) == 150
    assert persistent_chains(KEY, x, 450)["chains"].shape == (450, 1, 1)
    assert np.any(few != persistent_chains(jax.random.key(2), x, 150)["chains"])


def test_labelled_chains_are_even_and_weighted():
    label = np.repeat([0, 1, 2], [60, 30, 10])
    x = jnp.asarray(label[:, None, None] + 10, jnp.uint8)
    carry = persistent_chains(KEY, x, 32, jnp.asarray(label))
    np.testing.assert_array_equal(carry["chains"][:, 0, 0], carry["label"] + 10)
    counts = np.bincount(carry["label"])
    assert counts.tolist() == [11, 11, 10]
    np.testing.assert_allclose(carry["weight"], (np.array([0.6, 0.3, 0.1]) * 32 / counts)[carry["label"]], rtol=1e-6)
    with pytest.raises(ValueError, match="chains is 2; allowed: 3 or more, the number of classes in the data"):
        persistent_chains(KEY, x, 2, jnp.asarray(label))


def test_chains_go_to_the_classes_that_occur():
    """With labels 0 and 9 alone no chain is spent on the eight classes between, and no weight is 0."""
    label = np.repeat([0, 9], [150, 100])
    carry = persistent_chains(KEY, jnp.asarray(label[:, None, None] + 10, jnp.uint8), 25, jnp.asarray(label))
    np.testing.assert_array_equal(np.bincount(carry["label"], minlength=10), [13, 0, 0, 0, 0, 0, 0, 0, 0, 12])
    np.testing.assert_array_equal(carry["chains"][:, 0, 0], carry["label"] + 10)
    np.testing.assert_allclose(np.asarray(carry["weight"]).sum() / 25, 1, rtol=1e-6)
    np.testing.assert_allclose(carry["weight"][:2], [0.6 * 25 / 13, 0.4 * 25 / 12], rtol=1e-6)


@pytest.mark.parametrize("persistent", [True, False])
def test_chains_and_settings_that_disagree_are_refused(persistent):
    """persistent=True without chains would run CD under the name of PCD."""
    data, settings = data_of(8), ContrastiveSettings(1, persistent)
    carry = None if persistent else persistent_chains(KEY, data, 8)
    with pytest.raises(UserError, match=f"with persistent={persistent}; allowed: persistent_chains"):
        contrastive_divergence(MODEL, settings)(params_of(1), carry, KEY, batch_of(data))


def test_labelled_gradient_is_the_mean_over_classes_of_the_exact_one():
    """< s >_model of p(x | y) p_data(y): exact marginals of each class, weighted by its share of the data."""
    n_classes, n = 3, 12_000
    rng = np.random.default_rng(12)
    label = np.repeat(np.arange(n_classes, dtype=np.uint8), [25, 10, 5])
    joined = jnp.asarray(rng.normal(size=(3, 3, LEVELS, n_classes)), jnp.float32)
    params, data = params_of(13) | {"label_coupling": joined}, data_of(40)
    model = PottsEBM(LATTICE, LEVELS, n_classes=n_classes)
    grad_fn = jax.jit(contrastive_divergence(model, ContrastiveSettings(2, persistent=True, beta=BETA)))
    carry = persistent_chains(jax.random.key(14), data, n, jnp.asarray(label))
    for key in jax.random.split(KEY, 8):
        grads, carry, _ = grad_fn(params, carry, key, batch_of(data, label=jnp.asarray(label)))
    share = np.bincount(label) / len(label)
    fields = label_field(params, jnp.arange(n_classes))
    plain = {name: params[name] for name in ("bias", "coupling")}
    classes = [enumeration.marginals(LATTICE, plain, BETA, field) for field in fields]
    expected = jax.tree.map(lambda *p: sum(w * q for w, q in zip(share, p, strict=True)), *classes)
    expected["label_coupling"] = np.stack([w * c["bias"] for w, c in zip(share, classes, strict=True)], -1)
    positive = statistics_of(LATTICE, params, data, label)
    z = jax.tree.map(lambda g, q, p: (g / BETA - (q - p)) / (0.5 / np.sqrt(n)), grads, expected, positive)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(z)) < 5 * np.sqrt(3 * share.max())
    np.testing.assert_allclose(grads["label_coupling"].sum(2), 0, atol=1e-5)


# The step.


def learner(settings, tx, data, n_chains=1024, params=None):
    carry = persistent_chains(jax.random.key(18), data, n_chains) if settings.persistent else None
    zeros = MODEL.init(jax.random.key(0), data[:1])["params"]
    state = training.create(jax.random.key(19), zeros if params is None else params, tx, carry)
    return jax.jit(training.make_train_step(contrastive_divergence(MODEL, settings), tx)), state


def test_steps_of_adam_are_those_of_torch():
    data, start = data_of(50), params_of(20)
    tx = decay_couplings(optax.adam(0.03), L2)
    step, state = learner(ContrastiveSettings(1, True, beta=BETA), tx, data, 64, start)
    params, gradients = start, []
    for _ in range(3):
        state, _ = step(state, batch_of(data))
        by_torch = reference.cd_gradient(params, data, state.carry["chains"], LATTICE.offsets, LATTICE.boundary)
        couplings = jax.tree.map(lambda g, w: BETA * g + L2 * w, by_torch["coupling"], params["coupling"])
        gradients.append(scaled(by_torch) | {"coupling": couplings})
        params = reference.adam_steps(start, gradients, 0.03)
        assert_trees_close(state.params, params, rtol=1e-4, atol=1e-5)


def test_one_executable_holds_the_step():
    """Over 100 steps with changing parameters, temperature and learning rate nothing is traced again."""
    data, tx = data_of(64), optax.inject_hyperparams(optax.adam)(learning_rate=0.1)
    traces = []

    @jax.jit
    def step(state, batch, beta):
        traces.append(beta)
        settings = ContrastiveSettings(2, persistent=True, beta=beta)
        return training.make_train_step(contrastive_divergence(MODEL, settings), tx)(state, batch)

    _, state = learner(ContrastiveSettings(persistent=True), tx, data, 64)
    seen = []
    for n in range(100):
        state.opt_state.hyperparams["learning_rate"] = jnp.float32(0.1 / (n + 1))
        state, metrics = step(state, batch_of(data), jnp.float32(1 + n / 100))
        seen.append(float(metrics["sample_energy"]))
    assert len(traces) == 1 and step._cache_size() == 1
    assert int(state.step) == 100 and len(set(seen)) > 90


@pytest.mark.parametrize("engine", gibbs.ENGINES)
def test_the_step_never_calls_the_host(engine):
    if engine == "kernel" and jax.default_backend() != "gpu":
        pytest.skip("needs a GPU")
    data = data_of(32)
    step, state = learner(ContrastiveSettings(2, True, engine), optax.adam(0.1), data, 32)
    assert "callback" not in step.lower(state, batch_of(data)).as_text()


def test_a_call_of_the_host_would_be_seen():
    def step(x):
        jax.debug.print("{}", x)
        return x

    assert "callback" in jax.jit(step).lower(1.0).as_text()


def moment_error(engine="lattice"):
    """Largest of the mean moment errors of the model after 250 steps of PCD-2 from zero, by enumeration."""
    data = data_of(2000)
    tx = optax.adam(optax.cosine_decay_schedule(0.1, 250))
    step, state = learner(ContrastiveSettings(2, True, engine), tx, data)
    batch = batch_of(data)
    for _ in range(250):
        state, _ = step(state, batch)
    model = enumeration.marginals(LATTICE, state.params)
    return max(float(e) for e in moment_errors(LATTICE, model, statistics_of(LATTICE, state.params, data)).values())


LEARNED = 0.01  # zero parameters have 0.34, the trained ones 0.003


def test_training_reaches_the_moments():
    assert moment_error() < LEARNED


def test_a_sampler_with_frozen_weights_does_not_train(monkeypatch):
    """The second defect of the original notebook: its sampler was built once, with the first weights."""
    sample, first = gibbs.sample, params_of(0)

    def frozen(key, lattice, params, x, n_sweeps, **conditions):
        return sample(key, lattice, jax.tree.map(jnp.zeros_like, first), x, n_sweeps, **conditions)

    monkeypatch.setattr(gibbs, "sample", frozen)
    assert moment_error() > 5 * LEARNED
