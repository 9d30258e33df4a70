"""Lower bounds of mutual information: their formulas, the corrected gradient of MINE, and training."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.information import estimators
from jaxgen.information.estimators import objectives

SCORES = np.random.default_rng(0).normal(size=(6, 6))


@pytest.mark.parametrize("count", [6, 4])
def test_the_bounds_are_their_formulas_on_the_valid_rows(count):
    t, valid = SCORES[:count, :count], np.arange(6) < count
    wanted = np.mean([t[i, i] - np.log(np.exp(t[i]).mean()) for i in range(count)])
    assert float(objectives.info_nce_bound(jnp.asarray(SCORES), valid)) == pytest.approx(wanted, rel=1e-5)
    apart = np.exp(t[~np.eye(count, dtype=bool)])
    joint, log_mean = objectives.donsker_varadhan_terms(jnp.asarray(SCORES), valid)
    assert float(joint) == pytest.approx(np.diag(t).mean(), rel=1e-5)
    assert float(log_mean) == pytest.approx(math.log(apart.mean()), rel=1e-5)


def test_info_nce_is_at_most_the_logarithm_of_the_batch():
    sure = objectives.info_nce_bound(100.0 * jnp.eye(8), jnp.ones(8, bool))
    assert float(sure) == pytest.approx(math.log(8), rel=1e-5)


def test_the_true_log_density_ratio_gives_the_exact_value():
    """For correlated normals with the best scores, both bounds are the mutual information up to sampling noise."""
    correlation, n = 0.7, 3000
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    y = correlation * x + math.sqrt(1 - correlation**2) * rng.normal(size=n)
    power = (correlation**2 * (x[:, None] ** 2 + y**2) - 2 * correlation * x[:, None] * y) / (2 * (1 - correlation**2))
    t, valid = jnp.asarray(-power - 0.5 * math.log(1 - correlation**2)), jnp.ones(n, bool)
    exact = -0.5 * math.log(1 - correlation**2)
    joint, log_mean = objectives.donsker_varadhan_terms(t, valid)
    assert float(joint - log_mean) == pytest.approx(exact, abs=0.05)
    assert float(objectives.info_nce_bound(t, valid)) == pytest.approx(exact, abs=0.05)


def test_the_gradient_of_mine_divides_by_the_moving_average():
    objective = estimators.donsker_varadhan()
    x = jax.random.normal(jax.random.key(0), (2, 8, 3))
    batch = {"x": x[0], "y": x[1], "valid": jnp.ones(8, bool)}
    params = jax.tree.map(lambda leaf: 1.5 * leaf, jax.jit(objective.init)(jax.random.key(1), batch))

    @jax.jit
    def terms(params):
        scores = objectives.Critic().apply({"params": params}, batch["x"], batch["y"])
        return objectives.donsker_varadhan_terms(scores, batch["valid"])

    before = jnp.array([0.4])
    grads, after, metrics = jax.jit(objective.grad_fn)(params, before, jax.random.key(2), batch)
    joint, log_mean = terms(params)
    assert float(after[0]) == pytest.approx(math.log(0.99 * math.exp(0.4) + 0.01 * math.exp(log_mean)), rel=1e-5)
    assert float(metrics["loss"]) == pytest.approx(float(log_mean - joint)) == -float(objective.estimate(params, batch))
    towards = [jax.jit(jax.grad(lambda p, k=k: terms(p)[k]))(params) for k in range(2)]
    factor = math.exp(log_mean - after[0])
    assert abs(factor - 1) > 0.01
    wanted = jax.tree.map(lambda g_joint, g_mean: factor * g_mean - g_joint, *towards)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, wanted)


def test_the_classifier_bound_is_entropy_minus_cross_entropy_of_the_valid_rows():
    objective = estimators.classifier(3)
    x = jax.random.normal(jax.random.key(0), (6, 2))
    labels = np.array([0, 0, 1, 2, 1, 1])
    batch = {"x": x, "y": jnp.eye(3)[labels], "valid": np.arange(6) < 4}
    params = jax.jit(objective.init)(jax.random.key(1), batch)
    log_q = np.asarray(objectives.MLP((64, 64), 3).apply({"params": params}, x))
    entropy = 0.5 * math.log(2) + 0.5 * math.log(4)
    wanted = entropy + log_q[np.arange(4), labels[:4]].mean()
    assert float(objective.estimate(params, batch)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [estimators.info_nce, estimators.donsker_varadhan])
def test_trained_critics_tell_dependent_from_independent_pairs(objective):
    rng = np.random.default_rng(2)
    x, noise, other = rng.normal(size=(3, 2000, 1))
    samples = [(x, 0.9 * x + math.sqrt(1 - 0.81) * noise), (x[:1000], other[:1000])]
    options = estimators.NetworkOptions(400, 64)
    found = estimators.network_estimates(jax.random.key(0), samples, objective(), options)
    assert found[0] == pytest.approx(-0.5 * math.log(1 - 0.81), abs=0.15) and 0 <= found[1] < 0.05


@pytest.mark.parametrize(
    "samples, message",
    [
        ([], "samples is empty"),
        ([(np.zeros((20, 2)), np.zeros((19, 1)))], "samples have shapes"),
        ([(np.zeros((20, 2)), np.zeros((20, 1))), (np.zeros((20, 3)), np.zeros((20, 1)))], "samples have shapes"),
        ([(np.zeros((15, 2)), np.zeros((15, 1)))], "a sample has 15 pairs; allowed: 16 or more"),
    ],
)
def test_bad_samples_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        estimators.network_estimates(jax.random.key(0), samples, estimators.info_nce(), estimators.NetworkOptions(1))
    with pytest.raises(ValueError, match="steps is 0"):
        estimators.NetworkOptions(0)
