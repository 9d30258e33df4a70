"""Train a restricted Potts machine by persistent contrastive divergence, and measure its log-likelihood in nats.

  python -m experiments.ebm_restricted --flagfile=experiments/flags/restricted_digits.flags --workdir=runs/restricted
  python -m experiments.ebm_restricted --levels=4 --workdir=runs/restricted_4levels

Two estimates bracket the log-likelihood of the test images: one by annealed importance sampling of log Z from below,
and one by the reverse path from the images. With 2 levels the test images have the fixed binarisation of all records.
The run folder then holds figures/samples.png, figures/curves.png, samples/final.npz for experiments.evaluate,
checkpoints, metrics.jsonl, tensorboard/ and result.json. The same command again resumes a run that was stopped.
"""

from jaxgen import runs, training
from jaxgen.potts.restricted.config import RestrictedConfig
from jaxgen.potts.restricted.task import RestrictedTask


def run(config: RestrictedConfig, workdir) -> None:
    """Train, measure the likelihood, draw samples and judge them."""
    training.run_task(RestrictedTask.load, config, workdir)


if __name__ == "__main__":
    runs.main(RestrictedConfig, run, distributed=True)
