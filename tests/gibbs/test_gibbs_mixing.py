"""Diagnostics of mixing on processes whose autocorrelation is known, and against sums written out."""

import numpy as np
import pytest
import scipy.stats

from jaxgen import gibbs


def ar1(phi, length, chains, seed=0):
    """x_t = phi x_(t-1) + e_t from its stationary law: rho(t) = phi^t, tau = (1 + phi) / (1 - phi)."""
    rng = np.random.default_rng(seed)
    x = [rng.normal(size=chains) / np.sqrt(1 - phi**2)]
    for _ in range(length - 1):
        x.append(phi * x[-1] + rng.normal(size=chains))
    return np.stack(x)


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_autoregressive_processes_have_their_times(phi):
    series = ar1(phi, 4000, 64)
    np.testing.assert_allclose(gibbs.autocorrelation(series)[:5], phi ** np.arange(5), atol=0.02)
    tau = (1 + phi) / (1 - phi)
    assert gibbs.integrated_autocorrelation_time(series) == pytest.approx(tau, rel=0.05)
    assert gibbs.effective_sample_size(series) == pytest.approx(series.size / tau, rel=0.05)


def test_the_effective_size_predicts_the_error_of_a_mean():
    """Over many runs, the variance of the mean of one chain is var(f) / n_eff."""
    series = ar1(0.8, 1000, 2000, seed=1)
    predicted = series.var() / (gibbs.effective_sample_size(series) / series.shape[1])
    assert series.mean(0).var() == pytest.approx(predicted, rel=0.1)


def test_autocorrelation_is_the_sum_written_out():
    series = ar1(0.3, 11, 3, seed=2)
    centred = series - series.mean()
    covariance = [np.mean([(centred[: 11 - t, c] * centred[t:, c]).mean() for c in range(3)]) for t in range(11)]
    np.testing.assert_allclose(gibbs.autocorrelation(series), np.divide(covariance, covariance[0]))


def test_a_run_too_short_to_tell_has_no_time():
    assert gibbs.integrated_autocorrelation_time(ar1(0.999, 50, 4)) == np.inf
    assert gibbs.effective_sample_size(ar1(0.999, 50, 4)) == 0


def test_r_hat_of_one_law_is_one_and_of_two_is_not():
    same = ar1(0.5, 2000, 8)
    assert 0.999 < gibbs.split_r_hat(same) < 1.01
    assert gibbs.split_r_hat(same + np.linspace(0, 2, 8)) > 1.1
    assert gibbs.split_r_hat(same + np.linspace(0, 3, 2000)[:, None]) > 1.1, "a drift, seen by the split"
    assert gibbs.split_r_hat(same * np.linspace(1, 3, 8)) > 1.05, "equal means, unequal spreads, seen by the tail"


@pytest.mark.parametrize("length", [20, 21])
def test_r_hat_is_the_formula_written_out(length):
    series = ar1(0.5, length, 3, seed=3)
    series[10] *= 1 if length == 20 else 100  # the middle sample of an odd number counts nowhere
    halves = np.concatenate([series[:10], series[-10:]], axis=1)
    expected = []
    for values in (halves, np.abs(halves - np.median(halves))):
        scores = scipy.stats.norm.ppf((scipy.stats.rankdata(values) - 0.375) / (60 + 0.25)).reshape(values.shape)
        within = np.mean([np.var(scores[:, k], ddof=1) for k in range(6)])
        between = 10 * np.var([scores[:, k].mean() for k in range(6)], ddof=1)
        expected.append(np.sqrt((9 / 10 * within + between / 10) / within))
    assert gibbs.split_r_hat(series) == pytest.approx(max(expected))


def test_chains_frozen_in_different_states_never_agree():
    frozen = np.broadcast_to(np.arange(4.0), (10, 4))
    assert gibbs.split_r_hat(frozen) == np.inf


@pytest.mark.parametrize(
    "series, message",
    [
        (np.zeros(10), "series has shape"),
        (np.zeros((3, 2)), "series has shape"),
        (np.full((8, 2), np.nan), "not finite"),
        (np.ones((8, 2)), "every value is 1"),
    ],
)
def test_refusals(series, message):
    for diagnostic in (gibbs.autocorrelation, gibbs.effective_sample_size, gibbs.split_r_hat):
        with pytest.raises(ValueError, match=message):
            diagnostic(series)
