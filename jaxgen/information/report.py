"""What a run writes: mlp_results.json, metadata.json, data.npz, the figure and the rows of the record.

WORKDIR, or the folder that --save_results names:
    mlp_results.json  mlp_training_analysis.png  data.npz  metadata.json
"""

import json
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.information import bounds
from jaxgen.information.cells import CellDistribution
from jaxgen.information.config import InformationConfig
from jaxgen.information.evaluate import Evaluation, evaluate

if typing.TYPE_CHECKING:
    from jaxgen.information.task import InformationTask

FAMILY = "Information bound"
History = dict[str, list[float]]


def report(task: "InformationTask", params: dict, folder: runs.RunFolder) -> runs.Report:
    """Measure a trained network; write its results, its data and its figure."""
    from jaxgen.information.figures import analysis_figure  # here, because it needs matplotlib

    config, target = task.config, results_folder(task.config, folder)
    save_data(task, target)
    evaluation = evaluate(task, params)
    content = results(task, evaluation, history(runs.read_metrics(folder.path / "metrics.jsonl")))
    write_json(target / "mlp_results.json", content)
    analysis_figure(target / "mlp_training_analysis.png", content)
    title = f"MLP, {config.optimiser}, {config.epochs} epochs of {task.n_train} examples, labels {config.labels}"
    title += ", own table" * bool(config.table)
    files = [target / "mlp_results.json", target / "mlp_training_analysis.png"]
    return runs.Report(title, FAMILY, rows(task, evaluation), files)


def data_report(task: "InformationTask", folder: runs.RunFolder) -> runs.Report:
    """Write the examples and what is known about their distribution, without training."""
    target = results_folder(task.config, folder)
    save_data(task, target)
    entropy = bounds.conditional_entropy(task.distribution)
    numbers = [runs.Row("examples", len(task.x)), runs.Row("H(Y given X)", entropy, "nats")]
    return runs.Report(f"{len(task.x)} examples", FAMILY, numbers, [target / "data.npz", target / "metadata.json"])


def comparison_report(paths: Sequence[Path], folder: runs.RunFolder) -> runs.Report:
    """Draw several mlp_results.json side by side in comparison.png, each named after its folder."""
    from jaxgen.information.figures import comparison_figure

    named = {}
    for path in paths:
        name = path.parent.name
        named[name if name not in named else f"{name} {len(named) + 1}"] = runs.read_json(
            path, "compare", "mlp_results.json of a finished run"
        )
    comparison_figure(folder.path / "comparison.png", named)
    numbers = [runs.Row(f"{name}: excess risk", run["excess_risk"]["nats"], "nats") for name, run in named.items()]
    return runs.Report(f"comparison of {len(named)} runs", FAMILY, numbers, [folder.path / "comparison.png"])


RESULT_FIELDS = ("excess_risk", "mlp_loss", "history")  # that a comparison reads


def result_files(text: str) -> list[Path]:
    """Return the files that "a/mlp_results.json,b/mlp_results.json" names. UserError unless all are such files."""
    paths = [runs.expanded(word.strip(), "compare") for word in text.split(",")]
    for path in paths:
        allowed = "mlp_results.json files of finished runs, separated by commas"
        runs.read_json(path, "compare", allowed, RESULT_FIELDS)
    return paths


