"""What a run reports: the numbers of the record, read without labels, and its figures."""

import typing
from collections.abc import Sequence

import numpy as np

from jaxgen import runs, training
from jaxgen.energy_learning.evaluate import evaluate

if typing.TYPE_CHECKING:
    from jaxgen.energy_learning.config import EnergyLearningConfig
    from jaxgen.energy_learning.task import EnergyTask

FAMILY = "Energy-based learning"
SOLVED = "networks that solve it label-free, cold start"
# By dataset, scheme and hidden layers.
TARGETS = {
    ("mnist", "ep_centred", "256,256"): ">= 98.0",
    ("mnist", "pc_soft_nudge", "256,256"): ">= 98.3",
    ("mnist", "ep_centred", "24x5,48x3"): ">= 99.2",
}


def report(task: "EnergyTask", state: training.TrainState, folder: runs.RunFolder) -> runs.Report:
    """Draw the figures of a finished run and report its numbers."""
    from jaxgen.energy_learning import figures  # here, because they need matplotlib

    config = task.config
    records = runs.read_metrics(folder.path / "metrics.jsonl")
    figures.curves_figure(folder.figures / "curves.png", records)
    if config.dataset == "xor":
        figures.xor_figure(folder.figures / "xor.png", task, state.params)
        figures.drawing_figure(folder.figures / "network.png", task, state.params)
    title = f"{config.dataset}, {config.scheme}, {config.energy}, hidden {_layers(config)}"
    files = sorted(folder.figures.glob("*.png"))
    return runs.Report(title, FAMILY, result_rows(task, state, records), files)


def result_rows(task: "EnergyTask", state: training.TrainState, records: Sequence[dict]) -> list[runs.Row]:
    """Return the numbers of the record: label-free on the test examples, over all networks; then how training went."""
    config, last = task.config, records[-1]
    cold = evaluate(task, state.params, task.test)
    n, examples = len(cold.error), len(task.test.x)
    each = ", ".join(f"{100 * (1 - error):.2f}" for error in cold.error)
    rows = [
        runs.Row(
            "label-free accuracy, cold start",
            100 * (1 - cold.error.mean()),
            "%",
            TARGETS.get((config.dataset, config.scheme, _layers(config)), ""),
            f"{examples} examples; per network: {each}",
        ),
        runs.Row("label-free cost, cold start", float(cold.cost.mean())),
    ]
    if config.dataset == "xor":
        solved = int((cold.error == 0).sum())
        rows.insert(0, runs.Row(SOLVED, f"{solved} of {n}", "", "9 of 10", stability(records)))
    if state.carry is not None:
        warm = evaluate(task, state.params, task.train, state.carry)
        rows.append(runs.Row("label-free accuracy, warm start", 100 * (1 - warm.error.mean()), "%"))
    if "error_reach" in last:
        note = "smallest ratio over the layers of the gradient's norm to backprop's, last evaluation"
        rows.append(runs.Row("error reach", last["error_reach"], "", "", note))
    for name in ("free_residual", "nudged_residual"):
        if name in last:
            sweeps = last[name.replace("residual", "sweeps")]
            rows.append(runs.Row(name.replace("_", " "), last[name], "", "", f"after {sweeps:.1f} sweeps, last epoch"))
    if "images_per_s" in last:
        speeds = sorted(record["images_per_s"] for record in records if "images_per_s" in record)
        seconds = len(task.train.x) / speeds[len(speeds) // 2]
        rows.append(runs.Row("time per epoch, training alone", seconds, "s", "", f"median; {config.epochs} epochs"))
    return rows


def _layers(config: "EnergyLearningConfig") -> str:
    """Return the hidden layers in words: convolutions, then widths."""
    return ",".join(text for text in (config.convolutions, config.widths) if text)


def stability(records: Sequence[dict]) -> str:
    """Return in words how stable the last reading is: evaluations with a failing network after all had first solved."""
    solved = np.array([record["solved"] for record in records if "solved" in record])
    steps = [record["step"] for record in records if "solved" in record]
    whole = np.flatnonzero(solved == 1)
    if not len(whole):
        return f"at the last of {len(solved)} evaluations; all networks at once at none of them"
    first = int(whole[0])
    failing = first + np.flatnonzero(solved[first:] < 1)
    text = f"at the last of {len(solved)} evaluations; all networks first at step {steps[first]}, "
    if not len(failing):
        return text + "and at every evaluation since"
    since = len(solved) - first
    return (
        text + f"but {len(failing)} of {since} evaluations since had a failure, the last at step {steps[failing[-1]]}"
    )
