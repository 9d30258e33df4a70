"""Models on a graph as THRML programs, the way back from `from_thrml`."""

import numpy as np
from thrml import Block, BlockGibbsSpec, CategoricalNode, FactorSamplingProgram, SpinNode
from thrml.models import (
    CategoricalEBMFactor,
    CategoricalGibbsConditional,
    SpinEBMFactor,
    SpinGibbsConditional,
    SquareCategoricalEBMFactor,
)
from thrml.pgm import AbstractNode

from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.graph_params import GraphParams, edge_matrices, is_spin


def to_thrml(graph: Graph, params: GraphParams) -> tuple[FactorSamplingProgram, list[AbstractNode]]:
    """Return a THRML program of the model, one free block per colour and number of levels, and its node at every site.

    Spin parameters give SpinNodes and SpinEBMFactors, others CategoricalNodes and CategoricalEBMFactors.
    """
    spins = is_spin(params)
    nodes = [(SpinNode if spins else CategoricalNode)() for _ in range(graph.n_sites)]

    def block(sites):
        return Block([nodes[i] for i in sites])

    first, second = graph.edges.T
    if spins:
        factors = [SpinEBMFactor([block(range(graph.n_sites))], params["bias"])]
        if graph.n_edges:
            factors.append(SpinEBMFactor([block(first), block(second)], params["coupling"]))
    else:
        full, factors = edge_matrices(graph, params), []
        for levels in np.unique(graph.levels):
            sites = np.flatnonzero(graph.levels == levels)
            factors.append(CategoricalEBMFactor([block(sites)], full["bias"][sites, :levels]))
        sizes = np.stack([graph.levels[first], graph.levels[second]], 1)
        for here, there in np.unique(sizes, axis=0):
            e = np.flatnonzero((sizes == (here, there)).all(1))
            kind = SquareCategoricalEBMFactor if here == there else CategoricalEBMFactor  # the first is faster
            factors.append(kind([block(first[e]), block(second[e])], full["coupling"][e, :here, :there]))
    groups, samplers = [], []
    for colour in range(graph.n_colours):
        parts = []
        for levels in np.unique(graph.levels[graph.colouring == colour]):
            parts.append(block(np.flatnonzero((graph.colouring == colour) & (graph.levels == levels))))
            samplers.append(SpinGibbsConditional() if spins else CategoricalGibbsConditional(int(levels)))
        groups.append(tuple(parts))
    return FactorSamplingProgram(BlockGibbsSpec(groups, []), samplers, factors, []), nodes
