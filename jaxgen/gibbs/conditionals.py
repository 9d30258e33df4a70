"""Conditional distributions of a Potts model, for every site at once.

log p(x_i = a | rest) = beta (b_i[a] + field_i[a] + sum_(j: i->j) W_ij[a, x_j] + sum_(j: j->i) W_ji[x_j, a]) + const
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from jaxgen.gibbs.couplings import Params, edge_couplings, n_levels
from jaxgen.gibbs.lattice import Lattice


def conditional_logits(
    lattice: Lattice, params: Params, x: UInt8[Array, "n H W"], field: Float[Array, "n H W L"] | None = None
) -> Float[Array, "n H W L"]:
    """Unnormalised log p(x_i = a | rest) at beta = 1, for all levels a of all sites i. Differentiable in `params`."""
    levels = n_levels(params)
    flat = x.reshape(len(x), -1)
    bias = params["bias"] if field is None else params["bias"] + field
    logits = jnp.broadcast_to(bias, (*x.shape, levels)).reshape(*flat.shape, levels)
    for offset, coupling in edge_couplings(lattice, params):
        source, target = lattice.edges(offset)
        coupling = coupling.reshape(-1, levels, levels)
        edge = jnp.arange(len(source))
        logits = logits.at[:, source].add(coupling.swapaxes(1, 2)[edge, flat[:, target]])
        logits = logits.at[:, target].add(coupling[edge, flat[:, source]])
    return logits.reshape(*x.shape, levels)


def log_pseudo_likelihood(
    lattice: Lattice,
    params: Params,
    x: UInt8[Array, "n H W"],
    field: Float[Array, "n H W L"] | None = None,
    beta: float = 1.0,
) -> Float[Array, "n"]:
    """sum_i log p(x_i | rest), in nats an image (Besag 1975): it needs no partition function."""
    log_p = jax.nn.log_softmax(beta * conditional_logits(lattice, params, x, field))
    return jnp.take_along_axis(log_p, x[..., None].astype(jnp.int32), axis=-1).sum((1, 2, 3))
