"""Block Gibbs sampling of bipartite machines: Potts visible units, binary hidden units, dense couplings.

    E(v, h) = - sum_i a_i[v_i] - sum_j c_j h_j - sum_ij W_i[v_i]_j h_j       v_i in 0..L-1,  h_j in {0, 1}

    one sweep:   h_j ~ Bernoulli(sigmoid(beta (c_j + sum_i W_i[v_i]_j)))
                 v_i ~ softmax_l  beta (a_i[l] + sum_j W_i[l]_j h_j)

With L = 2 this is the restricted Boltzmann machine of Smolensky (1986). Only differences to level 0 matter, so arrays
hold levels 1 .. L-1 (the *reduced* form): logits (n, V, L-1), weight (V, L-1, H), states one-hot (n, V, L-1). Each
half-sweep is one matrix product over all chains. States are exact in bfloat16; with `dtype=bfloat16` the weights are
rounded to it, and the machine sampled is the one with rounded weights.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float, Integer, Key, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.arguments import (
    check_energies,
    check_key,
    check_sweeps,
    checked_beta,
    checked_chain_ids,
    readable,
)
from jaxgen.gibbs.engines.threefry import threefry2x32


def sample_bipartite(
    key: Key[Array, ""],
    weight: Float[Array, "V L1 H"],
    visible_logits: Float[Array, "n V L1"],
    hidden_logits: Float[Array, "n H"],
    v: UInt8[Array, "n V"],
    n_sweeps: int,
    *,
    beta: Float[ArrayLike, ""] = 1.0,
    clamp: Bool[Array, "n V"] | None = None,
    chain_ids: Integer[Array, " n"] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> UInt8[Array, "n V"]:
    """Return the visible states after `n_sweeps` sweeps (hidden, then visible) of every chain.

    Args:
        key: the noise of a chain depends on it and on the chain's global number only.
        weight: W_i[l]_j - W_i[0]_j for levels l = 1 .. L-1.
        visible_logits: a_i[l] - a_i[0] of each chain, what depends on its label or its input included.
        hidden_logits: c_j + sum_i W_i[0]_j of each chain.
        v: states 0 .. L-1.
        n_sweeps: 1 or more (static).
        beta: inverse temperature.
        clamp: True units never change.
        chain_ids: global number of every chain; default 0 .. n-1.
        dtype: of the matrix products; sums are float32.

    Raises:
        UserError: shapes or types that do not fit, n_sweeps or beta out of range; and, outside jit, states beyond L-1,
            two chains of one number, parameters that are not finite.
    """
    check_key(key)
    check_sweeps(n_sweeps)
    _check_machine({"weight": weight, "visible_logits": visible_logits, "hidden_logits": hidden_logits}, v, clamp)
    beta, ids = checked_beta(beta), checked_chain_ids(chain_ids, len(v))
    levels = weight.shape[1] + 1
    flat = weight.reshape(-1, weight.shape[-1]).astype(dtype)

    def sweep(number: Array, v: Array) -> Array:
        key_hidden, key_visible = jax.random.split(jax.random.fold_in(key, number))
        pull = product(one_hot(v, levels, dtype).reshape(len(v), -1), flat)
        h = uniform(key_hidden, ids, hidden_logits.shape[1]) < jax.nn.sigmoid(beta * (hidden_logits + pull))
        logits = beta * (visible_logits + product_transposed(h.astype(dtype), flat).reshape(visible_logits.shape))
        drawn = draw_levels(uniform(key_visible, ids, v.shape[1]), logits)
        return drawn if clamp is None else jnp.where(clamp, v, drawn)

    return jax.lax.fori_loop(0, n_sweeps, sweep, v)


def _check_machine(params: dict[str, Array], v: UInt8[Array, "n V"], clamp: Bool[Array, "n V"] | None) -> None:
    """Raise UserError for parameters, states or a clamp that do not fit together."""
    weight = params["weight"]
    if weight.ndim != 3 or not 0 < weight.shape[1] < 256:
        raise UserError(f"weight has shape {weight.shape}; allowed: (V, L - 1, H) with 2 to 256 levels")
    (units, others, hidden), n = weight.shape, len(v)
    if v.dtype != jnp.uint8 or v.shape != (n, units) or n < 1:
        raise UserError(f"v is {v.dtype} {v.shape}; allowed: uint8 (n, {units}) with n of 1 or more")
    if readable(v) and (largest := int(np.asarray(v).max())) > others:
        raise UserError(f"v has a state of {largest}; allowed: 0 to {others}")
    shapes = {"weight": weight.shape, "visible_logits": (n, units, others), "hidden_logits": (n, hidden)}
    for name, array in params.items():
        if array.shape != shapes[name]:
            raise UserError(f"{name} has shape {array.shape}; allowed: {shapes[name]}")
        check_energies(name, array)
        if readable(array) and not np.isfinite(np.asarray(array, np.float32)).all():
            raise UserError(f"{name} has an entry of -inf; allowed: finite numbers")
    if clamp is not None and (clamp.dtype != bool or clamp.shape != v.shape):
        raise UserError(f"clamp is {clamp.dtype} {clamp.shape}; allowed: bool {v.shape}")


def uniform(key: Key[Array, ""], ids: Integer[Array, " n"], units: int) -> Float[Array, "n units"]:
    """Return numbers in (0, 1), a function of the key, the chain's number and the unit's number alone."""
    word = jax.random.key_data(key)
    counter = jnp.arange(-(-units // 2), dtype=jnp.uint32)
    halves = threefry2x32((word[0], word[1]), (ids.astype(jnp.uint32)[:, None], counter[None]))
    bits = jnp.concatenate(halves, axis=1)[:, :units] >> np.uint32(8)
    return (bits.astype(jnp.int32).astype(jnp.float32) + 0.5) * np.float32(2**-24)


def draw_levels(u: Float[Array, "n V"], logits: Float[Array, "n V L1"]) -> UInt8[Array, "n V"]:
    """Return levels 0 .. L-1 drawn from softmax(0, logits) by inversion of u."""
    if logits.shape[-1] == 1:
        return (u < jax.nn.sigmoid(logits[..., 0])).astype(jnp.uint8)
    top = jnp.maximum(logits.max(-1), 0.0)
    lowest = jnp.exp(-top)
    rest = jnp.exp(logits - top[..., None])
    threshold = u * (lowest + rest.sum(-1))
    below = lowest
    level = jnp.zeros(u.shape, jnp.uint8)
    for number in range(logits.shape[-1]):
        level = level + (threshold > below).astype(jnp.uint8)
        below = below + rest[..., number]
    return level


def one_hot(v: UInt8[Array, "n V"], levels: int, dtype: DTypeLike = jnp.float32) -> Float[Array, "n V L1"]:
    """Return the indicators of levels 1 .. L-1."""
    return (v[..., None] == jnp.arange(1, levels, dtype=v.dtype)).astype(dtype)


@functools.partial(jax.jit, inline=True)
def product(x: Float[Array, "n k"], w: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """Return x w, summed in float32."""
    return jax.lax.dot(x, w, preferred_element_type=jnp.float32)


@functools.partial(jax.jit, inline=True)
def product_transposed(x: Float[Array, "n m"], w: Float[Array, "k m"]) -> Float[Array, "n k"]:
    """Return x w^T, summed in float32."""
    return jax.lax.dot_general(x, w, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
