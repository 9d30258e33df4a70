"""Train a denoising Potts machine, which draws images of a given class from noise by a few short Gibbs runs.

  python -m experiments.ebm_denoising --flagfile=experiments/flags/denoising_digits.flags --workdir=runs/denoising
  python -m experiments.ebm_denoising --flagfile=experiments/flags/denoising_digits_4levels.flags --workdir=runs/grey

The run folder then holds figures/samples.png (data beside samples, one class per column), figures/levels.gif (noise
levels one after another), figures/curves.png, samples/final.npz for experiments.evaluate, checkpoints, metrics.jsonl,
tensorboard/ and result.json. The same command again resumes a run that was stopped.
"""

from jaxgen import runs, training
from jaxgen.potts.denoising import DenoisingConfig, DenoisingTask


def run(config: DenoisingConfig, workdir) -> None:
    """Train, draw images of every class, judge them."""
    training.run_task(DenoisingTask.load, config, workdir)


if __name__ == "__main__":
    runs.main(DenoisingConfig, run, distributed=True)
