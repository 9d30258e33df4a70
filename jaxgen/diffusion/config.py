"""Every setting of a diffusion model and of its training."""

import dataclasses

import jax.numpy as jnp

from jaxgen.diffusion.model import Diffusion
from jaxgen.diffusion.objectives import Objective
from jaxgen.diffusion.process import PREDICTIONS, make_process
from jaxgen.diffusion.samplers.loop import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.diffusion.unet import SIZES, make_unet
from jaxgen.runs import option, seed_option

GUIDANCE_HELP = (
    "guidance w in u + w (c - u): 0 ignores the label, 1 is conditional; w_paper of (1 + w_paper) c is w - 1"
)
DTYPES = ("float32", "bfloat16")
PARTS = ("train", "all")


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
    """The defaults are a small model on all digits; `experiments/flags` holds settings that were run."""

    seed: int = seed_option("seed of parameters, data order, noise and samples", group="run")
    log_every: int = option(50, "steps between records of the training metrics", group="run", low=1, high=2**31 - 1)
    eval_every: int = option(1000, "steps between evaluations and pictures", group="run", low=1, high=2**31 - 1)
    checkpoint_every: int = option(1000, "steps between checkpoints", group="run", low=1, high=2**31 - 1)

    dataset: str = option("mnist", "images to learn", group="data", choices=("mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's four IDX files instead of the built-in ones", group="data")
    part: str = option(
        "train",
        "train: 54,000 images, held-out loss on 6,000 others; all: 60,000, held-out loss on the test images",
        group="data",
        choices=PARTS,
    )

    size: str = option("small", "U-Net", group="model", choices=tuple(SIZES))
    prediction: str = option("eps", "what the network answers", group="model", choices=PREDICTIONS)
    learned_variance: bool = option(False, "the network also answers the reverse variance", group="model")
    dtype: str = option("float32", "computation; parameters are float32", group="model", choices=DTYPES)

    schedule: str = option("cosine", "noise schedule", group="process", choices=SCHEDULES)
    timesteps: int = option(300, "T", group="process", low=2, high=100_000)

    epochs: float = option(20.0, "passes over the images", group="optimiser", low=0.0, high=1_000_000, grows=True)
    batch_size: int = option(128, "images a step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(
        1e-3, "step size of Adam; a cosine, one value an epoch, down to a tenth", group="optimiser", low=0.0, high=10.0
    )
    label_dropout: float = option(0.1, "share of labels left out, for guidance", group="optimiser", low=0.0, high=1.0)
    min_snr: float | None = option(
        None, "gamma of the min-SNR weights, commonly 5", group="optimiser", low=0.0, high=1e6
    )
    clip: float = option(1.0, "largest norm of the gradient", group="optimiser", low=0.0, high=1e6)
    ema_decay: float = option(0.999, "decay of the parameters' moving average", group="optimiser", low=0.0, high=0.9999)

    sampler: str = option("dpm_solver", "of the final samples", group="final samples", choices=SAMPLERS)
    sample_steps: int = option(
        30, "steps of that sampler, at most timesteps", group="final samples", low=1, high=100_000
    )
    guidance: float = option(3.0, GUIDANCE_HELP, group="final samples", low=0.0, high=100.0)
    samples: int = option(2000, "final samples, the ten classes in turn", group="final samples", low=10, high=1_000_000)
    likelihood_images: int = option(
        256, "held-out images in the likelihood bound", group="final samples", low=2, high=60_000
    )


def build_diffusion(config: DiffusionConfig) -> Diffusion:
    """The model that a config describes. ValueError naming the field that does not fit."""
    unet = make_unet(config.size, 2 if config.learned_variance else 1, jnp.dtype(config.dtype))
    return Diffusion(unet, make_process(config.schedule, config.timesteps), config.prediction)


def build_objective(config: DiffusionConfig) -> Objective:
    """The objective that a config describes."""
    return Objective(config.prediction, config.min_snr, config.label_dropout)
