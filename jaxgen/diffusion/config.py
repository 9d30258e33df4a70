"""The settings of a diffusion model and of its training."""

import dataclasses
import re
from typing import Any

import jax.numpy as jnp

from jaxgen import data
from jaxgen.diffusion.edm import EDM
from jaxgen.diffusion.model import Diffusion, check_sampler
from jaxgen.diffusion.objectives import Objective
from jaxgen.diffusion.process import PREDICTIONS, make_process
from jaxgen.diffusion.rectified_flow import FLOW
from jaxgen.diffusion.samplers.flow import FLOW_SAMPLERS
from jaxgen.diffusion.samplers.loop import SAMPLERS
from jaxgen.diffusion.samplers.time_grids import GRIDS
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.diffusion.unet import SIZES, UNet, make_unet
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS

GUIDANCE_HELP = (
    "guidance w in u + w (c - u): 0 ignores the label, 1 is conditional; w_paper of (1 + w_paper) c is w - 1"
)
DTYPES = ("float32", "bfloat16")
PARTS = ("train", "all")
GRID_HELP = "times of the sampler; best: the most accurate grid of that sampler"


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
    """The defaults are a small model of all digits; `experiments/flags` holds the settings of the records."""

    seed: int = seed_option("seed of parameters, data order, noise and samples", group="run")
    log_every: int = option(50, "steps between records of the training metrics", group="run", low=1, high=MOST_STEPS)
    eval_every: int = option(1000, "steps between evaluations and pictures", group="run", low=1, high=MOST_STEPS)
    checkpoint_every: int = option(1000, "steps between checkpoints", group="run", low=1, high=MOST_STEPS)

    dataset: str = data.dataset_option()
    images: str = data.images_option()
    data_dir: str = data.data_dir_option()
    part: str = option(
        "train",
        "train: 54,000 images, held-out loss on 6,000 others; all: 60,000, held-out loss on the test images",
        group="data",
        choices=PARTS,
    )
    side: int = option(28, "height and width of the images; read from --images", group="data", low=4, high=1024)
    channels: int = option(1, "channels of the images; read from --images", group="data", low=1, high=16)
    classes: int = option(10, "number of classes; read from --images", group="data", low=1, high=100_000)

    size: str = option("small", "U-Net; the next six flags change its parts", group="model", choices=tuple(SIZES))
    base: int | None = option(None, "channels at full width, a multiple of 8", group="model", low=8, high=4096)
    multipliers: str | None = option(None, "width of each level in units of base, such as 1,2,4", group="model")
    blocks: int | None = option(None, "residual blocks per level and direction", group="model", low=1, high=64)
    patch: int | None = option(None, "side of the squares of pixels of the first level", group="model", low=1, high=64)
    attention: str | None = option(
        None, "'none', or where there is attention: 'middle', levels from 0, such as middle,1,2", group="model"
    )
    film: bool | None = option(None, "normalise first; time and label scale and shift the features", group="model")
    objective: str = option(
        "eps",
        "what the network predicts: eps, x0 or v at the times of the schedule; in continuous time flow, the velocity "
        "of straight paths (rectified flow), or edm, the preconditioned image of Karras et al. (2022)",
        group="model",
        choices=(*PREDICTIONS, FLOW, EDM),
        former="prediction",
    )
    learned_variance: bool = option(False, "whether the network also predicts the reverse variance", group="model")
    dtype: str = option("float32", "type of the computation; parameters are float32", group="model", choices=DTYPES)

    schedule: str = option("cosine", "noise schedule", group="process", choices=SCHEDULES)
    timesteps: int = option(300, "T", group="process", low=2, high=100_000)

    epochs: float = option(20.0, "passes over the images", group="optimiser", low=0.0, high=1_000_000, grows=True)
    batch_size: int = option(128, "images per step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(
        1e-3,
        "peak step size of Adam",
        group="optimiser",
        low=0.0,
        high=10.0,
    )
    decay: str = option(
        "epoch",
        "cosine of the step size, epoch: one value per epoch down to a tenth; step: every step, down to 0",
        group="optimiser",
        choices=("epoch", "step"),
    )
    warmup: int = option(0, "first steps, in which the step size rises", group="optimiser", low=0, high=MOST_STEPS)
    beta2: float = option(0.999, "decay of Adam's mean square", group="optimiser", low=0.0, high=0.99999)
    label_dropout: float = option(0.1, "share of labels left out, for guidance", group="optimiser", low=0.0, high=1.0)
    min_snr: float | None = option(
        None, "gamma of the min-SNR weights, commonly 5", group="optimiser", low=0.0, high=1e6
    )
    clip: float = option(1.0, "largest norm of the gradient", group="optimiser", low=0.0, high=1e6)
    ema_decay: float = option(
        0.999, "decay of the parameters' moving average, at most 1 - 5 / steps", group="optimiser", low=0.0, high=0.9999
    )
    ema_warmup: bool = option(False, "let the moving average forget its start sooner", group="optimiser")

    sampler: str = option(
        "dpm_solver",
        "sampler of the final samples; euler and midpoint with objective=flow",
        group="final samples",
        after_training=True,
        choices=(*SAMPLERS, *FLOW_SAMPLERS),
    )
    sample_steps: int = option(
        30, "steps of that sampler, at most timesteps", group="final samples", after_training=True, low=1, high=100_000
    )
    time_grid: str = option("best", GRID_HELP, group="final samples", after_training=True, choices=("best", *GRIDS))
    guidance: float = option(3.0, GUIDANCE_HELP, group="final samples", after_training=True, low=0.0, high=100.0)
    samples: int = option(
        2000, "final samples, the classes in turn", group="final samples", after_training=True, low=10, high=1_000_000
    )
    likelihood_images: int = option(
        256, "held-out images in the variational bound", group="final samples", after_training=True, low=2, high=10_000
    )
    flow_images: int = option(
        64,
        "of these, images in the bound by the probability-flow ODE",
        group="final samples",
        after_training=True,
        low=2,
        high=10_000,
    )


