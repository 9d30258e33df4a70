"""Train a classifier on examples whose information content is known exactly, and compare it with the bound.

  python -m experiments.information_bound --flagfile=experiments/flags/information_source.flags --workdir=runs/bound
  python -m experiments.information_bound --flagfile=experiments/flags/information_recommended.flags --workdir=runs/best
  python -m experiments.information_bound --data_only --num_samples=10000 --labels=0,1,2 --workdir=runs/data
  python -m experiments.information_bound --table=mine.csv --workdir=runs/mine
  python -m experiments.information_bound --compare=runs/bound/mlp_results.json,runs/best/mlp_results.json

The table of --table has the header label,i1,...,id,mass and a row per label and cell: `jaxgen.information.table`.
The run folder, or the folder --save_results names, then holds mlp_results.json, mlp_training_analysis.png, data.npz and
metadata.json; a comparison writes comparison.png there. The same command again resumes a run that was stopped.
"""

import functools

from jaxgen import information, runs, training
from jaxgen.information import report


def run(config: information.InformationConfig, workdir) -> None:
    """Train and measure; or only draw the examples; or compare finished runs."""
    report.check_target(config, workdir)
    if config.compare:
        runs.execute(config, workdir, prepare_comparison)
    elif config.data_only:
        runs.execute(config, workdir, prepare_data)
    else:
        training.run_task(information.InformationTask.load, config, workdir)


def prepare_comparison(config: information.InformationConfig) -> runs.Job:
    """Check the result files; return the job that compares them."""
    return functools.partial(report.comparison_report, report.result_files(config.compare))


def prepare_data(config: information.InformationConfig) -> runs.Job:
    """Draw the examples; return the job that writes them."""
    return functools.partial(report.data_report, information.InformationTask.load(config))


if __name__ == "__main__":
    runs.main(information.InformationConfig, run, distributed=True)
