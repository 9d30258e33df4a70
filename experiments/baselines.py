"""Fit the two models whose likelihood is exact, independent pixels and the Chow-Liu tree, to a dataset.

  python -m experiments.baselines --dataset=mnist --levels=2 --workdir=runs/baselines_2
  python -m experiments.baselines --dataset=mnist --levels=4 --workdir=runs/baselines_4

With 2 levels both are fitted twice: to stochastically binarised images, for which the literature states likelihoods,
and to images thresholded at half grey, which the other 2-level models here learn. Both kinds of samples, and
stochastically binarised real images, are evaluated against test images thresholded at half grey. The run folder then
holds 10,000 exact samples of each model in samples/*.npz, figures/samples_*.png and result.json.
"""

from jaxgen import runs
from jaxgen.evaluation.baselines.study import BaselinesConfig, prepare


def run(config: BaselinesConfig, workdir) -> None:
    """Fit, score, draw and evaluate both models in every coding."""
    runs.execute(config, workdir, prepare)


if __name__ == "__main__":
    runs.main(BaselinesConfig, run)
