"""Every setting of a variational autoencoder."""

import dataclasses

from jaxgen.runs import option, seed_option
from jaxgen.vae import networks
from jaxgen.vae.likelihoods import Likelihood, likelihood
from jaxgen.vae.model import NETWORKS, VAE

N_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """The defaults train a perceptron on stochastically binarised MNIST; `experiments/flags` holds what was run."""

    seed: int = seed_option("seed of parameters, data order, noise and samples", group="run")
    log_every: int = option(200, "steps between records of the training metrics", group="run", low=1, high=2**31 - 1)
    eval_every: int = option(2000, "steps between evaluations and pictures", group="run", low=1, high=2**31 - 1)
    checkpoint_every: int = option(2000, "steps between checkpoints", group="run", low=1, high=2**31 - 1)

    dataset: str = option("mnist", "images to learn", group="data", choices=("mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's four IDX files instead of the built-in ones", group="data")
    levels: int = option(
        2, "2: stochastically binarised; 4 or 16: grey in bins; 256: 8-bit grey", group="data", choices=(2, 4, 16, 256)
    )

    conditional: bool = option(False, "tell both networks the class", group="model")
    network: str = option("mlp", "perceptrons or convolutions", group="model", choices=NETWORKS)
    latent: int = option(40, "dimensions of z", group="model", low=1, high=10_000)
    width: int = option(500, "units of a hidden layer", group="model", low=1, high=65_536)
    features: int = option(16, "channels of the first convolution (network=conv)", group="model", low=1, high=4096)

    steps: int = option(12000, "parameter updates", group="optimiser", low=1, high=2**31 - 1, grows=True)
    batch_size: int = option(128, "images a step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(1e-3, "first step size of Adam; it falls to 0", group="optimiser", low=0.0, high=10.0)

    samples: int = option(
        10000, "samples drawn at the end; 2,000 or more are also judged", group="evaluation", low=100, high=1_000_000
    )
    importance_samples: int = option(
        256, "K of the importance-weighted bound", group="evaluation", low=1, high=1_000_000
    )
    test_images: int = option(10000, "test images for the bounds", group="evaluation", low=100, high=10000)


def build_model(config: VAEConfig) -> tuple[VAE, Likelihood]:
    """The model that a config describes and the meaning of its outputs."""
    law = likelihood(config.levels)
    if config.network == "mlp":
        encoder = networks.MLPEncoder(config.latent, config.width)
        decoder = networks.MLPDecoder(law.channels, config.width)
    else:
        encoder = networks.ConvEncoder(config.latent, config.width, config.features)
        decoder = networks.ConvDecoder(law.channels, config.width, config.features)
    return VAE(encoder, decoder, config.latent, config.levels, N_CLASSES if config.conditional else 0), law
