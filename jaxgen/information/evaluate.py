"""Evaluation of a classifier: on validation examples during training, on fresh examples afterwards."""

import typing
from typing import NamedTuple

import numpy as np

from jaxgen import training
from jaxgen.information import bounds, excess
from jaxgen.information.mlp import log_probabilities
from jaxgen.information.sampler import sample

if typing.TYPE_CHECKING:
    from jaxgen.information.task import InformationTask


class Evaluation(NamedTuple):
    """Measures of one network on fresh examples; `class_loss` and `class_recall` are in the order of the labels."""

    risk: excess.ExcessRisk
    accuracy: float
    class_loss: list[float]
    class_recall: list[float]
    averages: excess.CellAverages
    split: excess.Split
    calibration: excess.Calibration


def evaluation_hook(task: "InformationTask") -> training.Hook:
    """Return a hook for `fit`: loss and accuracy on the validation examples."""
    x, y = task.validation["x"], np.asarray(task.validation["y"])

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        log_q = excess.predict(log_probabilities(task.model, state.params), x)
        loss = -log_q[np.arange(len(y)), y]
        return {
            "validation_loss": float(loss.mean(dtype=np.float64)),
            "validation_accuracy": float((log_q.argmax(1) == y).mean()),
        }

    return hook


def evaluate(task: "InformationTask", params: dict) -> Evaluation:
    """Measure on fresh examples that were not used in training.

    Raises:
        BoundBeatenError: the loss is lower than is possible.
    """
    config, distribution = task.config, task.distribution
    x, y = sample(task.key("fresh"), distribution, config.eval_samples)
    y, log_q_fn = np.asarray(y), log_probabilities(task.model, params)
    log_q = excess.predict(log_q_fn, x)
    loss, right = -log_q[np.arange(len(y)), y], log_q.argmax(1) == y
    averages = excess.cell_averages(task.key("cells"), distribution, log_q_fn, config.points_per_cell)
    counted = excess.count_table(distribution, **task.arrays())
    log_p = distribution.log_posterior()[:, distribution.cells_of(np.asarray(x))].T
    by_class = [(loss[y == k].mean(), right[y == k].mean()) for k in range(distribution.n_labels)]
    return Evaluation(
        excess.excess_risk(loss, bounds.conditional_entropy(distribution)),
        float(right.mean()),
        [float(value) for value, _ in by_class],
        [float(value) for _, value in by_class],
        averages,
        excess.split(distribution, averages, counted),
        excess.calibration(log_q, log_p),
    )
