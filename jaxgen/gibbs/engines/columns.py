"""Blocked columns: every second column is drawn at once, exactly, given the others (Jensen, Kjaerulff and Kong 1995).

    p(x_c | rest) ~ prod_y exp beta u_y[x_y]  prod_y exp beta V_y[x_y, x_y+1]           a column c is a chain
    m_y[a] = log sum_b exp(beta (V_y[a, b] + u_y+1[b]) + m_y+1[b]),   m_H-1 = 0          backward filtering
    x_0 ~ softmax(beta u_0 + m_0),   x_y+1 ~ softmax_b(beta (V_y[x_y, b] + u_y+1[b]) + m_y+1[b])       forward sampling

u_y is the bias with what the neighbouring columns add, V_y the coupling down the column. Given all odd columns the even
ones are independent, so a sweep is two blocks. Each takes 2 H steps one after another: fewer sweeps, each slower. For
open lattices whose edges join a column to itself by (1, 0) only, and else to columns of the other parity: "4", "8".
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.conditionals import conditional_logits
from jaxgen.gibbs.couplings import Params, edge_couplings
from jaxgen.gibbs.engines.arithmetic import scaled
from jaxgen.gibbs.lattice import Lattice, offset_name
from jaxgen.gibbs.types import Conditions, SampleInfo, free_sites

_DOWN = (1, 0)
_NEVER = -1e30  # finite, so that a difference of two is no nan


def run(
    key: PRNGKeyArray, lattice: Lattice, params: Params, x: UInt8[Array, "n H W"], n_sweeps: int, conditions: Conditions
) -> tuple[UInt8[Array, "n H W"], SampleInfo]:
    """Return the states after `n_sweeps` sweeps, even columns then odd ones. Noise is keyed by (chain, sweep, parity).

    Raises:
        UserError: the columns of the lattice are no chains.
    """
    beta, clamp, field, chain_ids = conditions
    across = _across(lattice)
    coupling = dict(edge_couplings(lattice, params))
    down = coupling.pop(_DOWN)
    named = {offset_name(offset): array for offset, array in coupling.items()}
    around = functools.partial(conditional_logits, across, {"bias": params["bias"], "coupling": named})
    chain_keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(chain_ids)
    levels = params["bias"].shape[-1]

    def draw(keys, x, parity: int):
        potential = scaled(beta, around(x, field))
        if clamp is not None:
            held = clamp[..., None] & (x[..., None] != jnp.arange(levels, dtype=x.dtype))
            potential = jnp.where(held, _NEVER, potential)
        # Down the column first, then chains, columns, levels.
        potential = jnp.moveaxis(potential[:, :, parity::2], 1, 0)
        pair = scaled(beta, down[:, None, parity::2])
        gumbel = jax.vmap(lambda k: jax.random.gumbel(k, (lattice.height, *potential.shape[2:])))(keys)
        return x.at[:, :, parity::2].set(jnp.moveaxis(_chains(potential, pair, jnp.moveaxis(gumbel, 1, 0)), 0, 1))

    def sweep(carry, _):
        x, done = carry
        keys = jax.vmap(lambda k: jax.random.fold_in(k, done))(chain_keys)
        for parity in range(min(2, lattice.width)):
            x = draw(jax.vmap(lambda k, p=parity: jax.random.fold_in(k, p))(keys), x, parity)
        return (x, done + 1), None

    (x, sweeps), _ = jax.lax.scan(sweep, (x, jnp.int32(0)), length=n_sweeps)
    return x, SampleInfo(sweeps, free_sites(x, clamp))


def _across(lattice: Lattice) -> Lattice:
    """Return the lattice without the edges along its columns."""
    rest = tuple(offset for offset in lattice.offsets if offset != _DOWN)
    if len(rest) == len(lattice.offsets) or lattice.boundary != "open" or any(dx % 2 == 0 for _, dx in rest):
        raise UserError(
            f"lattice has offsets {lattice.offsets} and boundary {lattice.boundary!r}; allowed with engine='columns': "
            "(1, 0) with others that go an odd number of columns aside, and boundary 'open'"
        )
    return Lattice(lattice.height, lattice.width, rest)


def _chains(potential: Array, pair: Array, gumbel: Array) -> UInt8[Array, "H n C"]:
    """Draw the chains y = 0 ..

    H - 1 exactly, from potential, gumbel (H, n, C, L) and pair (H - 1, n or 1, C or 1, L, L).
    """

    def backward(message, one):
        pair, below = one
        message = jax.nn.logsumexp(pair + (below + message)[..., None, :], axis=-1)
        return message, message

    last = jnp.zeros(potential.shape[1:])
    _, messages = jax.lax.scan(backward, last, (pair, potential[1:]), reverse=True)
    weight = potential + jnp.concatenate([messages, last[None]])

    def forward(above, one):
        pair, weight, gumbel = one
        pair = jnp.broadcast_to(pair, (*weight.shape, weight.shape[-1]))
        given = jnp.take_along_axis(pair, above[..., None, None], axis=-2)[..., 0, :]
        drawn = jnp.argmax(given + weight + gumbel, axis=-1)
        return drawn, drawn

    first = jnp.argmax(weight[0] + gumbel[0], axis=-1)
    _, rest = jax.lax.scan(forward, first, (pair, weight[1:], gumbel[1:]))
    return jnp.concatenate([first[None], rest]).astype(jnp.uint8)
