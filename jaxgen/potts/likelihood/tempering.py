"""Parallel tempering along the path from independent pixels to the model (Geyer 1991; Hukushima and Nemoto 1996).

    p_r(x)  ~ exp(-beta E(x; theta(t_r))),    theta(t) = (1 - t) theta_base + t theta,    0 = t_1 < .. < t_R = 1
    swap x_r and x_(r+1) with probability min(1, exp(beta (t_(r+1) - t_r) (D(x_(r+1)) - D(x_r)))),   D = E - E_base

The energy is linear in theta, which gives the exponent; sweeps and swaps leave p_1 x .. x p_R invariant. Even and odd
pairs alternate deterministically, which carries states along the path instead of diffusing them (Okabe et al. 2001;
Syed et al. 2022). The replica at t = 0 has no couplings, so one sweep makes it an independent draw, and states that
reach t = 1 from there are independent of the past.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, UInt8

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.likelihood.annealed_importance import independent_params, linear_energy


class TemperingInfo(NamedTuple):
    """What a tempering run reports.

    Attributes:
        acceptance: fraction of accepted swaps between replicas r and r + 1, for each of the R - 1 gaps.
        cold: x_R, the replica at t = 1, after every round, for each of the n ensembles.
    """

    acceptance: Float[Array, "gaps"]
    cold: UInt8[Array, "rounds n *sites"]


@functools.partial(jax.jit, static_argnames=("lattice", "n_rounds", "sweeps"))
def parallel_tempering(
    key: Key[Array, ""],
    lattice: gibbs.Lattice | gibbs.Graph,
    params: dict,
    base_bias: Float[Array, "*sites L"],
    x: UInt8[Array, "R n *sites"],
    t: Float[Array, "R"],
    n_rounds: int,
    *,
    sweeps: int = 1,
    beta: Float[ArrayLike, ""] = 1.0,
) -> tuple[UInt8[Array, "R n *sites"], TemperingInfo]:
    """Run `n_rounds` rounds, each of `sweeps` Gibbs sweeps of every replica and one round of swaps.

    Args:
        key: random key.
        lattice: the lattice or graph.
        params: {"bias", "coupling"} at t = 1.
        base_bias: the bias at t = 0, where there are no couplings.
        x: states; n independent ensembles of R replicas.
        t: position of each replica on the path, ascending from 0 to 1.
        n_rounds: number of rounds, 1 or more.
        sweeps: Gibbs sweeps per round, 1 or more.
        beta: inverse temperature.

    Raises:
        UserError: fewer than two replicas, t of another length, n_rounds < 1; or what `gibbs.sample` refuses.
    """
    if len(x) < 2 or t.shape != (len(x),):
        raise UserError(f"t has shape {t.shape} for {len(x)} replicas; allowed: ({len(x)},), two or more")
    if n_rounds < 1:
        raise UserError(f"n_rounds is {n_rounds}; allowed: an integer, 1 or more")
    base = independent_params(lattice, params, base_bias)
    params = {name: params[name] for name in base}
    difference = jax.tree.map(lambda a, b: b - a, base, params)
    replicas, n = x.shape[:2]

    def sweep(key, x):
        def sweep_replica(replica):
            number, states, t_r = replica
            theta = jax.tree.map(lambda a, d: a + t_r * d, base, difference)
            return gibbs.sample(jax.random.fold_in(key, number), lattice, theta, states, sweeps, beta=beta)[0]

        return jax.lax.map(sweep_replica, (jnp.arange(replicas), x, t))

    def round_(carry, number):
        x, taken = carry
        key_sweep, key_swap = jax.random.split(jax.random.fold_in(key, number))
        x = sweep(key_sweep, x)
        d = jax.lax.map(lambda states: linear_energy(lattice, difference, states), x)
        exponent = beta * jnp.diff(t)[:, None] * jnp.diff(d, axis=0)
        accepted = jnp.log(jax.random.uniform(key_swap, (replicas - 1, n), minval=1e-38)) < exponent
        # Pairs (0, 1), (2, 3), .. in even rounds, (1, 2), (3, 4), .. in odd ones.
        accepted &= (jnp.arange(replicas - 1) % 2 == number % 2)[:, None]
        none = jnp.zeros((1, n), bool)
        up, down = jnp.concatenate([accepted, none]), jnp.concatenate([none, accepted])
        source = jnp.arange(replicas)[:, None] + up - down
        x = jnp.take_along_axis(x, source.reshape(*source.shape, *[1] * (x.ndim - 2)), axis=0)
        return (x, taken + accepted.sum(1)), x[-1]

    (x, taken), cold = jax.lax.scan(round_, (x, jnp.zeros(replicas - 1, jnp.int32)), jnp.arange(n_rounds))
    tried = jnp.array([(n_rounds + 1 - r % 2) // 2 for r in range(replicas - 1)]) * n
    return x, TemperingInfo(taken / jnp.maximum(tried, 1), cold)
