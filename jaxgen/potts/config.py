"""The settings of a Potts EBM that is trained by contrastive divergence."""

import dataclasses
import re

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.contrastive import ContrastiveSettings
from jaxgen.potts.model import COUPLINGS, PottsEBM
from jaxgen.runs import option, seed_option

SIDE = 28  # pixels of both datasets
N_CLASSES = 10
BEST = ("validation_log_pl", "max")  # the metric by which the best checkpoint is kept


@dataclasses.dataclass(frozen=True)
class PottsConfig:
    """The defaults train an edge model of all digits; `experiments/flags` holds the settings of the records."""

    seed: int = seed_option("seed of parameters, data order, chains and samples", group="run")
    log_every: int = option(50, "steps between records of the training metrics", group="run", low=1, high=2**31 - 1)
    eval_every: int = option(500, "steps between evaluations and pictures", group="run", low=1, high=2**31 - 1)
    checkpoint_every: int = option(
        500, "steps between checkpoints, a multiple of eval_every", group="run", low=1, high=2**31 - 1
    )

    dataset: str = option("mnist", "images to learn", group="data", choices=("mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's four IDX files instead of the built-in ones", group="data")
    digits: str = option("all", "classes to keep: 'all', or numbers such as '3' or '0,1,7'", group="data")
    levels: int = option(4, "grey levels per pixel", group="data", choices=(2, 4, 16))

    neighbourhood: str = option("4", "pixels joined to each pixel", group="model", choices=gibbs.NEIGHBOURHOODS)
    boundary: str = option("open", "edges of the image", group="model", choices=gibbs.BOUNDARIES)
    coupling: str = option(
        "edge", "one matrix per edge, or one strength per direction", group="model", choices=COUPLINGS
    )
    labels: bool = option(False, "join a class label to every pixel, to sample a class", group="model")
    init: str = option("log_marginals", "start of the biases", group="model", choices=("log_marginals", "zeros"))

    cd_steps: int = option(
        5, "Gibbs sweeps per training step (k of CD-k)", group="contrastive divergence", low=1, high=10**9
    )
    persistent: bool = option(True, "continue the chains from step to step (PCD)", group="contrastive divergence")
    chains: int = option(
        256, "chains of PCD; CD has one per image", group="contrastive divergence", low=1, high=1_000_000
    )
    engine: str = option("lattice", "Gibbs engine", group="contrastive divergence", choices=gibbs.ENGINES)
    beta: float = option(1.0, "inverse temperature", group="contrastive divergence", low=0.01, high=1e6)
    l2: float = option(0.0, "weight decay of the couplings", group="contrastive divergence", low=0.0, high=10.0)
    centring: bool = option(False, "centre the statistics on the data's marginals", group="contrastive divergence")

    steps: int = option(4000, "parameter updates", group="optimiser", low=1, high=2**31 - 1, grows=True)
    batch_size: int = option(256, "images per step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(2e-2, "step size of Adam", group="optimiser", low=0.0, high=10.0)
    schedule: str = option("cosine", "learning rate over the run", group="optimiser", choices=("cosine", "constant"))

    fresh_chains: int = option(4096, "chains of the final samples", group="final samples", low=1, high=1_000_000)
    fresh_sweeps: int = option(
        2000, "sweeps of the final samples, the first half annealing", group="final samples", low=1, high=10**9
    )


def classes(config: PottsConfig) -> list[int]:
    """Return the classes that `digits` names. UserError if it is not "all" or a list of 0 to 9, each once."""
    if config.digits == "all":
        return list(range(N_CLASSES))
    words = [word.strip() for word in config.digits.split(",")]
    numbers = [int(word) for word in words if re.fullmatch("[0-9]", word)]
    if len(numbers) < len(words) or len(set(numbers)) < len(numbers):
        raise UserError(
            f"digits is {config.digits!r}; allowed: 'all', or numbers 0 to 9, each once, such as '3' or '0,1,7'"
        )
    return numbers


def build_model(config: PottsConfig) -> PottsEBM:
    """Return the model that a config describes."""
    lattice = gibbs.Lattice.grid(SIDE, SIDE, config.neighbourhood, config.boundary)
    return PottsEBM(lattice, config.levels, config.coupling, N_CLASSES if config.labels else 0)


def contrastive_settings(config: PottsConfig) -> ContrastiveSettings:
    """Return the part of a config that `contrastive_divergence` reads."""
    return ContrastiveSettings(config.cd_steps, config.persistent, config.engine, config.beta)
