"""Conditional distributions of a Potts model, for every site at once.

log p(x_i = a | rest) = beta (b_i[a] + field_i[a] + sum_(j: i->j) W_ij[a, x_j] + sum_(j: j->i) W_ji[x_j, a]) + const
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.arguments import check_levels
from jaxgen.gibbs.couplings import Params, edge_couplings, n_levels
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.graph_params import edge_matrices, is_spin
from jaxgen.gibbs.lattice import Lattice


def conditional_logits(
    lattice: Lattice | Graph,
    params: Params,
    x: UInt8[ArrayLike, "n *sites"],
    field: Float[ArrayLike, "..."] | None = None,
) -> Float[Array, "n *sites L"]:
    """Return the unnormalised log p(x_i = a | rest) at beta = 1, for all levels a of all sites i.

    Differentiable in `params`. On a graph, levels that a site does not have get -inf; field: of the shape of the bias,
    for all chains or for each.

    Raises UserError for states of another shape or, outside jit, beyond the levels.
    """
    sites = (lattice.n_sites,) if isinstance(lattice, Graph) else (lattice.height, lattice.width)
    if jnp.shape(x)[1:] != sites:
        raise UserError(f"x has shape {jnp.shape(x)}; allowed: (n, {', '.join(map(str, sites))})")
    check_levels(x, lattice.levels if isinstance(lattice, Graph) else n_levels(params))
    bias, groups = _bias_and_edges(lattice, params, field)
    levels = bias.shape[-1]
    flat = x.reshape(len(x), -1)
    logits = jnp.broadcast_to(bias, (*x.shape, levels)).reshape(*flat.shape, levels)
    for source, target, coupling in groups:
        coupling = coupling.reshape(-1, levels, levels)
        edge = jnp.arange(len(source))
        logits = logits.at[:, source].add(coupling.swapaxes(1, 2)[edge, flat[:, target]])
        logits = logits.at[:, target].add(coupling[edge, flat[:, source]])
    if isinstance(lattice, Graph):
        logits = jnp.where(np.arange(levels) < lattice.levels[:, None], logits, -jnp.inf)
    return logits.reshape(*x.shape, levels)


def _bias_and_edges(lattice: Lattice | Graph, params: Params, field: ArrayLike | None) -> tuple[ArrayLike, list[tuple]]:
    """Return bias plus field of every level, and the edges as groups of (sources, targets, W_ij[x_i, x_j])."""
    if isinstance(lattice, Graph):
        full = edge_matrices(lattice, params)
        bias, groups = full["bias"], [(*lattice.edges.T, full["coupling"])]
        if is_spin(params) and field is not None:
            field = jnp.stack([-field, field], -1)
    else:
        bias = params["bias"]
        groups = [(*lattice.edges(offset), coupling) for offset, coupling in edge_couplings(lattice, params)]
    return bias if field is None else bias + field, groups


def log_pseudo_likelihood(
    lattice: Lattice | Graph,
    params: Params,
    x: UInt8[ArrayLike, "n *sites"],
    field: Float[ArrayLike, "..."] | None = None,
    beta: Float[ArrayLike, ""] = 1.0,
) -> Float[Array, "n"]:
    """Return sum_i log p(x_i | rest), in nats per image (Besag 1975): it needs no partition function."""
    log_p = jax.nn.log_softmax(beta * conditional_logits(lattice, params, x, field))
    return jnp.take_along_axis(log_p, x[..., None].astype(jnp.int32), axis=-1).reshape(len(x), -1).sum(1)
