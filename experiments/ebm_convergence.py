"""Measure how fast samplers of a trained Potts energy-based model mix, and when their samples become readable.

  python -m experiments.ebm_convergence --workdir=runs/digit3

Chains start far apart: at noise, all black, all white, and at training images. figures/convergence.png shows energies,
autocorrelation, and the share of chains that a classifier reads as a class of the training set, by sweep.
convergence.json holds the numbers of block Gibbs sampling, of a sequential scan and of parallel tempering, timed in one
run. For lattices with two colours it also holds those of four colours (the same model with zero couplings on the
diagonals), and with --columns those of sweeps that draw every second column at once. The same command again resumes one
that was stopped.
"""

from jaxgen import runs
from jaxgen.potts.studies.convergence import ConvergenceConfig, measure


def run(config: ConvergenceConfig, workdir) -> None:
    """Restore, run the samplers, write the record and the figure."""
    runs.add_record(config, workdir / "convergence.json", lambda: measure(config, workdir))


if __name__ == "__main__":
    runs.main(ConvergenceConfig, run)
