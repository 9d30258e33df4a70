"""All schemes beside each other: one network, one number of epochs, one optimiser.

On XOR every scheme is read without labels from a cold start. On images the schemes of one energy share network, epochs
and learning rate, and backprop and recurrent backprop are among them, so that what a local rule costs can be read off:

    interval = mean accuracy +- t_{S-1, 0.975} sd / sqrt(S)    over S networks

An output that is the same for every test image counts as silent. Clipped units below 0 pass no gradient, so that the
exact gradients, backprop and recurrent backprop, leave an output silent that starts there, and its class is never
answered; a nudge of finite size lifts it. The rectified network with linear outputs has no such units.

With a held output the states of predictive coding move far, and training lowers F* = 1/2 r^T S^-1 r (`comparison.py`)
not only through the residual r but also by growing S, that is the weights. The record states how steep F then is at
most in one layer,

    1 + max_l |W_l|^2 over l >= 2,     |W| the spectral norm,     stable while gamma times this is below 2.

With 40 sweeps of gamma = 0.1 it passes 20 within four epochs, and a weight decay of 1 does not prevent that (26; the
validation error of three networks grows from 3.6 % after the first epoch to 6.6 %).
"""

import dataclasses

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from jaxgen import runs, training
from jaxgen.energy_learning.config import EnergyLearningConfig
from jaxgen.energy_learning.energies.network import Params, layer_names
from jaxgen.energy_learning.evaluate import evaluate
from jaxgen.energy_learning.report import FAMILY, SOLVED, report, result_rows
from jaxgen.energy_learning.schemes import SCHEMES
from jaxgen.energy_learning.task import EnergyTask
from jaxgen.errors import UserError
from jaxgen.training.task import check

# On XOR, where inference is gradient descent, it needs small steps, and the held output small updates of the weights.
XOR = {"widths": "8", "batch_size": 4, "schedule": "cosine", "learning_rate": 0.02, "eval_every": 100}
XOR_PREDICTIVE = {"energy": "predictive_coding", "step_size": 0.1, "nudged_sweeps": 50, "learning_rate": 0.005}
IMAGES = {"widths": "256,256", "batch_size": 128, "schedule": "cosine", "learning_rate": 0.001, "eval_every": 1}
IMAGES_HOPFIELD = {"energy": "clipped", "weight_scale": 0.5, "beta": 0.5, "free_sweeps": 8, "nudged_sweeps": 4}
IMAGES_PREDICTIVE = {
    "energy": "predictive_coding",
    "activation": "relu",
    "beta": 0.05,
    "nudged_sweeps": 6,
    "step_size": 0.25,
}
# Every scheme with its energy; on images the two references stand beside the local rules of each energy.
IMAGE_SCHEMES = (
    ("backprop", IMAGES_HOPFIELD),
    ("recurrent_backprop", IMAGES_HOPFIELD | {"nudged_sweeps": 8}),
    ("ep_centred", IMAGES_HOPFIELD),
    ("ep_positive", IMAGES_HOPFIELD),
    ("first_step", IMAGES_HOPFIELD),
    ("contrastive_hebbian", IMAGES_HOPFIELD | {"nudged_sweeps": 8}),
    ("backprop", IMAGES_PREDICTIVE),
    ("pc_soft_nudge", IMAGES_PREDICTIVE | {"sweep": "errors", "nudged_sweeps": 2, "step_size": 1.0}),
    # With 20 sweeps of 0.25 one network of three diverges; with these all three learn until F has become too steep.
    ("pc_equilibrium", IMAGES_PREDICTIVE | {"nudged_sweeps": 40, "step_size": 0.1}),
    ("fixed_prediction", IMAGES_PREDICTIVE),
    ("z_il", IMAGES_PREDICTIVE),
)


