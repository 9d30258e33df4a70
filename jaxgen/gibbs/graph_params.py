"""The parameters of a model on a `Graph`, read by their shapes.

    E(x) = - sum_i b_i[x_i] - sum_(i,j) W_ij[x_i, x_j]               x_i in 0..L_i - 1,  p(x) ~ exp(-beta E(x))
    E(s) = - sum_i b_i s_i  - sum_(i,j) J_ij s_i s_j                 spins s_i = 2 x_i - 1

    {"bias": (n, L), "coupling": (E, L, L)}       one matrix W_ij per edge, in the edge's direction
    {"bias": (n, L), "coupling": (E,)}            tied: W_ij = w_ij delta(x_i, x_j)
    {"bias": (n,),   "coupling": (E,)}            spins: all sites have two levels

L is the most levels of any site; entries of levels that a site does not have are not read. The first form holds
THRML's factor weights, the third the biases and weights of its `IsingEBM`. An entry of -inf forbids a level or a pair
of levels.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.couplings import edge_couplings, is_tied, n_levels
from jaxgen.gibbs.graph import Graph, lattice_edges
from jaxgen.gibbs.lattice import Lattice

GraphParams = Mapping


def is_spin(params: GraphParams) -> bool:
    """Return whether biases and couplings multiply spins s = -1, 1."""
    return params["bias"].ndim == 1


def check_graph_params(graph: Graph, params: GraphParams) -> None:
    """Raise UserError naming the entry if the tree or a shape does not fit the graph."""
    missing = {"bias", "coupling"} - set(params)
    if missing:
        raise UserError(f"params has entries {sorted(params)}; allowed: 'bias' and 'coupling'")
    bias, coupling = params["bias"], params["coupling"]
    n, edges, levels = graph.n_sites, graph.n_edges, graph.max_levels
    biases = [(n, levels)] + [(n,)] * (levels == 2)
    if bias.shape not in biases:
        raise UserError(f"params['bias'] has shape {bias.shape}; allowed: {' or '.join(map(str, biases))}")
    shape = getattr(coupling, "shape", type(coupling).__name__)
    couplings = [(edges,)] + [(edges, levels, levels)] * (bias.ndim == 2)
    if shape not in couplings:
        raise UserError(f"params['coupling'] has shape {shape}; allowed: {' or '.join(map(str, couplings))}")


def edge_matrices(graph: Graph, params: GraphParams) -> GraphParams:
    """Return the same model with one L x L matrix per edge: {"bias": (n, L), "coupling": (E, L, L)}."""
    bias, coupling = params["bias"], params["coupling"]
    if is_spin(params):
        signs = jnp.array([-1.0, 1.0])
        return {"bias": bias[:, None] * signs, "coupling": coupling[:, None, None] * jnp.outer(signs, signs)}
    if coupling.ndim == 1:
        coupling = jnp.where(jnp.eye(graph.max_levels, dtype=bool), coupling[:, None, None], 0.0)
    return {"bias": bias, "coupling": coupling}


def from_lattice_params(lattice: Lattice, params: dict) -> GraphParams:
    """Return the parameters of a lattice model for `Graph.from_lattice(lattice)`. Tied couplings stay tied."""
    levels = n_levels(params)
    edges, number, reversed_ = lattice_edges(lattice)
    if is_tied(params):
        edges_per_offset = np.array([np.prod(lattice.edge_shape(offset)) for offset in lattice.offsets], int)
        coupling = jnp.repeat(params["coupling"], edges_per_offset, total_repeat_length=len(number))
    else:
        each = [coupling.reshape(-1, levels, levels) for _, coupling in edge_couplings(lattice, params)]
        coupling = jnp.concatenate([jnp.zeros((0, levels, levels)), *each])
        if reversed_.any():
            coupling = jnp.where(reversed_[:, None, None], coupling.swapaxes(1, 2), coupling)
    if len(edges) < len(number):
        coupling = jnp.zeros((len(edges), *coupling.shape[1:])).at[number].add(coupling)
    return {"bias": params["bias"].reshape(-1, levels), "coupling": coupling}


def graph_energy(graph: Graph, params: GraphParams, x: UInt8[Array, "chains n"]) -> Float[Array, "chains"]:
    """Return E(x) of every chain. It is linear in `params` and differentiable in them.

    Raises UserError if x has another number of sites.
    """
    if jnp.ndim(x) != 2 or x.shape[1] != graph.n_sites:
        raise UserError(f"x has shape {jnp.shape(x)}; allowed: (chains, {graph.n_sites})")
    params = edge_matrices(graph, params)
    first, second = graph.edges.T
    sites, edges = jnp.arange(graph.n_sites), jnp.arange(graph.n_edges)
    x = jnp.asarray(x).astype(jnp.int32)
    return -params["bias"][sites, x].sum(1) - params["coupling"][edges, x[:, first], x[:, second]].sum(1)


def spins(x: Integer[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return s = 2 x - 1 as float32."""
    return 2.0 * x.astype(jnp.float32) - 1.0
