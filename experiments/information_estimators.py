"""Estimators of mutual information beside the exact value, on seven problems where it is known.

  python -m experiments.information_estimators --workdir=runs/estimators
  python -m experiments.information_estimators --quick --workdir=runs/quick       small, to show that everything runs

The run folder then holds estimators.png, estimates.json with every estimate, and result.json.
"""

import dataclasses

from jaxgen import runs, training
from jaxgen.information import estimators
from jaxgen.information.estimators import comparison
from jaxgen.information.report import FAMILY, write_json
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class EstimatorsConfig:
    """The samples, and how the networks are trained."""

    seed: int = seed_option("seed of samples and networks")
    quick: bool = option(False, "one sample of 300 pairs per problem and 20 updates", group="run")
    sizes: str = option("300,1000,3000,10000", "pairs in a sample, each 300 or more", group="samples")
    samples: int = option(3, "samples per problem and size", group="samples", low=1, high=100)
    steps: int = option(1000, "updates of every network", group="optimiser", low=1, high=1_000_000)
    batch_size: int = option(128, "pairs per update", group="optimiser", low=2, high=10_000)


def run(config: EstimatorsConfig, workdir) -> None:
    """Estimate, draw and record."""
    runs.execute(config, workdir, prepare)


def prepare(config: EstimatorsConfig) -> runs.Job:
    """Read the sizes; return the job."""
    if config.quick:
        config = dataclasses.replace(config, sizes="300", samples=1, steps=20)
    sizes = runs.integers("sizes", config.sizes)
    comparison.check_sizes(sizes)
    options = estimators.NetworkOptions(config.steps, config.batch_size)

    def job(folder: runs.RunFolder) -> runs.Report:
        from jaxgen.information.figures import estimators_figure

        key, problems = training.seed_key(config.seed), estimators.all_problems()
        estimates = comparison.compare(key, problems, sizes, config.samples, options)
        write_json(folder.path / "estimates.json", {"estimates": [estimate._asdict() for estimate in estimates]})
        estimators_figure(folder.path / "estimators.png", estimates)
        title = "estimators of mutual information" + ", quick" * config.quick
        return runs.Report(title, FAMILY, comparison.rows(estimates), [folder.path / "estimators.png"])

    return job


if __name__ == "__main__":
    runs.main(EstimatorsConfig, run)
