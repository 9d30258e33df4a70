"""The naive reference: one site after another, in raster order (Geman and Geman 1984).

    for i in 0 .. H W - 1:  x_i ~ softmax_a beta (b_i[a] + sum_j W_ij[a, x_j])

It shares no code with the block engines: neighbours come from a table, so it also serves as their oracle.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from jaxgen.gibbs.couplings import Params, edge_couplings, n_levels
from jaxgen.gibbs.engines.arithmetic import scaled
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.types import Conditions, SampleInfo, free_sites


def neighbour_table(
    lattice: Lattice, params: Params
) -> tuple[Int[np.ndarray, "sites degree"], Float[Array, "sites degree L L"]]:
    """Return the neighbours of every site and W_ij[x_i, x_j] seen from it; missing neighbours have zero couplings."""
    levels = n_levels(params)
    heads, tails, weights = [], [], []
    for offset, coupling in edge_couplings(lattice, params):
        source, target = lattice.edges(offset)
        coupling = coupling.reshape(-1, levels, levels)
        heads += [source, target]
        tails += [target, source]
        weights += [coupling, coupling.swapaxes(1, 2)]
    head, tail = np.concatenate(heads), np.concatenate(tails)
    padded = jnp.concatenate([*weights, jnp.zeros((1, levels, levels))])
    degree = np.bincount(head, minlength=lattice.n_sites).max()
    slots = np.full((lattice.n_sites, degree), len(head))
    for site in range(lattice.n_sites):
        mine = np.flatnonzero(head == site)
        slots[site, : len(mine)] = mine
    return np.append(tail, 0)[slots], padded[slots]


def run(
    key: PRNGKeyArray, lattice: Lattice, params: Params, x: UInt8[Array, "n H W"], n_sweeps: int, conditions: Conditions
) -> tuple[UInt8[Array, "n H W"], SampleInfo]:
    """Return the states after `n_sweeps` raster scans of every chain. Noise is keyed by (chain, sweep, site)."""
    beta, clamp, field, chain_ids = conditions
    neighbours, weights = neighbour_table(lattice, params)
    neighbours = jnp.asarray(neighbours)
    bias = params["bias"].reshape(lattice.n_sites, -1)
    chain_keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(chain_ids)
    fields = jnp.zeros((1, *bias.shape)) if field is None else field.reshape(len(x), *bias.shape)
    held = jnp.zeros((1, lattice.n_sites), bool) if clamp is None else clamp.reshape(len(x), -1)

    def sweep(carry, _):
        flat, done = carry
        sweep_keys = jax.vmap(lambda k: jax.random.fold_in(k, done))(chain_keys)

        def visit(site, flat):
            around = flat[:, neighbours[site]]
            pull = jnp.take_along_axis(weights[site][None], around[:, :, None, None], axis=3)[..., 0].sum(1)
            theta = scaled(beta, bias[site] + fields[:, site] + pull)
            keys = jax.vmap(lambda k: jax.random.fold_in(k, site))(sweep_keys)
            drawn = jax.vmap(jax.random.categorical)(keys, theta).astype(jnp.uint8)
            return flat.at[:, site].set(jnp.where(held[:, site], flat[:, site], drawn))

        return (jax.lax.fori_loop(0, lattice.n_sites, visit, flat), done + 1), None

    (flat, sweeps), _ = jax.lax.scan(sweep, (x.reshape(len(x), -1), jnp.int32(0)), length=n_sweeps)
    return flat.reshape(x.shape), SampleInfo(sweeps, free_sites(x, clamp))
