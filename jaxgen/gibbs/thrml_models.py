"""THRML models on the fast engine, and their states back.

    model = gibbs.from_thrml(program)                        a FactorSamplingProgram, an IsingEBM or a FactorizedEBM
    x = model.pack(init_state, clamped_state)                THRML's lists of block states -> uint8 (chains, sites)
    x, info = gibbs.sample(key, model.graph, model.params, x, 1000, clamp=model.clamp)
    free_state, clamped_state = model.unpack(x)              in THRML's order and dtypes

A spin s = -1, 1 is level 0, 1; a spin factor J s s' is the matrix [[J, -J], [-J, J]]. THRML keeps a program as directed
interactions, each edge once from either end; the two are compared and joined into one undirected edge.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped, UInt8
from thrml import Block
from thrml.block_sampling import BlockSamplingProgram
from thrml.models import CategoricalGibbsConditional, IsingEBM, SpinGibbsConditional
from thrml.models.discrete_ebm import DiscreteEBMInteraction
from thrml.models.ebm import AbstractFactorizedEBM
from thrml.pgm import DEFAULT_NODE_SHAPE_DTYPES, AbstractNode

from jaxgen.errors import UserError
from jaxgen.gibbs.arguments import as_array, check_levels, type_name
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.graph_params import GraphParams
from jaxgen.gibbs.thrml_factors import WAY_ROUND, Term, check_loops, check_order, factor_term, numpy_for, scatter_add


class ThrmlModel(NamedTuple):
    """A THRML model as graph and parameters, and how its states are arranged.

    graph, params: for `gibbs.sample`; params hold THRML's beta. clamp: the nodes of clamped blocks, None if there are
    none. nodes: THRML's node at every site. free_blocks, clamped_blocks: as in the program; all nodes in one free block
    for a model without blocks. dtypes: of the state of every type of node.
    """

    graph: Graph
    params: GraphParams
    clamp: Bool[np.ndarray, "sites"] | None
    nodes: tuple[AbstractNode, ...]
    free_blocks: tuple[Block, ...]
    clamped_blocks: tuple[Block, ...]
    dtypes: dict

    def sites(self, block: Block | Sequence[AbstractNode]) -> np.ndarray:
        """Return the sites of the nodes of a block; UserError for a node that is not in the model."""
        number = {node: i for i, node in enumerate(self.nodes)}
        missing = [node for node in block if node not in number]
        if missing:
            raise UserError(
                f"block has {len(missing)} of {len(block)} nodes not in the model; allowed: nodes of the model"
            )
        return np.array([number[node] for node in block], int)

    def pack(self, free_state: Sequence[Array], clamped_state: Sequence[Array] = ()) -> UInt8[Array, "chains sites"]:
        """Return block states (block,) or (chains, block), bool for spins, as states of `gibbs.sample`.

        Clamped states may lack the axis of chains. UserError for lists, shapes or dtypes that do not fit the blocks
        and, outside jit, for states beyond the levels.
        """
        for name, states in (("free_state", free_state), ("clamped_state", clamped_state)):
            if not isinstance(states, list | tuple):
                raise UserError(f"{name} is a {type(states).__name__}; allowed: a list of arrays, one per block")
        blocks = (*self.free_blocks, *self.clamped_blocks)
        given = [as_array(f"state {k}", state) for k, state in enumerate((*free_state, *clamped_state))]
        wanted = [len(self.free_blocks), len(self.clamped_blocks)]
        if [len(free_state), len(clamped_state)] != wanted:
            raise UserError(
                f"states: {len(free_state)} free and {len(clamped_state)} clamped blocks; allowed: {wanted[0]} and "
                f"{wanted[1]}, as in the program"
            )
        for k, (block, state) in enumerate(zip(blocks, given, strict=True)):
            if not (state.dtype == bool or jnp.issubdtype(state.dtype, jnp.integer)):
                raise UserError(f"state {k} has dtype {state.dtype}; allowed: bool for spins, integers for levels")
            if state.ndim not in (1, 2) or state.shape[-1] != len(block):
                raise UserError(
                    f"state {k} has shape {state.shape}; allowed: ({len(block)},) or (chains, {len(block)})"
                )
        chains = max([len(state) for state in given if state.ndim == 2], default=1)
        x = jnp.zeros((chains, self.graph.n_sites), jnp.uint8)
        for block, state in zip(blocks, given, strict=True):
            sites = self.sites(block)
            check_levels(state, self.graph.levels[sites])
            x = x.at[:, sites].set(jnp.asarray(state).astype(jnp.uint8))
        return x

    def unpack(self, x: UInt8[Array, "chains sites"]) -> tuple[list[Array], list[Array]]:
        """Return the states as THRML has them: of the free blocks and of the clamped blocks, each (chains, block)."""
        return tuple([self.state(x, block) for block in blocks] for blocks in (self.free_blocks, self.clamped_blocks))

    def state(
        self, x: UInt8[Array, "chains sites"], block: Block | Sequence[AbstractNode]
    ) -> Shaped[Array, "chains block"]:
        """Return the states of any nodes of one type, in their order and in THRML's dtype.

        UserError for a node that is not in the model, or if x has another number of sites.
        """
        if jnp.ndim(x) != 2 or jnp.shape(x)[1] != self.graph.n_sites:
            raise UserError(f"x has shape {jnp.shape(x)}; allowed: (chains, {self.graph.n_sites})")
        return jnp.asarray(x)[:, self.sites(block)].astype(self.dtypes[type(block[0])])


def from_thrml(model: BlockSamplingProgram | AbstractFactorizedEBM) -> ThrmlModel:
    """Return graph and parameters of a THRML model of spins and categorical nodes with factors of one or two nodes.

    A program keeps its blocks, as colours where they are a proper colouring, and its clamped blocks. Weights may be
    traced. Repeated factors add up. An `IsingEBM`, or a program of spins only, has spin parameters.

    Raises UserError naming what cannot be taken: factors of three or more nodes, factors or samplers of other classes,
    other node types, a node joined to itself, interactions that differ between the two ends of an edge.
    """
    if isinstance(model, AbstractFactorizedEBM):
        terms = [factor_term(factor) for factor in model.factors]
        nodes = list(dict.fromkeys(node for term in terms for group in term.nodes for node in group))
        if isinstance(model, IsingEBM):
            nodes = list(dict.fromkeys([*model.nodes, *nodes]))
        dtypes = _dtypes({type(node) for node in nodes}, model.node_shape_dtypes)
        return _build(nodes, terms, (), (tuple(nodes),), (), dtypes, {})
    if isinstance(model, BlockSamplingProgram):
        return _from_program(model)
    raise UserError(
        f"model is a {type_name(model)}; allowed: FactorSamplingProgram, IsingEBM or another FactorizedEBM of THRML"
    )


def _dtypes(types: set, node_shape_dtypes: dict) -> dict:
    """Return the dtype of the state of each node type; UserError for types that are neither spins nor categorical."""
    dtypes = {}
    for node_type in types:
        shape = (dict(DEFAULT_NODE_SHAPE_DTYPES) | dict(node_shape_dtypes)).get(node_type)
        scalar = isinstance(shape, jax.ShapeDtypeStruct) and shape.shape == ()
        if not scalar or not (shape.dtype == bool or jnp.issubdtype(shape.dtype, jnp.unsignedinteger)):
            raise UserError(
                f"nodes of type {node_type.__name__} have the state {shape}; allowed: one bool (spins) or one unsigned "
                f"integer (categorical). Otherwise {WAY_ROUND}"
            )
        dtypes[node_type] = shape.dtype
    return dtypes


def _is_spin_node(node: AbstractNode, dtypes: dict) -> bool:
    return jnp.issubdtype(dtypes[type(node)], jnp.bool_)


def _from_program(program: BlockSamplingProgram) -> ThrmlModel:
    spec = program.gibbs_spec
    nodes = [node for block in spec.blocks for node in block.nodes]
    dtypes = _dtypes({type(node) for node in nodes}, spec.node_shape_struct)
    at = {place: node for node, place in spec.node_global_location_map.items()}
    levels = {}
    for block, sampler in zip(spec.free_blocks, program.samplers, strict=True):
        if type(sampler) not in (SpinGibbsConditional, CategoricalGibbsConditional):
            raise UserError(
                f"sampler {type(sampler).__name__} is not one of THRML's discrete conditionals; allowed: "
                f"SpinGibbsConditional, CategoricalGibbsConditional. Otherwise {WAY_ROUND}"
            )
        if isinstance(sampler, CategoricalGibbsConditional):
            levels.update(dict.fromkeys(block.nodes, sampler.n_categories))
    terms = [term for k in range(len(spec.free_blocks)) for term in _program_terms(program, k, at, dtypes)]
    check_loops(terms)
    free = {node for block in spec.free_blocks for node in block.nodes}
    colours = tuple(tuple(node for k in group for node in spec.free_blocks[k].nodes) for group in spec.sampling_order)
    blocks = (tuple(spec.free_blocks), tuple(spec.clamped_blocks))
    return _build(nodes, _undirected(terms, free), colours, *blocks, dtypes, levels)


def _program_terms(program: BlockSamplingProgram, k: int, at: dict, dtypes: dict) -> Iterator[Term]:
    """Return the interactions seen by the nodes of free block k: biases, and pairs with the node of the block first."""
    block = program.gibbs_spec.free_blocks[k]
    parts = (
        program.per_block_interactions,
        program.per_block_interaction_active,
        program.per_block_interaction_global_inds,
        program.per_block_interaction_global_slices,
    )
    for interaction, active, inds, slices in zip(*(part[k] for part in parts), strict=True):
        if not isinstance(interaction, DiscreteEBMInteraction):
            raise UserError(
                f"interaction {type(interaction).__name__} is none of THRML's discrete factors; allowed: "
                f"DiscreteEBMInteraction. Otherwise {WAY_ROUND}"
            )
        check_order("a factor of the program", 1 + len(inds))
        head, slot = np.nonzero(np.asarray(active))
        heads = [block.nodes[i] for i in head]
        groups = [[at[ind, int(p)] for p in np.asarray(s)[head, slot]] for ind, s in zip(inds, slices, strict=True)]
        spin = tuple(_is_spin_node(group[0], dtypes) for group in (heads, *groups))
        weights = interaction.weights
        yield Term((heads, *groups), spin, (weights if numpy_for(weights) is jnp else np.asarray(weights))[head, slot])


def _undirected(terms: list[Term], free: set) -> list[Term]:
    """Return each edge from one end; UserError where its two ends see different weights."""
    first_ends, back = [], []
    number = {}
    for term in terms:
        if len(term.nodes) == 1:
            first_ends.append(term)
            continue
        first, second = term.nodes
        for node in (*first, *second):
            number.setdefault(node, len(number))
        forward = np.array([b not in free or number[a] < number[b] for a, b in zip(first, second, strict=True)], bool)
        for chosen, into in ((forward, first_ends), (~forward, back)):
            rows = np.flatnonzero(chosen)
            if len(rows):
                ends = tuple([group[r] for r in rows] for group in term.nodes)
                into.append(Term(ends, term.spin, term.weights[rows]))
    _check_symmetry([t for t in first_ends if len(t.nodes) == 2], back, free)
    return first_ends


def _check_symmetry(forward: list[Term], back: list[Term], free: set) -> None:
    if numpy_for(*(term.weights for term in (*forward, *back))) is jnp:
        return
    levels = max([2, *(size for term in (*forward, *back) for size in term.weights.shape[1:])])
    total = {}
    for sign, terms in ((1, forward), (-1, back)):
        for term in terms:
            matrices = np.asarray(term.matrices(levels), np.float64)
            for a, b, matrix in zip(*term.nodes, matrices, strict=True):
                if a in free and b in free:
                    pair, matrix = ((a, b), matrix) if sign > 0 else ((b, a), matrix.T)
                    difference, size = total.get(pair, (0.0, 0.0))
                    total[pair] = (difference + sign * matrix, size + np.abs(matrix).max())
    for difference, size in total.values():
        if np.abs(difference).max() > 1e-5 * size:
            raise UserError(
                "program: the two nodes of an edge see different weights, so it samples no energy; allowed: the "
                "interactions of THRML's factors. Build it from factors without other_interaction_groups"
            )


def _build(nodes, terms, colours, free_blocks, clamped_blocks, dtypes, levels) -> ThrmlModel:
    number = {node: i for i, node in enumerate(nodes)}
    for term in terms:
        for group, spin, size in zip(term.nodes, term.spin, _sizes(term), strict=True):
            for node in group:
                levels[node] = 2 if spin else max(levels.get(node, 2), size)
    most = max([2, *levels.values()])
    of_node = [levels.get(node, 2 if _is_spin_node(node, dtypes) else most) for node in nodes]
    singles, pairs = ([t for t in terms if len(t.nodes) == order] for order in (1, 2))
    edges, place, turned = _edges(pairs, number)
    spins = all(_is_spin_node(node, dtypes) for node in nodes) and all(all(term.spin) for term in terms)
    shape = () if spins else (most,)
    at_sites = [np.array([number[node] for node in term.nodes[0]], int) for term in singles]
    biases = [term.weights if spins else term.matrices(most) for term in singles]
    weights = [term.weights if spins else term.matrices(most) for term in pairs]
    ends = np.cumsum([len(w) for w in weights], dtype=int)
    if not spins:
        turned = np.split(turned[:, None, None], ends[:-1]) if pairs else []
        weights = [numpy_for(w).where(t, w.swapaxes(1, 2), w) for w, t in zip(weights, turned, strict=True)]
    at_edges = np.split(place, ends[:-1]) if pairs else []
    bias = scatter_add((len(nodes), *shape), at_sites, biases)
    coupling = scatter_add((len(edges), *shape, *shape), at_edges, weights)
    of_colour = {node: c for c, group in enumerate(colours) for node in group}
    colouring = np.array([of_colour.get(node, len(colours)) for node in nodes])
    proper = bool(colours) and np.all(colouring[edges[:, 0]] != colouring[edges[:, 1]])
    graph = Graph(edges, len(nodes), of_node, colouring if proper else None)
    held = {node for block in clamped_blocks for node in block.nodes}
    clamp = np.array([node in held for node in nodes]) if held else None
    params = {"bias": bias, "coupling": coupling}
    return ThrmlModel(graph, params, clamp, tuple(nodes), free_blocks, clamped_blocks, dtypes)


def _sizes(term: Term) -> list[int]:
    """Return the number of levels on each side, as the weights have it."""
    rest = iter(term.weights.shape[1:])
    return [2 if spin else next(rest) for spin in term.spin]


def _edges(pairs: list[Term], number: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct edges (E, 2), and each pair's edge and whether the pair has the opposite direction."""
    ends = [[(number[a], number[b]) for a, b in zip(*term.nodes, strict=True)] for term in pairs]
    ends = np.array([pair for group in ends for pair in group], int).reshape(-1, 2)
    turned = ends[:, 0] > ends[:, 1]
    edges, place = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    return edges, place.ravel(), turned
