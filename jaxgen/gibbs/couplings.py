"""The parameter tree of a Potts model on a lattice, read by its shapes.

    E(x) = - sum_i b_i[x_i] - sum_(i,j) W_ij[x_i, x_j]          x_i in 0..L-1,  p(x) proportional to exp(-beta E(x))

    params = {"bias": (H, W, L), "coupling": {offset_name: (h, w, L, L)}}       one matrix per edge
    params = {"bias": (H, W, L), "coupling": (n_offsets,)}                      tied: W_ij = w_offset delta(x_i, x_j)

This is THRML's convention, so a coupling array reshaped to (edges, L, L) is the weight tensor of a THRML factor.
"""

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxgen.errors import UserError
from jaxgen.gibbs.lattice import Lattice, Offset, offset_name

Params = Mapping


def is_tied(params: Params) -> bool:
    """Return whether there is one coupling strength per offset, rather than one L x L matrix per edge."""
    return not isinstance(params["coupling"], Mapping)


def n_levels(params: Params) -> int:
    """Return L, the number of levels of the parameters."""
    return params["bias"].shape[-1]


def edge_couplings(lattice: Lattice, params: Params) -> Iterator[tuple[Offset, Float[Array, "h w L L"]]]:
    """Yield every offset of the lattice, in its order, with W_ij[x_i, x_j] of all its edges; tied or not."""
    levels = n_levels(params)
    for k, offset in enumerate(lattice.offsets):
        if is_tied(params):
            shape = (*lattice.edge_shape(offset), levels, levels)
            matrix = jnp.where(jnp.eye(levels, dtype=bool), params["coupling"][k], 0.0)  # a product makes -inf NaN
            yield offset, jnp.broadcast_to(matrix, shape)
        else:
            yield offset, params["coupling"][offset_name(offset)]


def check_params(lattice: Lattice, params: Params) -> None:
    """Raise UserError naming the entry if the tree or a shape does not fit the lattice."""
    missing = {"bias", "coupling"} - set(params)
    if missing:
        raise UserError(f"params has entries {sorted(params)}; allowed: 'bias' and 'coupling'")
    bias, coupling = params["bias"], params["coupling"]
    if bias.ndim != 3 or bias.shape[:2] != (lattice.height, lattice.width) or not 2 <= bias.shape[2] <= 256:
        raise UserError(
            f"params['bias'] has shape {bias.shape}; allowed: ({lattice.height}, {lattice.width}, L), L in 2..256"
        )
    levels = bias.shape[2]
    if is_tied(params):
        _check_shape("coupling", coupling, (len(lattice.offsets),))
        return
    names = [offset_name(offset) for offset in lattice.offsets]
    if sorted(coupling) != sorted(names):
        raise UserError(f"params['coupling'] has offsets {sorted(coupling)}; allowed on this lattice: {sorted(names)}")
    for name, offset in zip(names, lattice.offsets, strict=True):
        _check_shape(f"coupling']['{name}", coupling[name], (*lattice.edge_shape(offset), levels, levels))


def _check_shape(name: str, array: Shaped[Array, "..."], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise UserError(f"params['{name}'] has shape {array.shape}; allowed: {shape}")
