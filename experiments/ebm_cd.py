"""Train a Potts energy-based model of MNIST by contrastive divergence with block Gibbs sampling.

  python -m experiments.ebm_cd --flagfile=experiments/flags/ebm_digit3.flags --workdir=runs/digit3

The run folder then holds figures/samples.png (data beside samples), figures/curves.png, samples/final.npz, checkpoints,
metrics.jsonl, tensorboard/ and result.json. The same command again resumes a run that was stopped.
"""

from jaxgen import potts, runs, training


def run(config: potts.PottsConfig, workdir) -> None:
    """Train, draw fresh samples, measure them."""
    training.run_task(potts.PottsTask.load, config, workdir)


if __name__ == "__main__":
    runs.main(potts.PottsConfig, run, distributed=True)
