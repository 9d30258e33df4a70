"""Compare lattices from tied couplings to hidden sites, at equal training time, on binarised MNIST or your own images.

  python -m experiments.ebm_lattices --workdir=runs/lattices
  python -m experiments.ebm_lattices --quick --workdir=runs/lattices_quick
  python -m experiments.ebm_lattices --lattices=latent_window --seconds=3600 --workdir=runs/latent
  python -m experiments.ebm_lattices --images=mine.npz --workdir=runs/lattices_mine

The folder then holds table.md, figures/lattices.png, figures/samples.png, result.json, and a run folder per lattice.
Likelihoods are of the fixed binarisation of the test images, by annealed importance sampling; sums over hidden sites
are exact. The same command again resumes a run that was stopped.
"""

from jaxgen import runs
from jaxgen.potts.studies.lattices.comparison import prepare
from jaxgen.potts.studies.lattices.task import LatticesConfig


def run(config: LatticesConfig, workdir) -> None:
    """Train and measure every lattice, then compare."""
    runs.execute(config, workdir, prepare)


if __name__ == "__main__":
    runs.main(LatticesConfig, run)