def settings(
    base: EnergyLearningConfig, schemes: str, widths: str, learning_rate: float | None
) -> list[EnergyLearningConfig]:
    """Return the setting of every chosen scheme. UserError for an unknown name."""
    if base.dataset == "xor":
        energies = {name: {} if scheme.equilibrium else XOR_PREDICTIVE for name, scheme in SCHEMES.items()}
        cases, common = tuple(energies.items()), XOR
    else:
        cases, common = IMAGE_SCHEMES, IMAGES
    names = [word.strip() for word in schemes.split(",")] if schemes != "all" else [name for name, _ in cases]
    for name in names:
        if name not in dict(cases):
            raise UserError(f"schemes has {name!r}; allowed: 'all', or of {', '.join(dict(cases))}")
    changes = ({"widths": widths} if widths else {}) | (
        {} if learning_rate is None else {"learning_rate": learning_rate}
    )
    return [
        dataclasses.replace(base, **(common | special | changes | {"scheme": name}))
        for name, special in cases
        if name in names
    ]


def prepare(base: EnergyLearningConfig, schemes: str, widths: str, learning_rate: float | None) -> runs.Job:
    """Check the setting of every scheme; return the job that trains and reads them all."""
    configs = settings(base, schemes, widths, learning_rate)
    for config in configs:
        check(EnergyTask.load(config))

    def job(folder: runs.RunFolder) -> runs.Report:
        rows = []
        for config in configs:
            task = EnergyTask.load(config)
            name = config.scheme if config.dataset == "xor" else f"{config.scheme}_{config.energy}"
            with runs.RunFolder.open(folder.path / "schemes" / name, config) as own:
                rows.append(_row(task, training.train(task, own), own))
            print(rows[-1], flush=True)
        title = f"{base.dataset}, label-free, cold start, hidden {configs[0].widths}, {base.epochs} epochs"
        return runs.Report(title, FAMILY, rows)

    return job


def silent_outputs(output: Float[np.ndarray, "networks n K"]) -> Int[np.ndarray, "networks"]:
    """Return how many outputs of each network are the same for all n examples."""
    return (np.ptp(output, axis=1) == 0).sum(1)


def steepness(params: Params) -> Float[np.ndarray, "networks"]:
    """Return 1 + max |W_l|^2 over the dense layers l >= 2 of each of the stacked networks."""
    kernels = [np.asarray(params[name]["kernel"]) for name in layer_names(len(params))[1:]]
    return 1 + np.max([np.linalg.norm(kernel, 2, axis=(1, 2)) for kernel in kernels], axis=0) ** 2


def _row(task: EnergyTask, state: training.TrainState, own: runs.RunFolder) -> runs.Row:
    config = task.config
    if config.dataset == "xor":
        numbers = {row.quantity: row for row in report(task, state, own).rows}
        solved = numbers[SOLVED]
        note = f"cost {numbers['label-free cost, cold start'].value:.2g}; {solved.note}"
        return runs.Row(f"{config.scheme}, {config.energy}", solved.value, "", solved.target, note)
    answers = evaluate(task, state.params, task.test)
    accuracy = 100 * (1 - answers.error)
    numbers = {row.quantity: row for row in result_rows(task, state, runs.read_metrics(own.path / "metrics.jsonl"))}
    note = f"{len(accuracy)} networks, {config.epochs} epochs"
    if len(accuracy) > 1:
        half = scipy.stats.t.ppf(0.975, len(accuracy) - 1) * accuracy.std(ddof=1) / np.sqrt(len(accuracy))
        note = f"± {half:.2f} (95 % by t); {note}"
    if "time per epoch, training alone" in numbers:
        note += f"; {numbers['time per epoch, training alone'].value:.1f} s per epoch of all networks"
    silent = silent_outputs(answers.output)
    if silent.any():
        note += f"; silent outputs: {', '.join(map(str, silent))} of {answers.output.shape[2]}"
    if config.scheme == "pc_equilibrium":
        each = ", ".join(f"{value:.1f}" for value in steepness(state.params))
        note += f"; 1 + |W|² {each}, stable below {2 / config.step_size:g}"
    return runs.Row(f"{config.scheme}, {config.energy}", float(accuracy.mean()), "%", "", note)
