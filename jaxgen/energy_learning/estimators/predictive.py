"""Gradients from predictive coding with the output moved towards the target.

    z_L = z_L^0 - beta dC/dz_L^0,   z^0 the forward pass;   for the squared error and beta = 1, z_L = y

    equilibrium        dF/d theta at the minimum over z_1 ... z_{L-1}, beta = 1        Whittington and Bogacz (2017)
    hard nudge         the same for any beta, divided by beta. Not backprop even as beta -> 0: its limit is backprop
                       with the output's delta replaced by S^-1 delta, S = sum_l J_{L<-l} J_{L<-l}^T, J_{L<-L} = I
    Z-IL               gamma = 1, all layers at once, layer l learns after L - l sweeps: equal to backprop
                       (Song et al., 2020, theorem 3.5)
    fixed prediction   p_l and J_l stay those of the forward pass while the errors relax,
                       e_l <- e_l - gamma (e_l - J_{l+1}^T e_{l+1}): equal to backprop at equilibrium
                       (Millidge et al., 2022, section 3)

The soft nudge, F + beta C with z_L free, is `equilibrium_propagation` on the energy of predictive coding.
"""

import dataclasses

from jaxtyping import Array, ArrayLike, Float

from jaxgen.energy_learning.energies.hopfield import Phase
from jaxgen.energy_learning.energies.minimiser import Minimiser
from jaxgen.energy_learning.energies.network import Params, States
from jaxgen.energy_learning.energies.predictive_coding import PredictiveCoding
from jaxgen.energy_learning.estimators.equilibrium import check_held, free_metrics
from jaxgen.training.step import GradFn


def hard_nudge(model: PredictiveCoding, beta: Float[ArrayLike, ""], minimiser: Minimiser) -> GradFn:
    """Return the estimator dF/d theta / beta with the output moved by -beta dC/dz_L and held; 0 < beta <= 1."""
    check_held(beta)

    def grad_fn(params: Params, carry: None, key: Array | None, batch: dict[str, Array]):
        drive, forward, pull = _forward(model, params, batch)
        held = (*forward[:-1], forward[-1] + beta * pull)
        states, info = minimiser(model.sweep(params, drive, clamped=True), held)
        grads = model.gradient(params, batch["x"], drive, [Phase(1 / beta, states, None)])
        return grads, carry, free_metrics(model, params, batch, forward, {"nudged": info})

    return grad_fn


def pc_equilibrium(model: PredictiveCoding, minimiser: Minimiser) -> GradFn:
    """Return the usual predictive coding: the output at the target (squared error), inference to equilibrium."""
    return hard_nudge(model, 1.0, minimiser)


def z_il(model: PredictiveCoding, step_size: float = 1.0) -> GradFn:
    """Return zero-divergence inference learning; it equals backprop for step_size = 1 only."""
    model = dataclasses.replace(model, synchronous=True, by_errors=False, step_size=step_size)

    def grad_fn(params: Params, carry: None, key: Array | None, batch: dict[str, Array]):
        x = batch["x"]
        drive, forward, pull = _forward(model, params, batch)
        sweep = model.sweep(params, drive, clamped=True)
        states, each = (*forward[:-1], forward[-1] + pull), []
        for number in range(len(forward), 0, -1):
            error = states[number - 1] - model.prediction(params, drive, states, number)
            each.append(_local_gradient(model, params, x, drive, states, number, error))
            states = sweep(states) if number > 1 else states
        return model.network.gradients(each[::-1]), carry, free_metrics(model, params, batch, forward, {})

    return grad_fn


def fixed_prediction(model: PredictiveCoding, minimiser: Minimiser) -> GradFn:
    """Return the estimator with errors relaxed under predictions that are held at the forward pass."""

    def grad_fn(params: Params, carry: None, key: Array | None, batch: dict[str, Array]):
        drive, forward, pull = _forward(model, params, batch)

        def sweep(errors: States) -> States:
            new = list(errors)
            for number in range(len(errors), 1, -1):
                back = model.back_error(params, forward, number, new[number - 1])
                new[number - 2] = errors[number - 2] - model.step_size * (errors[number - 2] - back)
            return tuple(new)

        errors, info = minimiser(sweep, (*(0.0 * z for z in forward[:-1]), pull))
        each = [
            _local_gradient(model, params, batch["x"], drive, forward, number, e) for number, e in enumerate(errors, 1)
        ]
        return model.network.gradients(each), carry, free_metrics(model, params, batch, forward, {"nudged": info})

    return grad_fn


def _forward(model: PredictiveCoding, params: Params, batch: dict[str, Array]) -> tuple[Array, States, Array]:
    """Return a_1(x), the forward pass z^0 and - dC/dz_L^0."""
    drive = model.drive(params, batch["x"])
    forward = model.start(params, drive)
    return drive, forward, -model.cost.gradient(forward[-1], batch["y"])


def _local_gradient(
    model: PredictiveCoding, params: Params, x: Array, drive: Array, states: States, number: int, error: Array
) -> dict:
    """Return dF/d theta_l for a prediction from `states` and an error e_l, averaged over the batch."""
    force = model.local_force(params, drive, states, number, error) / x.shape[0]
    return model.network.weight_gradient(params, number, model.layer_input(x, states, number), force)
