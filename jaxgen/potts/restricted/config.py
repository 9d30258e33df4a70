"""The settings of a restricted machine and of its training; `experiments/flags` holds those of the records."""

import dataclasses

from jaxgen import data
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS


@dataclasses.dataclass(frozen=True)
class RestrictedConfig:
    """The settings of a restricted machine; the defaults train a binary machine in minutes."""

    seed: int = seed_option("seed of parameters, data order, chains and samples", group="run")
    log_every: int = option(100, "steps between records of the training metrics", group="run", low=1, high=MOST_STEPS)
    eval_every: int = option(5000, "steps between estimates of the likelihood", group="run", low=1, high=MOST_STEPS)
    checkpoint_every: int = option(5000, "steps between checkpoints", group="run", low=1, high=MOST_STEPS)

    dataset: str = data.dataset_option()
    images: str = data.images_option()
    data_dir: str = data.data_dir_option()
    levels: int = data.levels_option(2, "grey levels per pixel; with 2, grey is the probability of white")

    hidden: int = option(512, "binary hidden units", group="model", low=1, high=65536)

    persistent: bool = option(
        True, "continue the chains from step to step (PCD) instead of starting them at the data (CD)", group="training"
    )
    chains: int = option(256, "chains of PCD; CD uses one chain per image", group="training", low=1, high=10**6)
    sweeps: int = option(1, "Gibbs sweeps per step (k)", group="training", low=1, high=10**6)
    steps: int = option(20_000, "parameter updates", group="training", low=1, high=MOST_STEPS, grows=True)
    batch_size: int = option(256, "images per step", group="training", low=1, high=60_000)
    learning_rate: float = option(1e-3, "peak step size of Adam, without momentum", group="training", low=0.0, high=1.0)
    warmup: int = option(
        200,
        "steps of linear warm-up, at most a tenth of all, followed by a cosine down to final_rate",
        group="training",
        low=0,
        high=10**8,
    )
    final_rate: float = option(0.0, "last step size, as a fraction of the peak", group="training", low=0.0, high=1.0)
    ema_decay: float = option(
        0.999,
        "decay of the moving average of the parameters, at most 1 - 5 / steps",
        group="training",
        low=0.0,
        high=0.99999,
    )

    samples: int = option(
        5000, "images of the final evaluation", group="evaluation", low=10, high=10**6, after_training=True
    )
    annealed_chains: int = option(
        256, "chains per estimate of log Z", group="evaluation", low=2, high=10**6, after_training=True
    )
    temperatures: int = option(
        10_000, "temperatures of the final estimate", group="evaluation", low=1, high=10**8, after_training=True
    )
    both_images: int = option(
        500,
        "test images whose likelihood is also estimated from below",
        group="evaluation",
        low=2,
        high=10**6,
        after_training=True,
    )
