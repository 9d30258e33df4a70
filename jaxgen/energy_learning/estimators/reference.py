"""The exact gradients that the local schemes are compared with.

backprop              dC(forward pass)/d theta, by automatic differentiation
recurrent backprop    dC(s*)/d theta at the free equilibrium s* = T(theta, s*), by the implicit function theorem:
                      lambda = (dT/ds)^T lambda + (dC/ds)^T,   gradient = (dT/d theta)^T lambda
                      (Almeida, 1987; Pineda, 1987)
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxgen.energy_learning.energies.model import Model
from jaxgen.energy_learning.energies.network import States
from jaxgen.energy_learning.estimators.equilibrium import Phases, free_metrics, free_phase, next_carry
from jaxgen.training.step import GradFn


def backprop(model: Model) -> GradFn:
    """Return the estimator with the gradient of the cost of the forward pass, the cold start."""

    def loss(params: PyTree, x: Array, y: Array):
        states = model.start(params, model.drive(params, x))
        return model.cost.value(model.output(params, states), y).mean(), states

    def grad_fn(params: PyTree, carry: None, key: Array | None, batch: dict[str, Array]):
        (_, states), grads = jax.value_and_grad(loss, has_aux=True)(params, batch["x"], batch["y"])
        return grads, carry, free_metrics(model, params, batch, states, {})

    return grad_fn


def recurrent_backprop(model: Model, phases: Phases) -> GradFn:
    """Return the exact gradient at the free equilibrium; the adjoint relaxes like a nudged phase."""

    def grad_fn(params: PyTree, carry: States | None, key: Array | None, batch: dict[str, Array]):
        x, y = batch["x"], batch["y"]
        drive = model.drive(params, x)
        free, info = free_phase(model, phases.free, params, drive, carry)

        def cost(params: PyTree, states: States) -> Array:
            return model.cost.value(model.output(params, states), y).sum() / x.shape[0]

        def sweep(params: PyTree, states: States) -> States:
            return model.sweep(params, model.drive(params, x))(states)

        direct, force = jax.grad(cost, argnums=(0, 1))(params, free)
        back = jax.vjp(sweep, params, free)[1]
        start = jax.tree.map(jnp.zeros_like, free)
        adjoint, nudged = phases.nudged(lambda adjoint: jax.tree.map(jnp.add, back(adjoint)[1], force), start)
        grads = jax.tree.map(jnp.add, direct, back(adjoint)[0])
        return (
            grads,
            next_carry(carry, free),
            free_metrics(model, params, batch, free, {"free": info, "nudged": nudged}),
        )

    return grad_fn
