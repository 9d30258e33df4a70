"""Excess risk, its split and calibration, on classifiers whose numbers are known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import information
from jaxgen.information import excess, mlp, scaling
from jaxgen.information.bounds import cross_entropy

TEN = information.ten_labels()


def table_classifier(log_q, distribution=TEN):
    """A classifier that looks the cell up."""
    return lambda x: log_q.T[distribution.cells_of(np.asarray(x))]


def losses(log_q_fn, n=100_000, seed=0, distribution=TEN):
    x, y = information.sample(jax.random.key(seed), distribution, n)
    return -excess.predict(log_q_fn, x)[np.arange(n), np.asarray(y)]


def test_the_true_posterior_has_no_excess():
    risk = excess.excess_risk(losses(table_classifier(TEN.log_posterior())), information.conditional_entropy(TEN))
    assert abs(risk.excess) < 3 * risk.standard_error and 0.002 < risk.standard_error < 0.004
    averages = excess.cell_averages(jax.random.key(0), TEN, table_classifier(TEN.log_posterior()), 4)
    assert averages.excess == pytest.approx(0.0, abs=1e-12) and averages.standard_error < 1e-12


def test_naive_bayes_has_the_excess_that_is_known_exactly():
    distribution = TEN.subset([2, 3, 6, 8])
    marginals = [distribution.joint([axis]) for axis in range(5)]
    cells = np.array(np.unravel_index(np.arange(243), (3,) * 5))
    log_q = sum(np.log(marginal[:, row]) for marginal, row in zip(marginals, cells, strict=True))
    log_q = log_q - np.logaddexp.reduce(log_q, axis=0)
    bound = information.conditional_entropy(distribution)
    exact = information.naive_bayes(distribution).cross_entropy - bound
    risk = excess.excess_risk(losses(table_classifier(log_q, distribution), 50_000, 1, distribution), bound)
    assert risk.excess == pytest.approx(exact, abs=3.5 * risk.standard_error) and exact > 10 * risk.standard_error


def test_an_estimate_that_beats_the_bound_fails_loudly():
    bound = information.conditional_entropy(TEN)
    unfair = losses(lambda x: table_classifier(TEN.log_posterior())(x) + 0.02)  # "probabilities" that sum to 1.02
    with pytest.raises(excess.BoundBeatenError, match=r"standard errors below the bound 0\.33391; allowed: at most"):
        excess.excess_risk(unfair, bound)
    # The limit is three standard errors: 2.9 pass, 3.1 do not.
    spread = np.array([-1.0, 1.0] * 5_000)
    error = spread.std(ddof=1) / 100
    assert excess.excess_risk(1 - 2.9 * error + spread, 1.0).excess == pytest.approx(-2.9 * error)
    with pytest.raises(excess.BoundBeatenError, match=r"3\.1 standard errors"):
        excess.excess_risk(1 - 3.1 * error + spread, 1.0)


def test_losses_that_cannot_be_are_refused():
    for loss in (np.ones(1), np.ones((2, 2)), np.array([1.0, math.nan]), np.array([1.0, math.inf])):
        with pytest.raises(ValueError, match="loss has shape"):
            excess.excess_risk(loss, 0.0)


def test_the_standard_error_covers():
    """Of 300 estimates of a known mean, 95 % lie within 1.96 standard errors."""
    rng = np.random.default_rng(0)
    risks = [excess.excess_risk(rng.exponential(size=500) + 1.0, 1.0) for _ in range(300)]
    share = np.mean([abs(risk.excess - 1.0) < 1.96 * risk.standard_error for risk in risks])
    assert abs(share - 0.95) < 4 * math.sqrt(0.05 * 0.95 / 300)


def wavy(x):
    """The true posterior with logits that vary inside a cell."""
    logits = TEN.log_posterior().T[TEN.cells_of(np.asarray(x))] + np.sin(9 * np.asarray(x)[:, :1] * np.arange(10))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def test_two_estimates_of_one_excess_agree():
    risk = excess.excess_risk(losses(wavy), information.conditional_entropy(TEN))
    averages = excess.cell_averages(jax.random.key(1), TEN, wavy, 200)
    assert averages.standard_error < 0.2 * risk.standard_error
    assert abs(risk.excess - averages.excess) < 3.5 * risk.standard_error
    again = excess.cell_averages(jax.random.key(2), TEN, wavy, 200)
    assert 0 < abs(again.excess - averages.excess) < 4 * math.hypot(again.standard_error, averages.standard_error)


def test_the_split_adds_up_and_puts_things_where_they_belong():
    x, y = information.sample(jax.random.key(3), TEN, 100_000)
    counted = excess.count_table(TEN, x, y)
    estimation = cross_entropy(TEN, counted) - information.conditional_entropy(TEN)
    for log_q in (wavy, table_classifier(TEN.log_posterior()), table_classifier(counted)):
        averages = excess.cell_averages(jax.random.key(4), TEN, log_q, 50)
        parts = excess.split(TEN, averages, counted)
        assert sum(parts) == pytest.approx(averages.excess, abs=1e-12)
        assert parts.estimation == pytest.approx(estimation) and parts.within_cells > -1e-12
    # The table of counts itself: nothing is blurred, nothing is left over.
    assert parts.within_cells == pytest.approx(0, abs=1e-7) and parts.remainder == pytest.approx(0, abs=1e-7)
    blurred = excess.split(TEN, excess.cell_averages(jax.random.key(4), TEN, wavy, 50), counted)
    assert blurred.within_cells > 0.02


def test_the_table_of_counts_loses_half_a_nat_a_parameter_an_example():
    """Estimation falls as (K - 1) cells / 2n (Wilks 1938) once every cell has been seen often."""
    distribution = information.CellDistribution.from_masses(
        np.random.default_rng(0).dirichlet(np.full(9, 5.0), 4).reshape(4, 3, 3), ((0, 1, 2, 3),) * 2
    )
    scaled = []
    for n in (2_000, 20_000):
        losses = []
        for seed in range(30):
            table = excess.count_table(distribution, *information.sample(jax.random.key(seed), distribution, n))
            np.testing.assert_allclose(np.exp(table).sum(0), 1.0)
            losses.append(cross_entropy(distribution, table))
        scaled.append((np.mean(losses) - information.conditional_entropy(distribution)) * 2 * n / (3 * 9))
    assert scaled == pytest.approx([1.0, 1.0], abs=0.15)


def test_calibration_of_the_truth_and_of_overconfidence():
    x, _ = information.sample(jax.random.key(5), TEN, 100_000)
    log_p = TEN.log_posterior()[:, TEN.cells_of(np.asarray(x))].T
    truth = excess.calibration(log_p, log_p)
    assert truth.error < 1e-12 and truth.share.sum() == pytest.approx(1.0)
    sharp = 3 * log_p
    sharp = sharp - np.logaddexp.reduce(sharp, axis=1, keepdims=True)
    calibration = excess.calibration(sharp, log_p)
    # Of an overconfident classifier the small probabilities are too small and the large ones too large.
    assert (
        calibration.error > 0.005
        and calibration.predicted[0] < calibration.true[0]
        and calibration.predicted[-1] > calibration.true[-1]
    )
    with pytest.raises(ValueError, match="bins 0"):
        excess.calibration(log_p, log_p, 0)
    with pytest.raises(ValueError, match="log_q"):
        excess.calibration(log_p[:1], log_p)


def test_prediction_in_batches_is_prediction():
    x = jnp.arange(20_000.0)[:, None]
    np.testing.assert_array_equal(excess.predict(lambda x: x + 1, x), np.asarray(x) + 1)
    with pytest.raises(ValueError, match="per_cell is 1"):
        excess.cell_averages(jax.random.key(0), TEN, wavy, 1)


@pytest.mark.slow
def test_a_network_beside_others_trains_as_if_alone():
    """A network among three ends where it ends alone, from the same start, with nothing but its own examples."""
    options = scaling.EnsembleOptions(steps=12, batch_size=64)
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.uniform(-1, 1, (2_000, 5)), jnp.float32), jnp.asarray(rng.integers(0, 10, 2_000))
    validation, model = {"x": x[:500], "y": y[:500]}, mlp.MLP((16,), 10)

    def trained(keys, x, y, firsts, counts):
        places = (np.array(firsts), np.array(counts))
        return jax.tree.leaves(scaling._train(keys, model, {"x": x, "y": y}, places, validation, options))

    keys = jax.random.split(jax.random.key(7), 3)
    together = trained(keys, x, y, [0, 500, 1_000], [500, 500, 1_000])
    alone = trained(keys[1:2], x[500:1_000], y[500:1_000], [0], [500])
    for many, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(many[1], one[0], rtol=2e-4, atol=2e-6)
        assert np.abs(np.asarray(many[0]) - np.asarray(one[0])).max() > 1e-3


def test_bad_requests_for_many_networks_are_refused():
    options = scaling.EnsembleOptions(steps=1)
    for sizes in ([], [10, 0]):
        with pytest.raises(ValueError, match="sizes are"):
            scaling.train_ensemble(jax.random.key(0), TEN, (4,), sizes, options)
    with pytest.raises(ValueError, match="steps is 0; allowed: an integer, 1 or more"):
        scaling.EnsembleOptions(steps=0)
