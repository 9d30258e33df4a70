"""The log-likelihood of a trained Potts EBM, with the error of its partition function.

    log p(x)     = -beta E(x) - log Z                                  without labels
    log p(x)     = log sum_y pi_y exp(-beta E(x, y) - log Z_y)         with labels; pi_y: share of class y in the data
    bits a pixel = - log p(x) / (H W log 2)

log Z comes from annealing twice: from independent pixels up (on average too low, so the likelihood flatters) and from
samples of the model down (too high, if the samples are the model's). What is reported is the first; the second says by
how much it can be wrong.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float64, Integer, Key, UInt8

from jaxgen.potts.likelihood.annealed_importance import (
    PartitionEstimate,
    bound_log_partition,
    class_params,
    estimate_log_partition,
    linear_energy,
)
from jaxgen.potts.model import PottsEBM, log_marginal_init

_CHUNK = 1000


class Partition(NamedTuple):
    """log Z of p(x), or of p(x | y), annealed from below and from above."""

    low: PartitionEstimate
    high: PartitionEstimate

    @property
    def gap(self) -> float:
        """Return log Z from above minus log Z from below, in nats."""
        return float(self.high.log_z - self.low.log_z)


def base_biases(params: dict, x: UInt8[Array, "n H W"]) -> Array:
    """Log marginals of the data, where annealing starts."""
    return log_marginal_init(params, x)["bias"]


def bracket(
    key: Key[Array, ""],
    model: PottsEBM,
    params: dict,
    base_bias: Array,
    samples: UInt8[Array, "n H W"],
    n_temperatures: int,
    beta: float = 1.0,
    progress: Callable[[int], None] = lambda done: None,
) -> Partition:
    """Both estimates of log Z with as many chains as there are samples; `params` of a model without labels.

    progress: called with the temperatures done, of 2 n_temperatures. Errors as `estimate_log_partition`.
    """
    keys = jax.random.split(key)
    options = {"n_temperatures": n_temperatures, "beta": beta}
    low = estimate_log_partition(keys[0], model.lattice, params, base_bias, len(samples), progress=progress, **options)
    high = bound_log_partition(
        keys[1],
        model.lattice,
        params,
        base_bias,
        samples,
        progress=lambda done: progress(n_temperatures + done),
        **options,
    )
    return Partition(low, high)


def log_likelihood(
    model: PottsEBM, params: dict, x: UInt8[Array, "n H W"], log_z: float, beta: float = 1.0
) -> Float64[np.ndarray, "n"]:
    """log p(x) of every image in nats, for a model without labels."""
    core = {name: params[name] for name in ("bias", "coupling")}
    energy = jax.jit(lambda some: linear_energy(model.lattice, core, some))
    pieces = [np.asarray(energy(x[i : i + _CHUNK]), np.float64) for i in range(0, len(x), _CHUNK)]
    return -beta * np.concatenate(pieces) - log_z


def mixture_log_likelihood(
    model: PottsEBM,
    params: dict,
    x: UInt8[Array, "n H W"],
    label: Integer[np.ndarray, "m"],
    log_z: dict[int, float],
    beta: float = 1.0,
) -> Float64[np.ndarray, "n"]:
    """log p(x) of every image in nats, summed over the classes in `log_z`, whose shares are those of `label`."""
    label = np.asarray(label)
    terms = [
        np.log((label == y).mean()) + log_likelihood(model, class_params(params, y), x, value, beta)
        for y, value in log_z.items()
    ]
    return np.logaddexp.reduce(terms, axis=0)


def bits_per_pixel(log_p: Float64[np.ndarray, "n"], pixels: int) -> float:
    """Mean - log2 p(x) a pixel."""
    return float(-np.mean(log_p) / (pixels * np.log(2)))
