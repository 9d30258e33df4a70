"""Annealed importance sampling of the partition function (Neal 2001; for RBMs, Salakhutdinov and Murray 2008).

    theta(t) = (1 - t) theta_start + t theta_end,   0 = t_0 < t_1 < .. < t_K = 1,   x_0 ~ p_start exactly
    log w    = sum_(k=1..K) ( -beta E(x_(k-1); theta(t_k)) + beta E(x_(k-1); theta(t_(k-1))) ),
               x_k = x_(k-1) after one Gibbs sweep at theta(t_k)
    E[w]     = Z_end / Z_start

The energy is linear in theta, so the k-th term is -beta (t_k - t_(k-1)) (E_end - E_start)(x_(k-1)). From independent
pixels, whose Z is a product, to the model, E[w] = Z / Z_0 and log mean w is on average too low; from samples of the
model to independent pixels, E[1/w] bounds log Z from the other side (Burda, Grosse and Salakhutdinov 2015;
Grosse, Ghahramani and Adams 2015), and the two together bracket it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, UInt8

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.model import PottsEBM

_NEVER = -1e30  # finite, so that differences of parameters are
STAGE = 250  # temperatures per compiled call


class PartitionEstimate(NamedTuple):
    """An estimate of log Z in nats, from n chains.

    Neither the standard error nor the effective number of chains shows a mode that no chain entered; only the other end
    of a bracket with mixed samples does, see `likelihood.partition`.

    Attributes:
        log_z: log Z_0 + log mean w.
        standard_error: of log_z, sd(w) / (mean(w) sqrt(n)), by the delta method.
        effective_chains: (sum w)^2 / sum w^2, 1 to n; near 1 a single chain dominates.
        log_weights: log w of each chain, in nats.
        states: states of the chains at the end of the path.
    """

    log_z: float
    standard_error: float
    effective_chains: float
    log_weights: Float[np.ndarray, "n"]
    states: UInt8[Array, "n H W"]


def estimate_log_partition(
    key: Key[Array, ""],
    lattice: gibbs.Lattice | gibbs.Graph,
    params: dict,
    base_bias: Float[Array, "..."],
    n_chains: int,
    n_temperatures: int,
    *,
    beta: Float[ArrayLike, ""] = 1.0,
    progress: Callable[[int], None] = lambda done: None,
) -> PartitionEstimate:
    """Estimate log Z of a model from below, annealed from the independent pixels of `base_bias`.

    Its standard error is too small where the model has modes that no chain enters; `likelihood.partition.log_partition`
    estimates from both ends and warns.

    Args:
        key: random key; the noise of chain c depends on it and on c alone.
        lattice: the lattice or graph.
        params: {"bias", "coupling"}, see `gibbs.couplings`; a label's field is added with `class_params`.
        base_bias: log-odds of the independent pixels at the start, at inverse temperature `beta`; the log marginals of
            the data are a good choice.
        n_chains: at least 2.
        n_temperatures: K, at least 1; the error falls about as K^(-1/2) while chains follow the path.
        beta: inverse temperature.
        progress: called with the temperatures done.

    Raises:
        UserError: an argument out of range, by name; or what `gibbs.sample` refuses.
    """
    check_sizes(n_chains, n_temperatures)
    key_start, key_path = jax.random.split(key)
    base = independent_params(lattice, params, base_bias)
    x = draw_independent(key_start, base["bias"], n_chains, beta)
    log_w, x = anneal(key_path, lattice, base, params, x, n_temperatures, beta=beta, progress=progress)
    return estimate_from_weights(log_partition_independent(base["bias"], beta), log_w, 1, x)


def bound_log_partition(
    key: Key[Array, ""],
    lattice: gibbs.Lattice | gibbs.Graph,
    params: dict,
    base_bias: Float[Array, "..."],
    samples: UInt8[Array, "n *sites"],
    n_temperatures: int,
    *,
    beta: Float[ArrayLike, ""] = 1.0,
    progress: Callable[[int], None] = lambda done: None,
) -> PartitionEstimate:
    """Estimate log Z from above: log Z_0 - log mean (1/w) over paths that start at samples of the model.

    It is on average too high if the samples are exact; with `estimate_log_partition` it brackets log Z. Arguments and
    errors are as there; `samples` are states of the model.
    """
    check_sizes(len(samples), n_temperatures)
    base = independent_params(lattice, params, base_bias)
    log_w, x = anneal(key, lattice, params, base, samples, n_temperatures, beta=beta, progress=progress)
    return estimate_from_weights(log_partition_independent(base["bias"], beta), log_w, -1, x)


def anneal(
    key: Key[Array, ""],
    lattice: gibbs.Lattice | gibbs.Graph,
    start: dict,
    end: dict,
    x: UInt8[Array, "n *sites"],
    n_temperatures: int,
    *,
    beta: Float[ArrayLike, ""] = 1.0,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Float[np.ndarray, "n"], UInt8[Array, "n *sites"]]:
    """Return log w of every chain, float64, along the straight path from `start` to `end`, and the last states."""
    start, end = ({name: params[name] for name in ("bias", "coupling")} for params in (start, end))
    log_w = np.zeros(len(x))
    for first in range(0, n_temperatures, STAGE):
        # The last stage is padded with sweeps at theta_end, steps of length 0, so that one shape is compiled.
        number = first + np.arange(min(STAGE, n_temperatures), dtype=np.uint32)
        t = np.minimum(np.append(number, number[-1] + 1) / n_temperatures, 1.0)
        gained, x = _stage(key, lattice, start, end, x, (number, t[:-1], t[1:]), beta)
        log_w += np.asarray(gained, np.float64)
        progress(min(first + STAGE, n_temperatures))
    return log_w, x


@functools.partial(jax.jit, static_argnames="lattice")
def _stage(key, lattice, start, end, x, steps, beta):
    difference = jax.tree.map(lambda a, b: b - a, start, end)

    def temperature(carry, step):
        x, log_w = carry
        number, t_before, t_after = step
        log_w -= beta * (t_after - t_before) * linear_energy(lattice, difference, x)
        params = jax.tree.map(lambda a, d: a + t_after * d, start, difference)
        x, _ = gibbs.sample(jax.random.fold_in(key, number), lattice, params, x, 1, beta=beta)
        return (x, log_w), None

    (x, log_w), _ = jax.lax.scan(temperature, (x, jnp.zeros(len(x))), steps)
    return log_w, x


def class_params(params: dict, label: int) -> dict:
    """Return the parameters of p(x | y = label), a model without labels."""
    return {"bias": params["bias"] + params["label_coupling"][..., label], "coupling": params["coupling"]}


def independent_params(lattice: gibbs.Lattice | gibbs.Graph, params: dict, bias: Float[Array, "..."]) -> dict:
    """Return parameters shaped like `params` with this bias and no couplings. UserError for a bias of another shape.

    Levels that a site of a graph does not have get a bias so low that they are never drawn.
    """
    if bias.shape != params["bias"].shape:
        raise UserError(f"base_bias has shape {bias.shape}; allowed: {params['bias'].shape}")
    if isinstance(lattice, gibbs.Graph) and bias.ndim == 2:
        bias = jnp.where(np.arange(bias.shape[1]) < lattice.levels[:, None], bias, _NEVER)
    return {"bias": jnp.asarray(bias), "coupling": jax.tree.map(jnp.zeros_like, params["coupling"])}


def linear_energy(lattice: gibbs.Lattice | gibbs.Graph, params: dict, x: UInt8[Array, "n *sites"]) -> Float[Array, "n"]:
    """Return E(x), which is linear in `params`: a difference of parameters gives the difference of energies."""
    if isinstance(lattice, gibbs.Graph):
        return gibbs.graph_energy(lattice, params, x)
    model = PottsEBM(lattice, gibbs.n_levels(params), "tied" if gibbs.is_tied(params) else "edge")
    return model.apply({"params": params}, x)


def log_partition_independent(bias: Float[Array, "..."], beta: Float[ArrayLike, ""] = 1.0) -> float:
    """Return log Z_0 = sum_i log sum_l exp(beta b_i[l]), in nats; for spins sum_i log 2 cosh(beta b_i)."""
    logits = beta * np.asarray(_of_levels(bias), np.float64)
    return float(np.logaddexp.reduce(logits, axis=-1).sum())


def draw_independent(
    key: Key[Array, ""], bias: Float[Array, "..."], n: int, beta: Float[ArrayLike, ""] = 1.0
) -> UInt8[Array, "n *sites"]:
    """Return n exact samples of independent pixels or sites; sample c depends on the key and on c alone."""
    bias = _of_levels(bias)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
    return jax.vmap(lambda k: jax.random.categorical(k, beta * bias))(keys).astype(jnp.uint8)


def _of_levels(bias: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the bias of each level; spins have the biases of -1 and 1."""
    return jnp.stack([-bias, bias], -1) if bias.ndim == 1 else bias


def check_sizes(n_chains: int, n_temperatures: int) -> None:
    """Raise UserError for fewer than 2 chains or 1 temperature."""
    if n_chains < 2:
        raise UserError(f"n_chains is {n_chains}; allowed: an integer, 2 or more")
    if n_temperatures < 1:
        raise UserError(f"n_temperatures is {n_temperatures}; allowed: an integer, 1 or more")


def estimate_from_weights(log_z_start: float, log_w: Float[np.ndarray, "n"], sign: int, x: Array) -> PartitionEstimate:
    """Return log_z_start + sign log mean w of these weights; w is 1/w of the upward path where `sign` is -1."""
    relative = np.exp(log_w - log_w.max())
    log_mean = log_w.max() + np.log(relative.mean())
    error = relative.std(ddof=1) / (relative.mean() * np.sqrt(len(log_w)))
    effective = relative.sum() ** 2 / (relative**2).sum()
    return PartitionEstimate(log_z_start + sign * log_mean, float(error), float(effective), log_w, x)
