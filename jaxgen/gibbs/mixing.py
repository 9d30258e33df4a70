"""How well chains mix: autocorrelation times, effective sample sizes, R-hat. Series are (T, n): T sweeps of n chains.

    rho(t) = cov(f_s, f_(s+t)) / var(f)
    tau    = 1 + 2 sum_(t=1..M) rho(t),     M the smallest with M >= 5 tau(M), 10      (Sokal 1997, eq. 3.17 and sec. 3)
    n_eff  = T n / tau
    R-hat  = sqrt(((T' - 1) / T' W + B / T') / W)                                        (Vehtari et al. 2021, eq. 1-4)

tau is in sweeps: after a time tau a chain is worth one new independent draw as far as the mean of f goes.
"""

import numpy as np
import scipy.stats
from jaxtyping import Float

from jaxgen.errors import UserError

_WINDOW = 5.0
_SHORTEST = 10  # lags always summed, for processes that overshoot, whose first sums are near 0


def autocorrelation(series: Float[np.ndarray, "T n"]) -> Float[np.ndarray, "T"]:
    """Return rho(0), .., rho(T-1), averaged over the chains, about the mean of all chains; rho(0) = 1.

    Raises UserError for a series that is not (T >= 4, n >= 1), not finite, or constant.
    """
    series = _checked(series)
    length = len(series)
    spectrum = np.fft.rfft(series - series.mean(), 2 * length, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:length].mean(1) / np.arange(length, 0, -1)
    return covariance / covariance[0]


def integrated_autocorrelation_time(series: Float[np.ndarray, "T n"]) -> float:
    """Return tau in sweeps, above 0: 1 for independent draws, (1 + phi) / (1 - phi) for an AR(1) process.

    The sum is cut at Sokal's window. If no window is long enough, the run is too short to tell and tau is infinite.
    Errors as `autocorrelation`.
    """
    tau = 2 * np.cumsum(autocorrelation(series)) - 1
    enough = np.arange(len(tau)) >= np.maximum(_WINDOW * tau, _SHORTEST)
    # Noise takes over in the second half of the lags, where a window must not be found.
    enough[len(tau) // 2 :] = False
    return float(tau[enough.argmax()]) if enough.any() else float("inf")


def effective_sample_size(series: Float[np.ndarray, "T n"]) -> float:
    """Return n_eff = T n / tau, the number of independent draws the chains are worth; 0 if the run is too short."""
    series = _checked(series)
    return series.size / integrated_autocorrelation_time(series)


def split_r_hat(series: Float[np.ndarray, "T n"]) -> float:
    """Return the rank-normalised split R-hat, the larger of bulk and tail; below 1.01 the chains agree.

    Each chain is split in two, the values become normal scores z of their ranks, and with W the mean variance within
    the m half-chains of length T' and B / T' the variance between their means

        R-hat = sqrt(((T' - 1) / T' W + B / T') / W).

    The tail takes |f - median| for f. With an odd T the middle sample is left out of everything. From dispersed starts
    R-hat tells whether the starts are forgotten. Errors as `autocorrelation`.
    """
    series = _checked(series)
    half = len(series) // 2
    halves = np.concatenate([series[:half], series[-half:]], axis=1)
    return max(_r_hat(halves), _r_hat(np.abs(halves - np.median(halves))))


def _r_hat(halves: Float[np.ndarray, "half m"]) -> float:
    half = len(halves)
    ranks = scipy.stats.rankdata(halves, axis=None).reshape(halves.shape)
    scores = scipy.stats.norm.ppf((ranks - 0.375) / (halves.size + 0.25))
    within = scores.var(0, ddof=1).mean()
    between = scores.mean(0).var(ddof=1)
    if within == 0:
        return 1.0 if between == 0 else float("inf")
    return float(np.sqrt((half - 1) / half + between / within))


def _checked(series: Float[np.ndarray, "T n"]) -> Float[np.ndarray, "T n"]:
    series = np.asarray(series, np.float64)
    if series.ndim != 2 or len(series) < 4 or series.shape[1] < 1:
        raise UserError(f"series has shape {series.shape}; allowed: (T, n) with T >= 4 and n >= 1")
    if not np.isfinite(series).all():
        raise UserError("series has an entry that is not finite; allowed: finite numbers")
    if np.ptp(series) == 0:
        raise UserError(f"series: every value is {series.flat[0]:g}; allowed: a series that varies")
    return series
