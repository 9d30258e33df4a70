"""Measure the log-likelihood of test images under a trained Potts model by annealed importance sampling.

  python -m experiments.ebm_likelihood --workdir=runs/digit3

log Z is estimated twice: annealed from independent pixels, which is too low on average, and from samples of the model,
which is too high. figures/likelihood.png shows both at a hundredth, a tenth and all of the temperatures;
likelihood.json holds the numbers, with those of independent pixels and of the Chow-Liu tree on the same images. The
same command again resumes one that was stopped.
"""

from jaxgen import runs
from jaxgen.potts.studies.likelihood import LikelihoodConfig, measure


def run(config: LikelihoodConfig, workdir) -> None:
    """Restore, anneal at three lengths, write the record and the figure."""
    runs.add_record(config, workdir / "likelihood.json", lambda: measure(config, workdir))


if __name__ == "__main__":
    runs.main(LikelihoodConfig, run)
