"""What is measured of trained networks, always from the inputs alone, never with a label.

Cold start: the forward pass, relaxed. Warm start: the persistent states of training, relaxed. A network that has learnt
its task answers from the cold start; one that only stores its answers in the states does not.
"""

import functools
import typing
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxgen import data, training
from jaxgen.energy_learning.energies.minimiser import Minimiser
from jaxgen.energy_learning.energies.model import Model
from jaxgen.energy_learning.energies.network import Params, States
from jaxgen.energy_learning.estimators.equilibrium import free_phase
from jaxgen.energy_learning.reach import reach_of_errors
from jaxgen.energy_learning.schemes import SCHEMES

if typing.TYPE_CHECKING:
    from jaxgen.energy_learning.task import EnergyTask, Examples

BATCH = 2000


class Evaluation(NamedTuple):
    """Share of wrong answers, mean cost and mean energy of each network, and the outputs (networks, n, K)."""

    error: Float[np.ndarray, "networks"]
    cost: Float[np.ndarray, "networks"]
    energy: Float[np.ndarray, "networks"]
    output: Float[np.ndarray, "networks n K"]


def evaluate(task: "EnergyTask", params: Params, examples: "Examples", carry: States | None = None) -> Evaluation:
    """Return the answers at the free equilibrium, from the cold start or from the states in `carry`."""
    parts = []
    for rows in data.evaluation_slices(len(examples.x), BATCH if carry is None else len(examples.x)):
        parts.append(_free(task.model, inference(task), params, examples.x[rows], examples.y[rows], carry))
    output, cost, energy = (np.concatenate([np.asarray(part[i]) for part in parts], axis=1) for i in range(3))
    wrong = output.argmax(2) != np.asarray(examples.y.argmax(1))
    return Evaluation(wrong.mean(1), cost.mean(1), energy.mean(1), output)


def inference(task: "EnergyTask") -> Minimiser:
    """Return how an answer is relaxed: like the free phase, or not at all where the forward pass was trained."""
    return task.settings.phases.free if SCHEMES[task.config.scheme].feedback else Minimiser(0)


def evaluation_hook(task: "EnergyTask") -> training.Hook:
    """Return a hook for `fit`: label-free error, cost and energy on the validation examples, means over the networks.

    `solved` is the share of networks without a wrong answer. For predictive coding, `error_reach` says how much of its
    exact gradient the sweeps deliver to the layer that gets least; a value below 0.1 is warned of.
    """
    reach = reach_of_errors(task)

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        cold = evaluate(task, state.params, task.validation)
        values = {
            "cold_error": cold.error.mean(),
            "worst_cold_error": cold.error.max(),
            "cold_cost": cold.cost.mean(),
            "cold_energy": cold.energy.mean(),
            "solved": (cold.error == 0).mean(),
        }
        if state.carry is not None:
            values["warm_error"] = evaluate(task, state.params, task.train, state.carry).error.mean()
        if reach is not None:
            values["error_reach"] = reach(state.params)
        return {name: float(value) for name, value in values.items()}

    return hook


def free_states(task: "EnergyTask", params: Params, x: Float[Array, "n inputs"]) -> States:
    """Return the label-free equilibrium from the cold start of stacked networks: (n, networks, units)."""

    def relaxed(params: Params) -> States:
        drive = task.model.drive(params, x)
        return free_phase(task.model, inference(task), params, drive, None)[0]

    return jax.vmap(relaxed, out_axes=1)(params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _free(model: Model, minimiser: Minimiser, params: Params, x: Array, y: Array, carry: States | None):
    def read(params: Params, carry: States | None):
        drive = model.drive(params, x)
        states, _ = free_phase(model, minimiser, params, drive, carry)
        output = model.output(params, states)
        return output, model.cost.value(output, y), model.energy(params, x, states)

    return jax.vmap(read, in_axes=(0, 1))(params, carry)
