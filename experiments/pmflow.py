"""Compare classifiers with a pushing-medium flow, their controls and their variants on MNIST, over several seeds.

  python -m experiments.pmflow --flagfile=experiments/flags/pmflow.flags --workdir=runs/pmflow
  python -m experiments.pmflow --flagfile=experiments/flags/pmflow_cnn.flags --workdir=runs/pmflow_cnn
  python -m experiments.pmflow --faithful --models=all --workdir=runs/pmflow_faithful

The run folder then holds figures/accuracy.png and figures/comparison.png (with --faithful figures/diagnosis.png),
ranking.txt, result.json, and under models/ one run folder per model, each with its tensorboard/. The same command again
resumes where it was stopped. Live curves: tensorboard --logdir runs/pmflow
"""

from jaxgen import pmflow, runs


def run(config: pmflow.PMFlowConfig, workdir) -> None:
    """Train every model with every seed, compare, draw, record."""
    runs.execute(config, workdir, pmflow.prepare)


if __name__ == "__main__":
    runs.main(pmflow.PMFlowConfig, run, distributed=True)
