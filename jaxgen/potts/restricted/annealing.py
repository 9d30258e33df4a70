"""Annealed importance sampling of a restricted machine, upwards from independent units and downwards from states.

    log f_t(v) = v.((1 - t) a + t b) + sum_j softplus(t (c_j + (v W)_j)),        0 = t_0 < .. < t_K = 1
    log w      = sum_(k=1..K) log f_(t_k)(v_(k-1)) - log f_(t_(k-1))(v_(k-1))

a, b, c, W are the base and the uncentred machine: f_0 are independent units with log-odds a and 2^H states of free
hidden units, f_1 is the machine with its hidden units summed. v_k is v_(k-1) after one Gibbs sweep at t_k.

    upwards    v_0 ~ f_0 exactly:  E[w] = Z / Z_0; log mean w is on average too low (Salakhutdinov and Murray 2008)
    downwards  v_K given, the same sweeps in reverse order:
               v_K ~ p exactly:    E[1 / w] = Z_0 / Z; - log mean 1/w is on average too high
               v_K a test image:   E[f_1(v_K) / (Z_0 w)] is the probability that the upward path ends there, so
               log f_1 - log Z_0 + log mean 1/w is on average at most the log-likelihood of the annealed law, which
               tends to that of the machine (RAISE; Burda, Grosse and Salakhutdinov 2015)

A sweep is reversible for v, since it draws h and v from their conditionals in turn; that is why one path serves both.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Key, UInt8

from jaxgen.gibbs.bipartite import draw_levels, one_hot, product, product_transposed, uniform
from jaxgen.potts.likelihood.annealed_importance import STAGE
from jaxgen.potts.restricted.machine import Params, RestrictedPotts

Progress = Callable[[int], None]


class Path(NamedTuple):
    """The ends of an annealing path.

    Attributes:
        base: a, log-odds of levels 1 .. L-1 against level 0.
        visible: b of the uncentred machine.
        hidden: c of the uncentred machine.
        weight: W, (V (L-1), H), of the type of the products.
        constant: - F(v) - log f_1(v), the same for all v; what centring leaves.
    """

    base: Float[Array, "V L1"]
    visible: Float[Array, "V L1"]
    hidden: Float[Array, " H"]
    weight: Float[Array, "k H"]
    constant: float


def annealing_path(
    machine: RestrictedPotts, params: Params, mean: Float[Array, "V L1"], base: Float[Array, "V L1"]
) -> Path:
    """Return the path from independent units of log-odds `base` to the machine."""
    weight, visible, hidden = machine.apply({"params": params}, mean, method="logits")
    flat = weight.reshape(-1, machine.n_hidden)
    constant = 0.5 * np.asarray(mean, np.float64).reshape(-1) @ np.asarray(flat, np.float64).sum(1)
    return Path(jnp.asarray(base), visible, hidden, flat.astype(machine.dtype), float(constant))


def log_partition_base(path: Path) -> float:
    """Return log Z_0 plus the constant, so that adding log w gives the log Z that belongs to F."""
    base = np.asarray(path.base, np.float64)
    below = np.logaddexp.reduce(np.concatenate([np.zeros_like(base[:, :1]), base], 1), axis=1).sum()
    return float(below + len(path.hidden) * np.log(2.0) + path.constant)


def anneal_upwards(
    key: Key[Array, ""], path: Path, n_chains: int, n_temperatures: int, progress: Progress = lambda done: None
) -> tuple[Float64[np.ndarray, " n"], UInt8[Array, "n V"]]:
    """Return log w of every chain from an exact draw of the base to the machine, and the last states."""
    key_start, key_path = jax.random.split(key)
    ids, units = jnp.arange(n_chains), len(path.base)
    start = draw_levels(uniform(key_start, ids, units), jnp.broadcast_to(path.base, (n_chains, *path.base.shape)))
    return _anneal(key_path, path, start, n_temperatures, False, progress)


def anneal_downwards(
    key: Key[Array, ""], path: Path, v: UInt8[Array, "n V"], n_temperatures: int, progress: Progress = lambda done: None
) -> tuple[Float64[np.ndarray, " n"], UInt8[Array, "n V"]]:
    """Return log w of the upward path that ends at each given state, sampled in reverse, and its start."""
    return _anneal(key, path, v, n_temperatures, True, progress)


def _anneal(key, path, v, n_temperatures, down, progress):
    log_w = np.zeros(len(v))
    for first in range(0, n_temperatures, STAGE):
        # The last stage is filled up with steps of no length, which change no weight: one shape, compiled once.
        number = first + np.arange(min(STAGE, n_temperatures), dtype=np.uint32)
        t = np.minimum(np.append(number, number[-1] + 1) / n_temperatures, 1.0).astype(np.float32)
        low, high = (1 - t[1:], 1 - t[:-1]) if down else (t[:-1], t[1:])
        gained, v = _stage(key, path[:4], v, (number, low, high), down)
        log_w += np.asarray(gained, np.float64)
        progress(min(first + STAGE, n_temperatures))
    return log_w, v


@functools.partial(jax.jit, static_argnames="down")
def _stage(key, ends, v, steps, down):
    base, visible, hidden, weight = ends
    levels, ids = base.shape[1] + 1, jnp.arange(len(v))

    def states(v):
        x = one_hot(v, levels, weight.dtype).reshape(len(v), -1)
        return x, hidden + product(x, weight)

    def gain(x, field, low, high):
        linear = x.astype(jnp.float32) @ (visible - base).reshape(-1)
        return (high - low) * linear + (jax.nn.softplus(high * field) - jax.nn.softplus(low * field)).sum(1)

    def sweep(key, field, t):
        key_hidden, key_visible = jax.random.split(key)
        h = uniform(key_hidden, ids, len(hidden)) < jax.nn.sigmoid(t * field)
        pull = product_transposed(h.astype(weight.dtype), weight).reshape(len(v), *base.shape)
        logits = (1 - t) * base + t * (visible + pull)
        return draw_levels(uniform(key_visible, ids, len(base)), logits)

    def temperature(carry, step):
        v, (x, field), log_w = carry
        number, low, high = step
        if not down:
            log_w = log_w + gain(x, field, low, high)
        v = sweep(jax.random.fold_in(key, number), field, high)
        x, field = states(v)
        if down:
            log_w = log_w + gain(x, field, low, high)
        return (v, (x, field), log_w), None

    (v, _, log_w), _ = jax.lax.scan(temperature, (v, states(v), jnp.zeros(len(v))), steps)
    return log_w, v
