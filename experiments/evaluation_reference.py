"""Train the two classifiers of the evaluation panel, and measure floor and ceilings of every measure with them.

  python -m experiments.evaluation_reference --dataset=mnist --workdir=runs/evaluation_mnist
  python -m experiments.evaluation_reference --dataset=fashion_mnist --workdir=runs/evaluation_fashion

The networks learn 54,000 training images; the accuracy on 6,000 validation images is only logged. The run folder then
holds weights/, which `experiments.evaluate --reference=...` reads; the package ships a copy in
jaxgen/evaluation/weights. The same command resumes a run that was stopped.
"""

from jaxgen import runs
from jaxgen.evaluation.reference_training import ReferenceConfig, prepare


def run(config: ReferenceConfig, workdir) -> None:
    """Train both networks, then measure and write the reference."""
    runs.execute(config, workdir, prepare)


if __name__ == "__main__":
    runs.main(ReferenceConfig, run)
