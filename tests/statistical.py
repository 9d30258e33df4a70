"""Tests of laws. Convention: the key is fixed and a test fails if p < ALPHA.

A right sampler would fail on one key in 1 / ALPHA; on the fixed key it passes for good. Do not change the key to pass.
"""

import numpy as np
import scipy.stats

ALPHA = 1e-4


def chi_square_p(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """p-value of counts of independent draws under probabilities; cells expecting under 5 are pooled, rarest first.

    The pool takes cells until it expects 5 and every cell outside it does.
    """
    counts, probabilities = np.asarray(counts, np.float64), np.asarray(probabilities, np.float64)
    if counts.shape != probabilities.shape or counts.ndim != 1:
        raise ValueError(f"counts has shape {counts.shape}, must be that of probabilities, {probabilities.shape}, flat")
    if np.any(counts[probabilities == 0]):
        return 0.0
    order = np.argsort(probabilities)
    observed = counts[order]
    expected = probabilities[order] / probabilities.sum() * counts.sum()
    pooled = max(np.searchsorted(expected, 5), np.searchsorted(np.cumsum(expected), 5) + 1)
    if pooled >= len(expected):
        raise ValueError(f"counts: {counts.sum():.0f} draws are too few for two cells that expect 5")
    observed = np.append(observed[pooled:], observed[:pooled].sum())
    expected = np.append(expected[pooled:], expected[:pooled].sum())
    return float(scipy.stats.chisquare(observed, expected).pvalue)
