"""How far above H(Y|X) does a trained network end, over several seeds? Can an estimate beat the bound?

  python -m benchmarks.mlp_vs_bound --flagfile=experiments/flags/information_source.flags --workdir=runs/vs_source
  python -m benchmarks.mlp_vs_bound --flagfile=experiments/flags/information_recommended.flags --workdir=runs/vs_best

Every seed draws its own examples, network and fresh test. The program ends with an error and a non-zero exit code if
an estimate lies more than three standard errors below the bound. The run folder then holds result.json and a folder a
seed.
"""

import dataclasses
import statistics
import time
from pathlib import Path

from jaxgen import information, runs
from jaxgen.runs import option
from jaxgen.runs.tables import aligned, write_json


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(information.InformationConfig):
    """A setting, trained `seeds` times: seed, seed + 1, ..."""

    seeds: int = option(5, "how often to train", group="run", low=1, high=1000)
    json: str = option("", "file for the rows", group="run")


def run(config: BenchmarkConfig, workdir: Path) -> None:
    """Train and test every seed, then write the table and the record."""
    start = time.perf_counter()
    runs.configure()
    found, rows = [], []
    for seed in range(config.seed, config.seed + config.seeds):
        begin = time.perf_counter()
        one = setting(config, seed)
        task = information.InformationTask.load(one)
        with runs.RunFolder.open(workdir / f"seed_{seed}", one) as folder:
            found.append(information.evaluate(task, information.train(task, folder, [])))
        risk = found[-1].risk
        rows.append(
            {
                "seed": seed,
                "bound": round(risk.bound, 5),
                "estimate": round(risk.cross_entropy, 5),
                "gap": round(risk.excess, 5),
                "standard error": risk.standard_error,
                "gap, exact labels": round(found[-1].averages.excess, 5),
                "accuracy": round(found[-1].accuracy, 4),
                "seconds": round(time.perf_counter() - begin, 1),
            }
        )
        print(aligned(rows[-1:], list(rows[-1])), flush=True)
    print(aligned(rows, list(rows[0])))
    if config.json:
        write_json(config.json, {"command": runs.command_line(), "device": runs.device_name(), "rows": rows})
    runs.write_record(
        workdir / "result.json",
        title=f"MLP {config.depth} x {config.width}, {config.optimiser}, {config.epochs} x {task.n_train} examples",
        family="Information bound",
        rows=record(config, found, [row["seconds"] for row in rows]),
        config=config,
        wall_time_s=time.perf_counter() - start,
    )


def setting(config: BenchmarkConfig, seed: int) -> information.InformationConfig:
    """The setting of one seed."""
    names = [field.name for field in dataclasses.fields(information.InformationConfig)]
    return information.InformationConfig(**{name: getattr(config, name) for name in names} | {"seed": seed})


def record(config: BenchmarkConfig, found: list, seconds: list[float]) -> list[runs.Row]:
    """Means over the seeds, with standard deviations, beside the exact numbers and the source's own."""
    default = information.InformationConfig(seed=config.seed)
    from_source = not runs.differences(setting(config, config.seed), default)
    best = information.bayes_accuracy(information.build_distribution(config))
    over = f"over {len(found)} seeds"

    def row(quantity: str, values: list[float], unit: str = "", target: str = "", note: str = "") -> runs.Row:
        spread = f"; sd {statistics.stdev(values):.2g}" if len(values) > 1 else ""
        return runs.Row(quantity, statistics.mean(values), unit, target, f"{note}mean {over}{spread}")

    gaps = [one.averages.excess for one in found]
    return [
        runs.Row("H(Y given X), the bound", found[0].risk.bound, "nats", "", "exact"),
        row(
            "cross-entropy on fresh examples",
            [one.risk.cross_entropy for one in found],
            "nats",
            "source: 0.5530" * from_source,
            f"standard error of each {found[0].risk.standard_error:.2g}; ",
        ),
        row("excess risk", gaps, "nats", "source: 0.219" if from_source else "< 0.01", f"worst {max(gaps):.4f}; "),
        row(
            "accuracy",
            [one.accuracy for one in found],
            "",
            "source: 0.8468" if from_source else f">= {best - 0.005:.4f}",
            f"true Bayes accuracy {best:.4f}; ",
        ),
        row("approximation: blurred cells", [one.split.approximation for one in found], "nats"),
        row("estimation: table of counts", [one.split.estimation for one in found], "nats"),
        row("optimisation: the rest", [one.split.optimisation for one in found], "nats"),
        row("calibration error", [one.calibration.error for one in found]),
        runs.Row(
            "wall time a seed, with its test",
            statistics.median(seconds),
            "s",
            "" if from_source else "< 180",
            f"median {over}, longest {max(seconds):.0f}",
        ),
    ]


if __name__ == "__main__":
    runs.main(BenchmarkConfig, run)
