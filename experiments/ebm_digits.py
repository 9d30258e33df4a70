"""Train Potts models of all ten digits, one per digit or one class-conditional model, over one or more seeds.

  python -m experiments.ebm_digits --flagfile=experiments/flags/ebm_digits.flags --workdir=runs/digits
  python -m experiments.ebm_digits --flagfile=experiments/flags/ebm_digits_labels.flags --workdir=runs/digits_labels
  python -m experiments.ebm_digits --quick --workdir=runs/digits_quick

The folder then holds figures/samples.png with ten samples of every digit; samples/seed0.npz and so on, which
experiments.evaluate reads; and result.json with conditional accuracy, Frechet distance, likelihood of the mixture and
classification by Bayes' rule, over the seeds. The same command again resumes a run that was stopped.
"""

from jaxgen import runs, training
from jaxgen.potts.studies.digits import DigitsConfig, DigitsTask


def run(config: DigitsConfig, workdir) -> None:
    """Train all models, then draw, anneal and judge."""
    training.run_task(DigitsTask.load, config, workdir)


if __name__ == "__main__":
    runs.main(DigitsConfig, run)
