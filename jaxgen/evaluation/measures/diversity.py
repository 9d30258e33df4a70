"""Diversity within a class: how different from one another are its samples?

    D_k = mean over pairs i < j of class k of |f_i - f_j|,     diversity = mean over classes of D_k(samples) / D_k(test)

with f the features. Real images against real ones give 1; a class that shrank to a few modes gives less.
"""

import numpy as np
from jaxtyping import Float, Float64, Integer

from jaxgen.errors import UserError
from jaxgen.evaluation.measures.manifold import squared_distances


def class_diversity(
    features: Float[np.ndarray, "n d"], labels: Integer[np.ndarray, "n"], n_classes: int = 10
) -> Float64[np.ndarray, "n_classes"]:
    """Return D_k of every class; NaN where there are not two examples."""
    features = np.asarray(features, np.float64)
    return np.asarray([_mean_distance(features[labels == k]) for k in range(n_classes)])


def diversity_ratio(fake: Float64[np.ndarray, "C"], real: Float64[np.ndarray, "C"]) -> float:
    """Return the mean of D_k(fake) / D_k(real) over the classes that have both. UserError if none has."""
    both = np.isfinite(fake) & np.isfinite(real)
    if not both.any():
        raise UserError("features has no class with two examples; allowed: at least one")
    return float((fake[both] / real[both]).mean())


def _mean_distance(x: Float64[np.ndarray, "n d"]) -> float:
    n = len(x)
    if n < 2:
        return float("nan")
    return float(np.sqrt(np.maximum(squared_distances(x, x), 0)).sum() / (n * (n - 1)))
