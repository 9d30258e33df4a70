"""Explore a dataset before modelling it: samples of every class, grey values, and the loss by level coding.

    python -m experiments.data_exploration --dataset=mnist --levels=2,4,16 --workdir=runs/data
    python -m experiments.data_exploration --images=my_images.npz --levels=4 --workdir=runs/my_data

Prints the images per class, the share of pixels at each level and the PSNR of the decoded images, and draws them in
figures/data.png. Only the training part of the images is used.
"""

from jaxgen import runs
from jaxgen.visualization.dataset import ExplorationConfig, explore


def run(config: ExplorationConfig, workdir) -> None:
    """Draw the figure and print the numbers."""
    path = workdir / "figures" / "data.png"
    print(explore(config, path))
    print(path)


if __name__ == "__main__":
    runs.main(ExplorationConfig, run)
