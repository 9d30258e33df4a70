"""Measure the excess risk against the number of examples, the width and the depth of a network.

python -m experiments.information_scaling --workdir=runs/scaling

Networks of one shape are trained as one ensemble. The run folder then holds scaling.png, scaling.json and result.json.
"""

import dataclasses

from jaxgen import information, runs, training
from jaxgen.information import scaling
from jaxgen.information.report import FAMILY, write_json
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class ScalingConfig:
    """The three curves, and how their networks are trained."""

    seed: int = seed_option("seed of everything")
    repeats: int = option(3, "networks per point", group="run", low=1, high=100)
    examples: str = option("1000,3000,10000,30000,100000,300000,1000000", "training examples", group="curves")
    widths: str = option("8,16,32,64,128,256", "units per hidden layer", group="curves")
    depths: str = option("1,2,3,4", "hidden layers", group="curves")
    width: int = option(128, "width where it is not varied", group="curves", low=1, high=65_536)
    depth: int = option(3, "depth where it is not varied", group="curves", low=1, high=64)
    many: int = option(
        1_000_000, "examples per network where they are not varied", group="curves", low=1, high=10_000_000
    )
    steps: int = option(8000, "updates of every network", group="optimiser", low=1, high=2**31 - 1)
    batch_size: int = option(512, "examples per step and network", group="optimiser", low=1, high=1_000_000)


def run(config: ScalingConfig, workdir) -> None:
    """Train the networks of the three curves, draw and record them."""
    runs.execute(config, workdir, prepare)


def prepare(config: ScalingConfig) -> runs.Job:
    """Read the lists of the curves; return the job."""
    lists = [runs.integers(name, getattr(config, name)) for name in ("examples", "widths", "depths")]
    grid = scaling.Grid(*lists, config.width, config.depth, config.many, config.repeats)
    options = scaling.EnsembleOptions(config.steps, config.batch_size)

    def job(folder: runs.RunFolder) -> runs.Report:
        from jaxgen.information.figures import scaling_figure

        key = training.seed_key(config.seed)
        curves = scaling.scaling_curves(key, information.ten_labels(), grid, options)
        scaling_figure(folder.path / "scaling.png", curves)
        write_json(folder.path / "scaling.json", {n: [point._asdict() for point in c] for n, c in curves.items()})
        return runs.Report(
            "excess risk by number of examples, width and depth",
            FAMILY,
            scaling.curve_rows(curves),
            [folder.path / "scaling.png"],
        )

    return job


if __name__ == "__main__":
    runs.main(ScalingConfig, run)