def check_target(config: InformationConfig, workdir: str | Path) -> None:
    """Raise the UserError for a --save_results folder that cannot be written or holds the results of another run.

    Called before the run folder `workdir` is made. A run folder that exists may write its own results again.
    """
    if not config.save_results:
        return
    text = config.save_results
    if "://" in text or "\0" in text:
        raise UserError(f"save_results is {text!r}; allowed: a folder on this machine")
    target = runs.expanded(text, "save_results")
    if target.exists() and not target.is_dir():
        raise UserError(f"save_results is {target}, a file; allowed: a new folder")
    existing = next(place for place in (target, *target.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"save_results is {target}, but {existing} cannot be written to; allowed: a folder of your own")
    if (target / "metadata.json").exists() and not (Path(workdir) / "config.json").exists():
        raise UserError(f"save_results is {target}, which holds results; allowed: a new folder")


def results_folder(config: InformationConfig, folder: runs.RunFolder) -> Path:
    """Return where results go: the folder that --save_results names, or the run folder."""
    if config.save_results and runs.is_first():
        return runs.expanded(config.save_results, "save_results")
    return folder.path


def save_data(task: "InformationTask", target: Path) -> None:
    """Write data.npz, with X and Y (classes numbered as in `labels`), and metadata.json."""
    target.mkdir(parents=True, exist_ok=True)
    with runs.atomic_write(target / "data.npz") as temporary:
        np.savez(temporary, X=np.asarray(task.x), Y=np.asarray(task.y), labels=task.distribution.labels)
    write_json(target / "metadata.json", metadata(task.distribution, len(task.x)))


def write_json(path: Path, content: Mapping) -> None:
    """Write a JSON file whole or not at all."""
    with runs.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def metadata(distribution: CellDistribution, n: int) -> dict:
    """Return the content of metadata.json: the distribution of n examples, and everything known exactly about it."""
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


def results(task: "InformationTask", evaluation: Evaluation, history: History) -> dict:
    """Return the content of mlp_results.json: the numbers of the network beside the exact ones."""
    entropy, risk = evaluation.risk.bound, evaluation.risk
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
        "mlp_accuracy": evaluation.accuracy,
        "cell_average_excess": _both(evaluation.averages.excess) | {"error_nats": evaluation.averages.standard_error},
        "split_nats": evaluation.split._asdict(),
        "classes": [
            {"label": bound.label, "bound": _both(bound.loss), "mlp": _both(loss), "recall": recall}
            | {"bayes_recall": bound.recall}
            for bound, loss, recall in zip(
                bounds.class_bounds(task.distribution), evaluation.class_loss, evaluation.class_recall, strict=True
            )
        ],
        "calibration": {name: np.asarray(value).tolist() for name, value in evaluation.calibration._asdict().items()},
        "history": history,
    }


def history(records: Sequence[dict[str, float]]) -> History:
    """Return one entry per epoch of losses in nats and accuracies, from the records of metrics.jsonl."""
    names = {
        "train_loss": "loss",
        "train_accuracy": "accuracy",
        "validation_loss": "validation_loss",
        "validation_accuracy": "validation_accuracy",
    }
    return {name: [record[key] for record in records] for name, key in names.items()}


def rows(task: "InformationTask", evaluation: Evaluation) -> list[runs.Row]:
    """Return the rows of the record."""
    risk, split = evaluation.risk, evaluation.split
    best = bounds.bayes_accuracy(task.distribution)
    fresh = f"{risk.n} fresh examples"
    note = f"bound {risk.bound:.4f} nats; standard error {risk.standard_error:.4f} on {fresh}"
    return [
        runs.Row("parameters", parameter_count(task)),
        runs.Row("cross-entropy", risk.cross_entropy, "nats", "", note),
        runs.Row(
            "excess risk, exact average over labels",
            evaluation.averages.excess,
            "nats",
            "",
            f"standard error {evaluation.averages.standard_error:.1g}",
        ),
        runs.Row("accuracy", evaluation.accuracy, "", "", f"true Bayes accuracy {best:.4f}; {fresh}"),
        runs.Row("within-cell variation of the network", split.within_cells, "nats"),
        runs.Row(
            "excess of the table of counts (estimation)", split.estimation, "nats", "", f"{task.n_train} examples"
        ),
        runs.Row("table of the network minus table of counts", split.remainder, "nats"),
        runs.Row("calibration error against the true posterior", evaluation.calibration.error),
    ]


def parameter_count(task: "InformationTask") -> int:
    """Return the number of parameters of the network."""
    shapes = jax.eval_shape(task.model.init, jax.random.key(0), task.x[:1])
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def _both(nats: float) -> dict[str, float]:
    return {"nats": float(nats), "bits": float(bounds.bits(nats))}
