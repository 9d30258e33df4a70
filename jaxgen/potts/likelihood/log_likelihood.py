"""The log-likelihood of a trained Potts EBM, given an estimate of its partition function (`likelihood.partition`).

    log p(x)     = -beta E(x) - log Z                                  without labels
    log p(x)     = log sum_y pi_y exp(-beta E(x, y) - log Z_y)         with labels; pi_y: share of class y in the data
    bits per pixel = - log p(x) / (H W log 2)

Reported likelihoods use log Z from below, which is on average too low, and are therefore on average too high; log Z
from above shows by how much.
"""

import jax
import numpy as np
from jaxtyping import Array, Float64, Integer, UInt8

from jaxgen.potts.likelihood.annealed_importance import class_params, linear_energy
from jaxgen.potts.model import PottsEBM, log_marginal_init

_CHUNK = 1000


def base_biases(params: dict, x: UInt8[Array, "n H W"]) -> Array:
    """Return the log marginals of the data: the biases of the independent pixels at which annealing starts."""
    return log_marginal_init(params, x)["bias"]


def log_likelihood(
    model: PottsEBM, params: dict, x: UInt8[Array, "n H W"], log_z: float, beta: float = 1.0
) -> Float64[np.ndarray, "n"]:
    """Return log p(x) of every image in nats, for a model without labels."""
    core = {name: params[name] for name in ("bias", "coupling")}
    energy = jax.jit(lambda images: linear_energy(model.lattice, core, images))
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
    """Return log p(x) of every image in nats, summed over the classes in `log_z`.

    The weight of a class is its share of `label`, the labels of the training images.
    """
    label = np.asarray(label)
    terms = [
        np.log((label == y).mean()) + log_likelihood(model, class_params(params, y), x, value, beta)
        for y, value in log_z.items()
    ]
    return np.logaddexp.reduce(terms, axis=0)


def bits_per_pixel(log_p: Float64[np.ndarray, "n"], pixels: int) -> float:
    """Return the mean of - log2 p(x) / pixels over images; `log_p` is in nats."""
    return float(-np.mean(log_p) / (pixels * np.log(2)))
