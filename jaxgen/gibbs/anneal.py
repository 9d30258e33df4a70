"""Simulated annealing (Kirkpatrick, Gelatt and Vecchi 1983): Gibbs sweeps at a rising inverse temperature.

    x_m ~ sweeps of exp(-beta_m E),  started at x_(m-1),      beta_1, beta_2, .., beta_M

At a large last beta the states are near the minima of E. The law is that of `gibbs.sample` at each beta.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Integer, PRNGKeyArray, Real, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.arguments import (
    as_array,
    check_key,
    check_sweeps,
    checked_arguments,
    is_real,
    on_common_devices,
    readable,
)
from jaxgen.gibbs.couplings import Params
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.sample import sample


def anneal(
    key: PRNGKeyArray,
    lattice: Lattice | Graph,
    params: Params,
    x: UInt8[ArrayLike, "n *sites"],
    betas: Real[ArrayLike, "M"] | Sequence[float],
    n_sweeps: int = 1,
    *,
    clamp: Bool[ArrayLike, "*sites"] | Bool[ArrayLike, "n *sites"] | Sequence | None = None,
    field: Float[ArrayLike, "..."] | Sequence | None = None,
    chain_ids: Integer[ArrayLike, "n"] | Sequence[int] | None = None,
) -> UInt8[Array, "n *sites"]:
    """Return the states after `n_sweeps` Gibbs sweeps at every inverse temperature in turn, in one compiled loop.

    The noise at betas[m] is that of `gibbs.sample` with fold_in(key, m).

    Args:
        key: random key.
        lattice: Lattice or Graph (static).
        params: parameters, as for `gibbs.sample`.
        x: states to start from.
        betas: inverse temperatures, 0 or more; may be traced, so that another schedule of the same length compiles
            nothing anew.
        n_sweeps: Gibbs sweeps at each of them (static).
        clamp: as for `gibbs.sample`.
        field: as for `gibbs.sample`.
        chain_ids: as for `gibbs.sample`.

    Raises:
        UserError: betas that are no vector or, outside jit, negative or not finite; n_sweeps out of range; and as
            `gibbs.sample`.
    """
    check_key(key)
    check_sweeps(n_sweeps)
    betas = _checked_betas(betas)
    checked_arguments(lattice, params, x, 1.0, clamp, field, chain_ids)  # here, where the values can be read
    params = {name: params[name] for name in ("bias", "coupling")}
    arrays = on_common_devices((key, params, jnp.asarray(x), betas, (clamp, field, chain_ids)))
    return _anneal(*arrays, lattice, int(n_sweeps))


def _checked_betas(betas) -> Float[Array, "M"]:
    allowed = "a vector of finite numbers, 0 or more"
    betas = as_array("betas", betas, allowed)
    if betas.ndim != 1 or not len(betas) or not is_real(betas):
        raise UserError(f"betas is {betas.dtype} {betas.shape}; allowed: {allowed}")
    if readable(betas):
        with np.errstate(over="ignore"):
            values = np.asarray(betas).astype(np.float32)
        if not (np.isfinite(values) & (values >= 0)).all():
            raise UserError(f"betas go from {values.min()} to {values.max()}; allowed: {allowed}")
    return jnp.asarray(betas, jnp.float32)


@functools.partial(jax.jit, static_argnames=("lattice", "n_sweeps"))
def _anneal(key, params, x, betas, conditions, lattice, n_sweeps):
    clamp, field, chain_ids = conditions

    def stage(x, numbered):
        number, beta = numbered
        key_stage = jax.random.fold_in(key, number)
        x, _ = sample(key_stage, lattice, params, x, n_sweeps, beta=beta, clamp=clamp, field=field, chain_ids=chain_ids)
        return x, None

    return jax.lax.scan(stage, x, (jnp.arange(len(betas)), betas))[0]
