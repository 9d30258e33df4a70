"""THRML's factors as batches of weights on one or two lists of nodes."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from thrml.models import DiscreteEBMFactor
from thrml.pgm import AbstractNode

from jaxgen.errors import UserError

WAY_ROUND = "sample this model with THRML itself"
_SIGNS = np.array([-1.0, 1.0])


class Term(NamedTuple):
    """Weights of a batch of factors on the same number of nodes: one entry per factor.

    nodes: lists of nodes, one or two. spin: whether each list is of spins. weights: first axis as long as the lists,
    then one axis per categorical list.
    """

    nodes: tuple[Sequence[AbstractNode], ...]
    spin: tuple[bool, ...]
    weights: Array

    def matrices(self, levels: int) -> Array:
        """Return b (factors, L) or W (factors, L, L), with spins written out and padded with zeros."""
        xp, weights, axis = numpy_for(self.weights), self.weights, 1
        for spin in self.spin:
            if spin:
                weights = xp.expand_dims(weights, axis) * _SIGNS.reshape([-1] + [1] * (weights.ndim - axis))
            axis += 1
        return xp.pad(weights, [(0, 0)] + [(0, levels - size) for size in weights.shape[1:]])


def numpy_for(*weights: Array):
    """Return numpy, which compiles nothing, unless an array is traced."""
    return jnp if any(isinstance(array, jax.core.Tracer) for array in weights) else np


def scatter_add(shape: tuple[int, ...], places: list[np.ndarray], values: list[Array]) -> Array:
    """Return zeros of a shape with every values[k] added at the rows places[k], in float32."""
    if numpy_for(*values) is jnp:
        total = jnp.zeros(shape)
        for place, value in zip(places, values, strict=True):
            total = total.at[place].add(value)
        return total
    total = np.zeros(shape)
    for place, value in zip(places, values, strict=True):
        np.add.at(total, place, np.asarray(value, np.float64))
    return jnp.asarray(total, jnp.float32)


def factor_term(factor) -> Term:
    """Return the term of a THRML factor. UserError for factors of another kind, of order above two or with loops."""
    if not isinstance(factor, DiscreteEBMFactor):
        raise UserError(
            f"factor {type(factor).__name__} is not one of THRML's discrete factors; allowed: DiscreteEBMFactor and "
            f"its subclasses. Otherwise {WAY_ROUND}"
        )
    groups = [*factor.spin_node_groups, *factor.categorical_node_groups]
    check_order(type(factor).__name__, len(groups))
    spin = (True,) * len(factor.spin_node_groups) + (False,) * len(factor.categorical_node_groups)
    weights = factor.weights
    term = Term(
        tuple(group.nodes for group in groups), spin, np.asarray(weights) if numpy_for(weights) is np else weights
    )
    check_loops([term])
    return term


def check_order(name: str, order: int) -> None:
    """Raise UserError if a factor joins more than two nodes."""
    if order > 2:
        raise UserError(
            f"{name} joins {order} nodes; allowed: one or two. Write it as pairs with an auxiliary categorical node "
            f"whose levels are the states of two of them, or {WAY_ROUND}"
        )


def check_loops(terms: Sequence[Term]) -> None:
    """Raise UserError if a factor joins a node to itself."""
    for term in terms:
        if len(term.nodes) == 2 and any(a == b for a, b in zip(*term.nodes, strict=True)):
            raise UserError(
                "model: a factor joins a node to itself; allowed: two different nodes. Write W[a, a] as a factor of "
                "that node alone"
            )
