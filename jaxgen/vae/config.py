"""The settings of a variational autoencoder."""

import dataclasses

from jaxtyping import Array, Key

from jaxgen import data, training
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS
from jaxgen.vae import networks
from jaxgen.vae.likelihoods import Likelihood, likelihood
from jaxgen.vae.model import NETWORKS, VAE

N_CLASSES = 10
_USES = ("init", "steps", "order", "validation", "test", "samples")


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """The defaults train a perceptron on stochastically binarised MNIST; `experiments/flags` holds others."""

    seed: int = seed_option("seed of parameters, data order, noise and samples", group="run")
    log_every: int = option(200, "steps between records of the training metrics", group="run", low=1, high=MOST_STEPS)
    eval_every: int = option(2000, "steps between evaluations and pictures", group="run", low=1, high=MOST_STEPS)
    checkpoint_every: int = option(2000, "steps between checkpoints", group="run", low=1, high=MOST_STEPS)

    dataset: str = data.dataset_option()
    images: str = data.images_option()
    data_dir: str = data.data_dir_option()
    levels: int = option(
        2,
        "2: stochastically binarised; 4 or 16: grey in bins of equal width; 256: 8-bit grey",
        group="data",
        choices=(2, 4, 16, 256),
    )

    conditional: bool = option(False, "give the class to the encoder, the decoder and the prior", group="model")
    network: str = option("mlp", "multilayer perceptrons or convolutions", group="model", choices=NETWORKS)
    latent: int = option(40, "dimensions of z", group="model", low=1, high=10_000)
    width: int = option(500, "units per hidden layer", group="model", low=1, high=65_536)
    features: int = option(16, "channels of the first convolution (network=conv)", group="model", low=1, high=4096)

    steps: int = option(12000, "parameter updates", group="optimiser", low=1, high=MOST_STEPS, grows=True)
    batch_size: int = option(128, "images per step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(
        1e-3, "initial step size of Adam; a cosine lowers it to 0", group="optimiser", low=0.0, high=10.0
    )

    samples: int = option(
        10000,
        "samples drawn at the end; 2,000 or more are also evaluated",
        group="evaluation",
        after_training=True,
        low=100,
        high=1_000_000,
    )
    importance_samples: int = option(
        256, "K of the importance-weighted bound", group="evaluation", after_training=True, low=1, high=1_000_000
    )
    test_images: int = option(
        10000, "test images for the bounds", group="evaluation", after_training=True, low=100, high=10000
    )


def build_model(
    config: VAEConfig, shape: tuple[int, int] = (28, 28), n_classes: int = N_CLASSES
) -> tuple[VAE, Likelihood]:
    """Return the model that a config describes, and the likelihood that gives its outputs their meaning.

    Args:
        config: the settings.
        shape: height and width of the images; multiples of 4 for network="conv".
        n_classes: classes of the labels, used if `config.conditional`.

    Raises:
        UserError: the convolutions do not fit the shape.
    """
    law = likelihood(config.levels)
    if config.network == "mlp":
        encoder = networks.MLPEncoder(config.latent, config.width)
        decoder = networks.MLPDecoder(law.channels, config.width, shape)
    else:
        networks.check_shape(shape)
        encoder = networks.ConvEncoder(config.latent, config.width, config.features)
        decoder = networks.ConvDecoder(law.channels, config.width, config.features, shape)
    return VAE(encoder, decoder, config.latent, config.levels, n_classes if config.conditional else 0), law


def run_key(config: VAEConfig, use: str) -> Key[Array, ""]:
    """Return the key of one use in a run: "init", "steps", "order", "validation", "test" or "samples"."""
    return training.stream(config.seed, use, _USES)
