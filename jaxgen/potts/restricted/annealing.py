"""Annealed importance sampling of a restricted machine, up from independent units and down from given states.

    log f_t(v) = v.((1 - t) a + t b) + sum_j softplus(t (c_j + (v W)_j)),        0 = t_0 < .. < t_K = 1
    log w      = sum_(k=1..K) log f_(t_k)(v_(k-1)) - log f_(t_(k-1))(v_(k-1))

a is the base; b, c, W are the uncentred machine. f_0 describes independent visible units with log-odds a and H free
hidden units (a factor 2^H); f_1 is the machine with its hidden units summed out. v_k is v_(k-1) after one Gibbs sweep
at t_k.

    upwards    v_0 ~ f_0 exactly:  E[w] = Z / Z_0; log mean w is on average too low (Salakhutdinov and Murray 2008)
    downwards  v_K given, the same sweeps in reverse order:
               v_K ~ p exactly:    E[1 / w] = Z_0 / Z; - log mean 1/w is on average too high
               v_K a test image:   E[f_1(v_K) / (Z_0 w)] is the probability that the upward path ends there, so
               log f_1 - log Z_0 + log mean 1/w is on average at most the log-likelihood of the annealed law, which
               tends to that of the machine (RAISE; Burda, Grosse and Salakhutdinov 2015)

A sweep draws h and then v from their conditionals and is therefore reversible for v, so the same path serves both
directions.
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
        visible: b, visible biases of the uncentred machine.
        hidden: c, hidden biases of the uncentred machine.
        weight: W, (V (L-1), H), in the type of the matrix products.
        constant: - F(v) - log f_1(v), the same for all v; it comes from centring.
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
    """Return log Z_0 plus the constant; adding log mean w to it gives the log Z that belongs to F."""
    base = np.asarray(path.base, np.float64)
    below = np.logaddexp.reduce(np.concatenate([np.zeros_like(base[:, :1]), base], 1), axis=1).sum()
    return float(below + len(path.hidden) * np.log(2.0) + path.constant)


def anneal_upwards(
    key: Key[Array, ""], path: Path, n_chains: int, n_temperatures: int, progress: Progress = lambda done: None
) -> tuple[Float64[np.ndarray, " n"], UInt8[Array, "n V"]]:
    """Return log w, in nats, of every chain from an exact draw of the base to the machine, and the last states."""
    key_start, key_path = jax.random.split(key)
    ids, units = jnp.arange(n_chains), len(path.base)
    start = draw_levels(uniform(key_start, ids, units), jnp.broadcast_to(path.base, (n_chains, *path.base.shape)))
    return _anneal(key_path, path, start, n_temperatures, False, progress)


def anneal_downwards(
    key: Key[Array, ""], path: Path, v: UInt8[Array, "n V"], n_temperatures: int, progress: Progress = lambda done: None
) -> tuple[Float64[np.ndarray, " n"], UInt8[Array, "n V"]]:
    """Return log w, in nats, of the upward path that ends at each state, sampled in reverse, and its first state."""
    return _anneal(key, path, v, n_temperatures, True, progress)


def _anneal(key, path, v, n_temperatures, down, progress):
    log_w = np.zeros(len(v))
    for first in range(0, n_temperatures, STAGE):
        # The last stage is padded with steps of length 0, which change no weight, so that one shape is compiled.
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
