"""What is measured of trained networks: always from the inputs alone, never with a label in sight.

Cold start: the forward pass, relaxed. Warm start: the persistent states of training, relaxed. A network that has learnt
its task answers from the cold; one that only keeps its answers in the states does not.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxgen import data, runs, training
from jaxgen.energy_learning.estimators import Model, free_phase
from jaxgen.energy_learning.minimiser import Minimiser
from jaxgen.energy_learning.network import Params, States
from jaxgen.energy_learning.schemes import SCHEMES
from jaxgen.energy_learning.task import EnergyTask, Examples

BATCH = 2000
TARGETS = {("mnist", "ep_centred"): ">= 98.0", ("mnist", "pc_soft_nudge"): ">= 98.3"}


class Evaluation(NamedTuple):
    """Of each network: share of wrong answers, mean cost, mean energy, and the outputs (networks, n, K)."""

    error: Float[np.ndarray, "networks"]
    cost: Float[np.ndarray, "networks"]
    energy: Float[np.ndarray, "networks"]
    output: Float[np.ndarray, "networks n K"]


def evaluate(task: EnergyTask, params: Params, examples: Examples, carry: States | None = None) -> Evaluation:
    """Answers at the free equilibrium, from the cold start or from the states in `carry`."""
    found = []
    for rows in data.evaluation_slices(len(examples.x), BATCH if carry is None else len(examples.x)):
        found.append(_free(task.model, inference(task), params, examples.x[rows], examples.y[rows], carry))
    output, cost, energy = (np.concatenate([np.asarray(one[i]) for one in found], axis=1) for i in range(3))
    wrong = output.argmax(2) != np.asarray(examples.y.argmax(1))
    return Evaluation(wrong.mean(1), cost.mean(1), energy.mean(1), output)


def inference(task: EnergyTask) -> Minimiser:
    """How an answer is relaxed: like the free phase, but not at all where the forward pass is what was trained."""
    return task.settings.phases.free if SCHEMES[task.config.scheme].feedback else Minimiser(0)


def evaluation_hook(task: EnergyTask) -> Callable[[int, training.TrainState], dict[str, float]]:
    """A hook for `fit`: label-free error, cost and energy on the validation examples, means over the networks.

    `solved` is the share of networks without a wrong answer.
    """

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
        return {name: float(value) for name, value in values.items()}

    return hook


def free_states(task: EnergyTask, params: Params, x: Float[Array, "n inputs"]) -> States:
    """The label-free equilibrium from the cold start, of stacked networks: (n, networks, units)."""

    def one(params: Params) -> States:
        drive = task.model.drive(params, x)
        return free_phase(task.model, inference(task), params, drive, None)[0]

    return jax.vmap(one, out_axes=1)(params)


def result_rows(task: EnergyTask, state: training.TrainState, records: Sequence[dict]) -> list[runs.Row]:
    """The numbers of the record: label-free, on the test examples, over all networks; then how training went."""
    config, last = task.config, records[-1]
    cold = evaluate(task, state.params, task.test)
    n, examples = len(cold.error), len(task.test.x)
    each = ", ".join(f"{100 * (1 - error):.2f}" for error in cold.error)
    rows = [
        runs.Row(
            "label-free accuracy, cold start",
            100 * (1 - cold.error.mean()),
            "%",
            TARGETS.get((config.dataset, config.scheme), ""),
            f"{examples} examples; each network: {each}",
        ),
        runs.Row("label-free cost, cold start", float(cold.cost.mean())),
    ]
    if config.dataset == "xor":
        solved = int((cold.error == 0).sum())
        rows.insert(0, runs.Row("networks that solve it label-free, cold start", f"{solved} of {n}", "", "9 of 10"))
    if state.carry is not None:
        warm = evaluate(task, state.params, task.train, state.carry)
        rows.append(runs.Row("label-free accuracy, warm start", 100 * (1 - warm.error.mean()), "%"))
    for name in ("free_residual", "nudged_residual"):
        if name in last:
            sweeps = last[name.replace("residual", "sweeps")]
            rows.append(runs.Row(name.replace("_", " "), last[name], "", "", f"after {sweeps:.1f} sweeps, last epoch"))
    if "images_per_s" in last:
        speeds = sorted(record["images_per_s"] for record in records if "images_per_s" in record)
        seconds = len(task.train.x) / speeds[len(speeds) // 2]
        rows.append(runs.Row("time an epoch, training alone", seconds, "s", "", f"median; {config.epochs} epochs"))
    return rows


@functools.partial(jax.jit, static_argnums=(0, 1))
def _free(model: Model, minimiser: Minimiser, params: Params, x: Array, y: Array, carry: States | None):
    def one(params: Params, carry: States | None):
        drive = model.drive(params, x)
        states, _ = free_phase(model, minimiser, params, drive, carry)
        output = model.output(params, states)
        return output, model.cost.value(output, y), model.energy(params, x, states)

    return jax.vmap(one, in_axes=(0, 1))(params, carry)
