"""Draw pictures of a trained Potts energy-based model.

  python -m experiments.ebm_pictures --workdir=runs/digit3

figures/parameters.png: learned biases and couplings as maps. figures/blocks.png: which pixels are updated together.
figures/landscape.png: energies and basins of training images, samples and chains, by PCA and t-SNE.
figures/dynamics.gif: a chain from noise to digit, colour by colour, with its energy.
"""

from jaxgen import runs
from jaxgen.potts.studies.pictures import PicturesConfig, draw_pictures


def run(config: PicturesConfig, workdir) -> None:
    """Restore, draw every picture."""
    runs.add_files(workdir, lambda: draw_pictures(config, workdir))


if __name__ == "__main__":
    runs.main(PicturesConfig, run)
