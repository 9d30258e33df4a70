"""Draw images from a trained variational autoencoder.

  python -m experiments.vae_sample --workdir=runs/vae_grey --n=100
  python -m experiments.vae_sample --workdir=runs/vae_grey --classes=3,5 --n=10000      and then, to evaluate them:
  python -m experiments.evaluate --samples=runs/vae_grey/samples/NAME.npz --workdir=runs/vae_grey_evaluated

Writes samples/NAME.npz, draws x from p(x | z) with z from the prior, and figures/NAME.png, the draws beside the means
of p(x | z) for the same z, into the run folder; NAME holds the settings.
"""

import dataclasses
from pathlib import Path

import numpy as np

from jaxgen import data, runs, training, vae, visualization
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option

_SHOWN = 100


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """The settings of a set of samples."""

    seed: int = seed_option("seed of the samples", group="sampling")
    n: int = option(100, "number of images, with the classes in turn", group="sampling", low=1, high=1_000_000)
    classes: str = option(
        "all", "classes of a class-conditional model: 'all', or numbers such as '3' or '0,4,7'", group="sampling"
    )


def run(config: SampleConfig, workdir: Path) -> None:
    """Restore, draw, write."""
    runs.add_files(workdir, lambda: sample_files(config, Path(workdir)))


def sample_files(config: SampleConfig, workdir: Path) -> list[Path]:
    """Draw the samples and write both files.

    Raises:
        UserError: the folder holds no trained VAE, or classes that its model does not have.
    """
    task, state = vae.restore_run(workdir)
    model, levels, label, classes = task.model, task.config.levels, None, []
    if model.n_classes:
        classes = data.parse_classes(config.classes, model.n_classes)
        label = np.asarray(classes, np.uint8)[np.arange(config.n) % len(classes)]
    elif config.classes != "all":
        raise UserError("classes is given for a model without classes; allowed: 'all'")
    key = training.seed_key(config.seed)
    states, means = vae.generate(key, model, task.likelihood, state.params, config.n, label)
    name = f"step{int(state.step)}_n{config.n}_seed{config.seed}"
    if config.classes != "all":
        name += "_classes" + runs.name_part("-".join(map(str, classes)))
    samples, figure = workdir / "samples" / f"{name}.npz", workdir / "figures" / f"{name}.png"
    vae.save_samples(samples, states, label, levels)
    draws = vae.grey(states[:_SHOWN], levels)
    panels = [("samples: draws from p(x | z)", draws), ("means of p(x | z), same z", means[:_SHOWN])]
    visualization.samples_figure(figure, panels, columns=len(classes) if len(classes) > 3 else None)
    return [figure, samples]


if __name__ == "__main__":
    runs.main(SampleConfig, run)