def with_images(config: DiffusionConfig) -> DiffusionConfig:
    """Return the config with the side, channels and classes of its own images, if `images` names any.

    The run folder then says how the model is built, so that it is restored without the images.

    Raises:
        UserError: images that are not square, or what `data.load_images` refuses.
    """
    if not config.images:
        return config
    images = data.open(images=config.images, data_dir=config.data_dir)
    height, width = images.size
    if height != width:
        size = f"{height} x {width} pixels"
        raise UserError(f"images has {size} in {images.name}; allowed: square images, crop them first")
    return dataclasses.replace(config, side=height, channels=images.channels, classes=images.n_classes)


def build_unet(config: DiffusionConfig) -> UNet:
    """Return the U-Net that a config describes.

    Raises:
        UserError: parts of the U-Net that do not fit one another or the side of the images.
    """
    changes: dict[str, Any] = {
        name: getattr(config, name) for name in ("base", "blocks", "patch", "film") if getattr(config, name) is not None
    }
    if config.multipliers is not None:
        changes["multipliers"] = _numbers("multipliers", config.multipliers, "1,2,4", 1)
    if config.attention is not None:
        words = [word.strip() for word in config.attention.split(",")]
        levels = [word for word in words if word not in ("none", "middle")]
        changes["attention"] = "middle" in words
        changes["attention_levels"] = _numbers("attention", ",".join(levels), "middle,1,2", 0) if levels else ()
    unet = make_unet(
        config.size,
        2 if config.learned_variance else 1,
        jnp.dtype(config.dtype),
        channels=config.channels,
        classes=config.classes,
        **changes,
    )
    if config.side % unet.unit:
        raise UserError(
            f"side is {config.side}; allowed for this U-Net: a multiple of {unet.unit}, which is patch times 2 for "
            "each level after the first"
        )
    return unet


def build_diffusion(config: DiffusionConfig) -> Diffusion:
    """Return the model that a config describes.

    Raises:
        UserError: settings that do not fit one another.
    """
    shape = (config.side, config.side, config.channels)
    build_objective(config)
    process = make_process(config.schedule, config.timesteps)
    diffusion = Diffusion(build_unet(config), process, config.objective, shape)
    check_sampler(config.sampler, diffusion)
    return diffusion


def build_objective(config: DiffusionConfig) -> Objective:
    """Return the objective that a config describes.

    Raises:
        UserError: `min_snr` or `learned_variance` with flow or edm, which do not have them.
    """
    for name, without in {"min_snr": None, "learned_variance": False}.items():
        if config.objective in (FLOW, EDM) and getattr(config, name) != without:
            what = f"{name} is {getattr(config, name)!r} with objective={config.objective!r}"
            raise UserError(f"{what}; allowed: leave it out")
    return Objective(config.objective, config.min_snr, config.label_dropout)


def _numbers(name: str, text: str, example: str, low: int) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,3}", word) and int(word) >= low for word in words):
        raise UserError(f"{name} is {text!r}; allowed: integers from {low}, separated by commas, such as {example}")
    return tuple(int(word) for word in words)
