"""The settings of a Potts EBM and of its contrastive divergence; `experiments/flags` holds those of the records."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from jaxgen import data, gibbs
from jaxgen.potts.contrastive import ContrastiveSettings
from jaxgen.potts.model import COUPLINGS, PottsEBM
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS

SIDE = 28  # height and width of both built-in datasets
N_CLASSES = 10  # of both built-in datasets
BEST = ("validation_log_pl", "max")  # the metric by which the best checkpoint is kept


@dataclasses.dataclass(frozen=True)
class PottsConfig:
    """The settings of a Potts EBM and of its training; the defaults train an edge model of all digits."""

    seed: int = seed_option("seed of parameters, data order, chains and samples", group="run")
    log_every: int = option(50, "steps between records of the training metrics", group="run", low=1, high=MOST_STEPS)
    eval_every: int = option(500, "steps between evaluations and pictures", group="run", low=1, high=MOST_STEPS)
    checkpoint_every: int = option(
        500, "steps between checkpoints, a multiple of eval_every", group="run", low=1, high=MOST_STEPS
    )

    dataset: str = data.dataset_option()
    images: str = data.images_option()
    data_dir: str = data.data_dir_option()
    classes: str = option(
        "all", "classes to keep: 'all', or numbers such as '3' or '0,1,7'", group="data", former="digits"
    )
    levels: int = data.levels_option(4)

    neighbourhood: str = option("4", "pixels joined to each pixel", group="model", choices=gibbs.NEIGHBOURHOODS)
    boundary: str = option("open", "edges of the image", group="model", choices=gibbs.BOUNDARIES)
    coupling: str = option(
        "edge", "edge: one coupling matrix per edge; tied: one strength per direction", group="model", choices=COUPLINGS
    )
    labels: bool = option(False, "join a class label to every pixel, so that one class can be sampled", group="model")
    init: str = option("log_marginals", "start of the biases", group="model", choices=("log_marginals", "zeros"))

    cd_steps: int = option(
        5, "Gibbs sweeps per training step (k of CD-k)", group="contrastive divergence", low=1, high=10**9
    )
    persistent: bool = option(True, "continue the chains from step to step (PCD)", group="contrastive divergence")
    chains: int = option(
        256, "chains of PCD; CD uses one chain per image", group="contrastive divergence", low=1, high=1_000_000
    )
    engine: str = option("lattice", "Gibbs engine", group="contrastive divergence", choices=gibbs.ENGINES)
    beta: float = option(1.0, "inverse temperature", group="contrastive divergence", low=0.01, high=1e6)
    l2: float = option(0.0, "weight decay of the couplings", group="contrastive divergence", low=0.0, high=10.0)
    centring: bool = option(False, "centre the statistics on the data's marginals", group="contrastive divergence")

    steps: int = option(4000, "parameter updates", group="optimiser", low=1, high=MOST_STEPS, grows=True)
    batch_size: int = option(256, "images per step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(2e-2, "step size of Adam", group="optimiser", low=0.0, high=10.0)
    schedule: str = option("cosine", "learning rate over the run", group="optimiser", choices=("cosine", "constant"))

    fresh_chains: int = option(
        4096, "chains of the final samples", group="final samples", low=1, high=1_000_000, after_training=True
    )
    fresh_sweeps: int = option(
        2000,
        "sweeps of the final samples, the first half annealing",
        group="final samples",
        low=1,
        high=10**9,
        after_training=True,
    )


def classes(config: PottsConfig, n_classes: int = N_CLASSES) -> list[int]:
    """Return the classes that `--classes` names. UserError if it is not "all" or a list of classes, each once."""
    return data.parse_classes(config.classes, n_classes, "classes")


def open_data(config: PottsConfig) -> data.Dataset:
    """Return the images that a config names. UserError if they do not exist or are in colour."""
    return data.open(config.dataset, config.images, config.data_dir).grey()


def coded_part(
    config: PottsConfig, dataset: data.Dataset, part: str
) -> tuple[UInt8[np.ndarray, "n H W"], UInt8[np.ndarray, "n"]]:
    """Return the states and labels of the selected classes in one part of a dataset."""
    selected = classes(config, dataset.n_classes)
    images, labels = data.select(*data.split(dataset, part), selected, dataset.n_classes)
    return data.encode(images, config.levels), labels


def build_model(config: PottsConfig, size: tuple[int, int] = (SIDE, SIDE), n_classes: int = N_CLASSES) -> PottsEBM:
    """Return the model that a config describes.

    Args:
        config: the settings.
        size: height and width of the images.
        n_classes: classes of the labels, used if `config.labels`.
    """
    lattice = gibbs.Lattice.grid(*size, config.neighbourhood, config.boundary)
    return PottsEBM(lattice, config.levels, config.coupling, n_classes if config.labels else 0)


def contrastive_settings(config: PottsConfig) -> ContrastiveSettings:
    """Return the part of a config that `contrastive_divergence` reads."""
    return ContrastiveSettings(config.cd_steps, config.persistent, config.engine, config.beta)
