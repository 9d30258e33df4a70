"""Costs: what the output should be.

    squared error:    C = 1/2 |o - y|^2,                     gradient o - y
    cross-entropy:    C = - sum_k y_k log softmax(o)_k,      gradient softmax(o) sum_k y_k - y

o is (batch, K), y the target (batch, K), for labels one-hot. The gradients are written out because they must be
holomorphic in o: equilibrium propagation on roots of unity runs them on complex states.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact


class Cost(NamedTuple):
    """A differentiable cost of the outputs.

    Attributes:
        value: (outputs, targets) -> cost of each example, (batch,).
        gradient: (outputs, targets) -> dC/do, (batch, K).
        curvature: c, if C is exactly quadratic with Hessian c I; else 0.
        logits: whether outputs are logits, read by one more affine layer, rather than states of units.
    """

    value: Callable[[Array, Array], Array]
    gradient: Callable[[Array, Array], Array]
    curvature: float
    logits: bool


def _squared(o: Inexact[Array, "batch K"], y: Inexact[Array, "batch K"]) -> Inexact[Array, "batch"]:
    return 0.5 * ((o - y) ** 2).sum(1)


def _cross_entropy(o: Inexact[Array, "batch K"], y: Inexact[Array, "batch K"]) -> Inexact[Array, "batch"]:
    return -(y * jax.nn.log_softmax(o)).sum(1)


def _cross_entropy_gradient(o: Inexact[Array, "batch K"], y: Inexact[Array, "batch K"]) -> Inexact[Array, "batch K"]:
    weight = jnp.exp(o - jax.lax.stop_gradient(o.real.max(1, keepdims=True)))
    return weight / weight.sum(1, keepdims=True) * y.sum(1, keepdims=True) - y


squared_error = Cost(_squared, lambda o, y: o - y, 1.0, False)
cross_entropy = Cost(_cross_entropy, _cross_entropy_gradient, 0.0, True)
COSTS = {"squared_error": squared_error, "cross_entropy": cross_entropy}
