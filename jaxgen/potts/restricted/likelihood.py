"""The log-likelihood of images under a restricted machine, bracketed by two estimates.

    optimistic     - F(v) - log Z, with log Z annealed upwards from independent pixels, on average too low
    conservative   RAISE: the probability that the upward path ends at v, from the path in reverse, see `annealing`

The literature quotes the optimistic estimate. Both tend to the log-likelihood as temperatures are added, and their
difference shows how far the annealing is from that; unlike an error bar, it reveals modes that no chain entered.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Key, UInt8

from jaxgen.potts.likelihood.annealed_importance import PartitionEstimate, check_sizes, estimate_from_weights
from jaxgen.potts.restricted.annealing import (
    Progress,
    anneal_downwards,
    anneal_upwards,
    annealing_path,
    log_partition_base,
)
from jaxgen.potts.restricted.machine import Params, RestrictedPotts, rounded

_CHUNK = 1000


class LikelihoodBracket(NamedTuple):
    """Two estimates of the log-likelihood of images, in nats.

    Attributes:
        log_z: the estimate of log Z from below, with its final chains.
        optimistic: - F(v) - log Z of every image.
        conservative: RAISE estimate of the first m images.
    """

    log_z: PartitionEstimate
    optimistic: Float64[np.ndarray, " n"]
    conservative: Float64[np.ndarray, " m"]

    @property
    def gap(self) -> float:
        """Return the mean of optimistic minus conservative, in nats, over the images that have both."""
        return float((self.optimistic[: len(self.conservative)] - self.conservative).mean())


def log_partition_from_below(
    key: Key[Array, ""],
    machine: RestrictedPotts,
    params: Params,
    fixed: tuple[Float[Array, "V L1"], Float[Array, "V L1"]],
    sizes: tuple[int, int],
    progress: Progress = lambda done: None,
) -> PartitionEstimate:
    """Return an estimate of log Z, annealed upwards; weights are rounded to the type of the products.

    Args:
        key: random key; a chain's noise depends on it and the chain's number only.
        machine: the model.
        params: its parameters.
        fixed: mu, and the log-odds of the independent units at which annealing starts.
        sizes: numbers of chains, 2 or more, and of temperatures, 1 or more.
        progress: called with the temperatures done.

    Raises:
        UserError: a size out of range.
    """
    check_sizes(*sizes)
    path = annealing_path(machine, params, *fixed)
    log_w, v = anneal_upwards(key, path, *sizes, progress)
    return estimate_from_weights(log_partition_base(path), log_w, 1, v)


def log_partition_from_above(
    key: Key[Array, ""],
    machine: RestrictedPotts,
    params: Params,
    fixed: tuple[Float[Array, "V L1"], Float[Array, "V L1"]],
    samples: UInt8[Array, "n V"],
    n_temperatures: int,
) -> PartitionEstimate:
    """Return an estimate of log Z, annealed downwards from samples of the machine; high on average if they are exact.

    Arguments are as in `log_partition_from_below`.
    """
    check_sizes(len(samples), n_temperatures)
    path = annealing_path(machine, params, *fixed)
    log_w, v = anneal_downwards(key, path, samples, n_temperatures)
    return estimate_from_weights(log_partition_base(path), -log_w, -1, v)


def log_likelihood(
    machine: RestrictedPotts, params: Params, mean: Float[Array, "V L1"], v: UInt8[np.ndarray, "n V"], log_z: float
) -> Float64[np.ndarray, " n"]:
    """Return - F(v) - log Z of every image in nats; weights are rounded to the type of the products."""
    own = rounded(machine, params)
    free = jax.jit(lambda v: machine.apply({"params": own}, mean, v))
    pieces = [np.asarray(free(jnp.asarray(v[i : i + _CHUNK])), np.float64) for i in range(0, len(v), _CHUNK)]
    return -np.concatenate(pieces) - log_z


def likelihood_bracket(
    key: Key[Array, ""],
    machine: RestrictedPotts,
    params: Params,
    fixed: tuple[Float[Array, "V L1"], Float[Array, "V L1"]],
    v: UInt8[np.ndarray, "n V"],
    sizes: tuple[int, int, int],
    progress: Progress = lambda done: None,
) -> LikelihoodBracket:
    """Return two estimates of the log-likelihood of images.

    Args:
        key, machine, params, fixed: as in `log_partition_from_below`.
        v: states of the images.
        sizes: numbers of chains, of temperatures and of images for the conservative estimate.
        progress: called with the temperatures done, of twice their number.

    Raises:
        UserError: a size out of range.
    """
    n_chains, n_temperatures, n_both = sizes
    key_up, key_down = jax.random.split(key)
    low = log_partition_from_below(key_up, machine, params, fixed, (n_chains, n_temperatures), progress)
    path, mean = annealing_path(machine, params, *fixed), fixed[0]
    log_w, _ = anneal_downwards(
        key_down, path, jnp.asarray(v[:n_both]), n_temperatures, lambda done: progress(n_temperatures + done)
    )
    conservative = log_likelihood(machine, params, mean, v[:n_both], log_partition_base(path)) - log_w
    return LikelihoodBracket(low, log_likelihood(machine, params, mean, v, low.log_z), conservative)
