"""Tabulate the exact information content of the built-in distribution, by noise level and subset of labels.

python -m experiments.information_table --workdir=runs/table

Writes result.json, coordinates.png (all 31 sets of coordinates) and metadata.json of the default distribution.
"""

import dataclasses

from jaxgen import information, runs
from jaxgen.errors import UserError
from jaxgen.information.report import FAMILY, metadata, write_json
from jaxgen.runs import option


@dataclasses.dataclass(frozen=True)
class TableConfig:
    """The noise levels."""

    noises: str = option("0,0.0001,0.0003,0.001,0.003", "values of base_noise, separated by commas", group="table")


def run(config: TableConfig, workdir) -> None:
    """Compute, print and write the table."""
    runs.execute(config, workdir, prepare)


def prepare(config: TableConfig) -> runs.Job:
    """Compute the numbers; return the job that draws and writes them."""
    rows = []
    for word in config.noises.split(","):
        rows += _rows(f"base_noise {word}", information.ten_labels(_number(word)))
    distribution = information.ten_labels()
    for labels in (range(5), range(3)):
        rows += _rows(f"labels 0-{labels[-1]}", distribution.subset(labels))
    entropy, naive = information.conditional_entropy(distribution), information.naive_bayes(distribution)
    rows += [
        _bits("naive Bayes: cross-entropy", naive.cross_entropy),
        runs.Row("naive Bayes: accuracy", naive.accuracy),
        runs.Row(
            "upper bound of the accuracy by Fano's inequality",
            information.fano_accuracy(entropy, distribution.n_labels),
        ),
    ]
    bounds = information.subset_bounds(distribution)
    for size in range(1, distribution.n_axes + 1):
        best = min((b for b in bounds if len(b.axes) == size), key=lambda b: b.conditional_entropy)
        rows.append(_bits(f"best {size} of {distribution.n_axes} coordinates, {best.axes}", best.conditional_entropy))

    def job(folder: runs.RunFolder) -> runs.Report:
        from jaxgen.information.figures import bounds_figure

        bounds_figure(folder.path / "coordinates.png", bounds)
        write_json(folder.path / "metadata.json", metadata(distribution, 0))
        return runs.Report("exact values of the built-in distribution", FAMILY, rows, [folder.path / "coordinates.png"])

    return job


def _rows(name: str, distribution: information.CellDistribution) -> list[runs.Row]:
    return [
        _bits(f"{name}: H(Y given X)", information.conditional_entropy(distribution)),
        runs.Row(f"{name}: Bayes accuracy", information.bayes_accuracy(distribution)),
    ]


def _bits(quantity: str, nats: float) -> runs.Row:
    return runs.Row(quantity, information.bits(nats), "bits", "", f"{nats:.4f} nats")


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UserError(f"noises has {word!r}; allowed: numbers, 0 or more, separated by commas") from None


if __name__ == "__main__":
    runs.main(TableConfig, run)
