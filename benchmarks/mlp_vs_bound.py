"""How far above the bound H(Y|X) is the risk of a trained network, over several seeds?

  python -m benchmarks.mlp_vs_bound --flagfile=experiments/flags/information_source.flags --workdir=runs/vs_source
  python -m benchmarks.mlp_vs_bound --flagfile=experiments/flags/information_recommended.flags --workdir=runs/vs_best

Every seed has its own examples, network and fresh test. The program ends with an error and a non-zero exit code if
an estimate lies more than three standard errors below the bound. The run folder then holds result.json and one folder
per seed.
"""

import dataclasses
import statistics
import time
from pathlib import Path

from jaxgen import information, runs, training
from jaxgen.information.report import FAMILY
from jaxgen.runs import option
from jaxgen.runs.tables import aligned, write_json
from jaxgen.training.task import check


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(information.InformationConfig):
    """A setting that is trained with the seeds seed, seed + 1, ..."""

    seeds: int = option(5, "number of seeds", group="run", low=1, high=1000)
    json: str = option("", "file for the rows", group="run")


def run(config: BenchmarkConfig, workdir: Path) -> None:
    """Train and test every seed, then write the table and the record."""
    runs.execute(config, workdir, prepare)


def prepare(config: BenchmarkConfig) -> runs.Job:
    """Check the setting; return the job that trains every seed."""
    check(information.InformationTask.load(setting(config, config.seed)))

    def job(folder: runs.RunFolder) -> runs.Report:
        evaluations, rows = [], []
        for seed in range(config.seed, config.seed + config.seeds):
            begin = time.perf_counter()
            task = information.InformationTask.load(setting(config, seed))
            with runs.RunFolder.open(folder.path / f"seed_{seed}", task.config) as own:
                evaluations.append(information.evaluate(task, training.train(task, own).params))
            rows.append(table_row(seed, evaluations[-1], time.perf_counter() - begin))
            print(aligned(rows[-1:], list(rows[-1])), flush=True)
        if config.json:
            write_json(config.json, {"command": runs.command_line(), "device": runs.device_name(), "rows": rows})
        title = f"MLP {config.depth} x {config.width}, {config.optimiser}, {config.epochs} epochs of "
        title += f"{task.n_train} examples"
        numbers = record(config, evaluations, [row["seconds"] for row in rows])
        return runs.Report(title, FAMILY, numbers, table=aligned(rows, list(rows[0])))

    return job


def table_row(seed: int, evaluation: information.Evaluation, seconds: float) -> dict:
    """Return the row of one seed."""
    risk = evaluation.risk
    return {
        "seed": seed,
        "bound": round(risk.bound, 5),
        "estimate": round(risk.cross_entropy, 5),
        "gap": round(risk.excess, 5),
        "standard error": risk.standard_error,
        "gap, exact labels": round(evaluation.averages.excess, 5),
        "accuracy": round(evaluation.accuracy, 4),
        "seconds": round(seconds, 1),
    }


def setting(config: BenchmarkConfig, seed: int) -> information.InformationConfig:
    """Return the setting of one seed."""
    names = [field.name for field in dataclasses.fields(information.InformationConfig)]
    return information.InformationConfig(**{name: getattr(config, name) for name in names} | {"seed": seed})


def record(config: BenchmarkConfig, evaluations: list[information.Evaluation], seconds: list[float]) -> list[runs.Row]:
    """Return means over the seeds, with standard deviations, beside the exact numbers and those of the original."""
    default = information.InformationConfig(seed=config.seed)
    is_original = not runs.differences(setting(config, config.seed), default)
    best = information.bayes_accuracy(information.build_distribution(config))
    over = f"over {len(evaluations)} seeds"

    def row(quantity: str, values: list[float], unit: str = "", target: str = "", note: str = "") -> runs.Row:
        spread = f"; sd {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        return runs.Row(quantity, statistics.mean(values), unit, target, f"{note}mean {over}{spread}")

    gaps = [e.averages.excess for e in evaluations]
    return [
        runs.Row("H(Y given X), the bound", evaluations[0].risk.bound, "nats", "", "exact"),
        row(
            "cross-entropy on fresh examples",
            [e.risk.cross_entropy for e in evaluations],
            "nats",
            "original notebook: 0.5530" * is_original,
            f"standard error of each {evaluations[0].risk.standard_error:.2g}; ",
        ),
        row(
            "excess risk",
            gaps,
            "nats",
            "original notebook: 0.219" if is_original else "< 0.01",
            f"worst {max(gaps):.4f}; ",
        ),
        row(
            "accuracy",
            [e.accuracy for e in evaluations],
            "",
            "original notebook: 0.8468" if is_original else f">= {best - 0.005:.4f}",
            f"true Bayes accuracy {best:.4f}; ",
        ),
        row("within-cell variation of the network", [e.split.within_cells for e in evaluations], "nats"),
        row("estimation: table of counts", [e.split.estimation for e in evaluations], "nats"),
        row("table of the network minus table of counts", [e.split.remainder for e in evaluations], "nats"),
        row("calibration error", [e.calibration.error for e in evaluations]),
        runs.Row(
            "wall time per seed, test included",
            statistics.median(seconds),
            "s",
            "" if is_original else "< 180",
            f"median {over}, longest {max(seconds):.0f}",
        ),
    ]


if __name__ == "__main__":
    runs.main(BenchmarkConfig, run)
