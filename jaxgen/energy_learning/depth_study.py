"""Predictive coding against depth: plain and residual networks, with as many sweeps as their depth asks for.

For every depth and form one network is trained by backprop and two by predictive coding with a centred soft nudge, all
from the same initial weights and on the same batches: one whose sweeps move the states, as many as it has layers, and
one whose single sweep moves the errors. Reported: accuracy without labels, and the error reach, the smallest share of
backprop's gradient that any layer gets (`reach.py`). Drawn: wrong answers and reach against depth, and how the energy
of a nudged equilibrium spreads over the layers,

    energy of layer l = 1/2 |e_l|^2 / beta^2,     mean over examples
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxgen import runs, training
from jaxgen.energy_learning.config import EnergyLearningConfig
from jaxgen.energy_learning.energies.hopfield import Nudge
from jaxgen.energy_learning.energies.network import Params
from jaxgen.energy_learning.estimators.equilibrium import nudged_phase
from jaxgen.energy_learning.evaluate import evaluate
from jaxgen.energy_learning.reach import reach_of_errors
from jaxgen.energy_learning.report import FAMILY
from jaxgen.energy_learning.task import EnergyTask
from jaxgen.errors import UserError
from jaxgen.training.task import check

SHARED = {
    "energy": "predictive_coding",
    "scheme": "pc_soft_nudge",
    "activation": "relu",
    "beta": 0.05,
    "nudged_sweeps": None,
    "batch_size": 128,
    "learning_rate": 0.001,
    "schedule": "cosine",
    "seeds": 1,
}
# Rectified units halve the mean square of what passes, for which plain networks need larger weights.
FORMS = {"residual": {"residual": True}, "plain": {"weight_scale": 1.2}}
BY_ERRORS = {"sweep": "errors", "step_size": 1.0}
_BY_ERRORS = ", by errors"
_PROBED = 256  # training examples whose energies are averaged


class Outcome(NamedTuple):
    """Of one depth and form: accuracies in %, error reach, sweeps per nudge and energies of the layers."""

    depth: int
    form: str
    accuracy: float
    backprop: float
    reach: float
    sweeps: int
    energies: Float[np.ndarray, "L"]


def settings(base: EnergyLearningConfig, depths: Sequence[int], width: int) -> dict[tuple[int, str], tuple]:
    """Return (depth, form and kind of sweep) -> (config of predictive coding, config of backprop).

    UserError for a depth below 2.
    """
    if min(depths) < 2:
        raise UserError(f"depths has {min(depths)}; allowed: integers, each 2 or more")
    pairs = {}
    for depth in depths:
        for form, special in FORMS.items():
            widths = ",".join([str(width)] * (depth - 1))
            local = dataclasses.replace(base, **SHARED, **special, widths=widths, eval_every=base.epochs)
            exact = dataclasses.replace(local, scheme="backprop")
            pairs[depth, form] = local, exact
            pairs[depth, form + _BY_ERRORS] = dataclasses.replace(local, **BY_ERRORS), exact
    return pairs


def prepare(base: EnergyLearningConfig, depths: Sequence[int], width: int) -> runs.Job:
    """Check the setting of every network; return the job that trains, compares and draws them."""
    pairs = settings(base, depths, width)
    for local, exact in pairs.values():
        check(EnergyTask.load(local))
        check(EnergyTask.load(exact))

    def job(folder: runs.RunFolder) -> runs.Report:
        outcomes = []
        for (depth, form), configs in pairs.items():
            task, params = _trained(configs[0], folder, f"{form}_{depth}".replace(_BY_ERRORS, "_errors"))
            # Trained once for both kinds of sweep: a finished run folder is read.
            exact_task, exact_params = _trained(configs[1], folder, f"{form.removesuffix(_BY_ERRORS)}_{depth}_backprop")
            outcomes.append(
                Outcome(
                    depth,
                    form,
                    _accuracy(task, params),
                    _accuracy(exact_task, exact_params),
                    reach_of_errors(task)(params),
                    task.settings.phases.nudged.iterations,
                    layer_energies(task, training.member(params, 0)),
                )
            )
            print(outcomes[-1], flush=True)
        depth_figure(folder.figures / "depth.png", outcomes)
        title = f"{base.dataset}, predictive coding against depth, {width} units per layer, {base.epochs} epochs"
        return runs.Report(title, FAMILY, [_row(outcome) for outcome in outcomes], [folder.figures / "depth.png"])

    return job


def layer_energies(task: EnergyTask, params: Params) -> Float[np.ndarray, "L"]:
    """Return 1/2 |e_l|^2 / beta^2 of every layer at the nudged equilibrium of one network, means over examples."""
    beta, model = task.settings.beta, task.model
    x, y = task.train.x[:_PROBED], task.train.y[:_PROBED]

    @jax.jit
    def energies(params: Params):
        drive = model.drive(params, x)
        states, _ = nudged_phase(model, task.settings.phases, params, drive, model.start(params, drive), Nudge(beta, y))
        return [0.5 * (e**2).reshape(len(x), -1).sum(1).mean() / beta**2 for e in model.errors(params, drive, states)]

    return np.array(energies(params))


def depth_figure(path: str | Path, outcomes: Sequence[Outcome]) -> None:
    """Draw wrong answers and error reach against depth, and the energy of every layer."""
    import matplotlib
    from matplotlib.figure import Figure

    from jaxgen import visualization

    figure = Figure(figsize=(12.5, 4.8), dpi=110, layout="constrained")
    wrong, reach, energy = figure.subplots(1, 3)
    colours = matplotlib.colormaps["tab10"].colors
    for number, form in enumerate(dict.fromkeys(outcome.form for outcome in outcomes)):
        own = [outcome for outcome in outcomes if outcome.form == form]
        depths, colour = [outcome.depth for outcome in own], colours[number]
        mark = "^-" if form.endswith(_BY_ERRORS) else "o-"
        wrong.semilogy(depths, [100 - o.accuracy for o in own], mark, color=colour, label=form)
        if mark == "o-":
            wrong.semilogy(depths, [100 - o.backprop for o in own], "s--", color=colour, label=f"{form}, backprop")
        reach.plot(depths, [o.reach for o in own], mark, color=colour, label=form)
        for outcome, style in zip(own, (":", "--", "-", "-."), strict=False):
            place = np.linspace(0, 1, outcome.depth)
            energy.semilogy(place, outcome.energies, style, color=colour, label=f"{form}, {outcome.depth} layers")
    wrong.set(xlabel="layers", ylabel="% (logarithmic)", title="wrong answers, test images without labels")
    reach.set(xlabel="layers", ylabel="error reach", title="least share of backprop's gradient", ylim=(0, None))
    reach.axhline(1.0, color="grey", linewidth=0.8)
    energy.set(
        xlabel="place of the layer, from input (0) to output (1)", ylabel="|e|² / 2β²", title="energy per layer, nudged"
    )
    for axes in (wrong, reach):
        axes.set_xticks(sorted({outcome.depth for outcome in outcomes}))
    wrong.set_yticks([3, 5, 10, 20, 50, 100], ["3", "5", "10", "20", "50", "100"])
    wrong.minorticks_off()
    for axes in (wrong, reach, energy):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    visualization.save_figure(path, figure)


def _trained(config: EnergyLearningConfig, folder: runs.RunFolder, name: str) -> tuple[EnergyTask, Params]:
    task = EnergyTask.load(config)
    with runs.RunFolder.open(folder.path / "networks" / name, config) as own:
        return task, training.train(task, own).params


def _accuracy(task: EnergyTask, params: Params) -> float:
    return float(100 * (1 - evaluate(task, params, task.test).error.mean()))


def _row(outcome: Outcome) -> runs.Row:
    sweeps = "1 sweep" if outcome.sweeps == 1 else f"{outcome.sweeps} sweeps"
    note = f"backprop {outcome.backprop:.2f} %; {sweeps} per nudge; error reach {outcome.reach:.2f}"
    return runs.Row(f"{outcome.form}, {outcome.depth} layers: accuracy", outcome.accuracy, "%", "", note)
