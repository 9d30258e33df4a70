"""The settings of a denoising machine and of its training; `experiments/flags` holds those of the records."""

import dataclasses

from jaxgen import data
from jaxgen.potts.denoising.noise import SCHEDULES
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS


@dataclasses.dataclass(frozen=True)
class DenoisingConfig:
    """The settings of a denoising machine; the defaults train a binary machine of all classes."""

    seed: int = seed_option("seed of parameters, data order, chains and samples", group="run")
    log_every: int = option(50, "steps between records of the training metrics", group="run", low=1, high=MOST_STEPS)
    eval_every: int = option(1000, "steps between evaluations and pictures", group="run", low=1, high=MOST_STEPS)
    checkpoint_every: int = option(1000, "steps between checkpoints", group="run", low=1, high=MOST_STEPS)

    dataset: str = data.dataset_option()
    images: str = data.images_option()
    data_dir: str = data.data_dir_option()
    levels: int = data.levels_option(2, "grey levels per pixel; with 2, grey is the probability of white")
    crop: float = option(
        0.003, "leave out pixels whose mean brightness is at most this share of white", group="data", low=0.0, high=0.5
    )

    hidden: int = option(512, "binary hidden units", group="model", low=1, high=65536)
    noise_steps: int = option(4, "noise levels (T)", group="model", choices=tuple(SCHEDULES))
    labels: bool = option(True, "learn the classes, so that images of a given class can be drawn", group="model")

    sweeps: int = option(
        4, "Gibbs sweeps per level (k), in training and in generation", group="training", low=1, high=10**4
    )
    steps: int = option(6000, "parameter updates", group="training", low=1, high=MOST_STEPS, grows=True)
    recovery: float = option(
        0.8,
        "share of the steps whose chains start at noisy training images; those of the others start at pure noise",
        group="training",
        low=0.0,
        high=1.0,
    )
    batch_size: int = option(64, "images per step, each at every noise level", group="training", low=1, high=60_000)
    learning_rate: float = option(2e-3, "peak step size of Adam", group="training", low=0.0, high=1.0)
    warmup: int = option(
        200,
        "steps of linear warm-up, at most a tenth of all, followed by a cosine to 0",
        group="training",
        low=0,
        high=10**6,
    )
    ema_decay: float = option(
        0.998,
        "decay of the moving average of the parameters, at most 1 - 5 / steps",
        group="training",
        low=0.0,
        high=0.99999,
    )

    samples: int = option(
        5000,
        "images of the final evaluation, classes in turn",
        group="final samples",
        low=10,
        high=10**6,
        after_training=True,
    )
    guidance: float = option(
        1.4,
        "how strongly the label acts (w); 1 gives the model itself",
        group="final samples",
        low=0.0,
        high=10.0,
        after_training=True,
    )
    last_beta: float = option(
        1.3, "inverse temperature of the last level", group="final samples", low=0.01, high=100.0, after_training=True
    )
