"""What is measured of a trained classifier, and how it is written down beside the exact bounds."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxgen import runs, training
from jaxgen.information import bounds, excess
from jaxgen.information.cells import CellDistribution
from jaxgen.information.mlp import log_probabilities
from jaxgen.information.sampler import sample
from jaxgen.information.task import InformationTask, run_key

History = dict[str, list[float]]


class Evaluation(NamedTuple):
    """Of one network on fresh examples; class_loss and class_recall follow the labels."""

    risk: excess.ExcessRisk
    accuracy: float
    class_loss: list[float]
    class_recall: list[float]
    averages: excess.CellAverages
    split: excess.Split
    calibration: excess.Calibration


def evaluation_hook(task: InformationTask) -> Callable[[int, training.TrainState], dict[str, float]]:
    """A hook for `fit`: loss and accuracy on the validation examples."""
    x, y = task.validation["x"], np.asarray(task.validation["y"])

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        log_q = excess.predict(log_probabilities(task.model, state.params), x)
        loss = -log_q[np.arange(len(y)), y]
        return {
            "validation_loss": float(loss.mean(dtype=np.float64)),
            "validation_accuracy": float((log_q.argmax(1) == y).mean()),
        }

    return hook


def evaluate(task: InformationTask, params: dict) -> Evaluation:
    """Measure on fresh examples, never seen in training. BoundBeatenError if the loss is too low to be true."""
    config, distribution = task.config, task.distribution
    x, y = sample(run_key(config, "fresh"), distribution, config.eval_samples)
    y, log_q_fn = np.asarray(y), log_probabilities(task.model, params)
    log_q = excess.predict(log_q_fn, x)
    loss, right = -log_q[np.arange(len(y)), y], log_q.argmax(1) == y
    averages = excess.cell_averages(run_key(config, "cells"), distribution, log_q_fn, config.points_per_cell)
    counted = excess.count_table(distribution, **task.train)
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


def metadata(distribution: CellDistribution, n: int) -> dict:
    """metadata.json: what n examples were drawn from, and everything known exactly about it."""
    entropy, naive = bounds.conditional_entropy(distribution), bounds.naive_bayes(distribution)
    return {
        "num_samples": n,
        "labels": list(distribution.labels),
        "prior": distribution.prior.tolist(),
        "edges": [list(edge) for edge in distribution.edges],
        "mass": distribution.mass.reshape(distribution.n_labels, -1).tolist(),
        "label_entropy": _both(bounds.label_entropy(distribution)),
        "conditional_entropy": _both(entropy),
        "mutual_information": _both(bounds.mutual_information(distribution)),
        "bayes_accuracy": bounds.bayes_accuracy(distribution),
        "fano_accuracy": bounds.fano_accuracy(entropy, distribution.n_labels),
        "naive_bayes": {"cross_entropy": _both(naive.cross_entropy), "accuracy": naive.accuracy},
        "classes": [
            {"label": row.label, "loss": _both(row.loss), "recall": row.recall}
            for row in bounds.class_bounds(distribution)
        ],
        "coordinates": [
            {
                "axes": list(row.axes),
                "conditional_entropy": _both(row.conditional_entropy),
                "mutual_information": _both(row.mutual_information),
                "bayes_accuracy": row.bayes_accuracy,
            }
            for row in bounds.subset_bounds(distribution)
        ],
    }


def results(task: InformationTask, found: Evaluation, history: History) -> dict:
    """mlp_results.json: the network's numbers beside the exact ones."""
    entropy, risk = found.risk.bound, found.risk
    return {
        "labels": list(task.distribution.labels),
        "num_samples": task.config.num_samples,
        "epochs": task.config.epochs,
        "seed": task.config.seed,
        "parameters": parameter_count(task),
        "analytical_loss": _both(entropy),
        "mlp_loss": _both(risk.cross_entropy),
        "excess_risk": _both(risk.excess),
        "excess_risk_error": _both(risk.standard_error),
        "loss_ratio": risk.cross_entropy / entropy if entropy > 0 else None,
        "bayes_accuracy": bounds.bayes_accuracy(task.distribution),
        "mlp_accuracy": found.accuracy,
        "cell_average_excess": _both(found.averages.excess) | {"error_nats": found.averages.standard_error},
        "split_nats": found.split._asdict(),
        "classes": [
            {"label": bound.label, "bound": _both(bound.loss), "mlp": _both(loss), "recall": recall}
            | {"bayes_recall": bound.recall}
            for bound, loss, recall in zip(
                bounds.class_bounds(task.distribution), found.class_loss, found.class_recall, strict=True
            )
        ],
        "calibration": {name: np.asarray(value).tolist() for name, value in found.calibration._asdict().items()},
        "history": history,
    }


def history(records: Sequence[dict[str, float]]) -> History:
    """One entry an epoch: losses in nats and accuracies, of a run's metrics.jsonl."""
    names = {
        "train_loss": "loss",
        "train_accuracy": "accuracy",
        "validation_loss": "validation_loss",
        "validation_accuracy": "validation_accuracy",
    }
    return {name: [record[key] for record in records] for name, key in names.items()}


def rows(task: InformationTask, found: Evaluation) -> list[runs.Row]:
    """The numbers of the record."""
    risk, split = found.risk, found.split
    best = bounds.bayes_accuracy(task.distribution)
    fresh = f"{risk.n} fresh examples"
    note = f"bound {risk.bound:.4f} nats; standard error {risk.standard_error:.4f} on {fresh}"
    return [
        runs.Row("parameters", parameter_count(task)),
        runs.Row("cross-entropy", risk.cross_entropy, "nats", "", note),
        runs.Row(
            "excess risk, exact average over labels",
            found.averages.excess,
            "nats",
            "",
            f"standard error {found.averages.standard_error:.1g}",
        ),
        runs.Row("accuracy", found.accuracy, "", "", f"true Bayes accuracy {best:.4f}; {fresh}"),
        runs.Row("excess from blurred cells (approximation)", split.approximation, "nats"),
        runs.Row("excess of the count table (estimation)", split.estimation, "nats", "", f"{task.n_train} examples"),
        runs.Row("remaining excess (optimisation)", split.optimisation, "nats"),
        runs.Row("calibration error against the true posterior", found.calibration.error),
    ]


def parameter_count(task: InformationTask) -> int:
    """Numbers that the network learns."""
    shapes = jax.eval_shape(task.model.init, jax.random.key(0), task.x[:1])
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def _both(nats: float) -> dict[str, float]:
    return {"nats": float(nats), "bits": float(bounds.bits(nats))}
