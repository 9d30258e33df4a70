"""Compare the gradient of each estimator with the exact one, by beta and during training.

  python -m experiments.energy_learning_gradients --workdir=runs/gradients

The run folder then holds figures/slopes.png (relative error against beta in float64, with fitted slopes),
figures/cosines.png (cosine to the exact gradient per layer while MNIST is learned) and result.json.
"""

import dataclasses

from jaxgen import runs
from jaxgen.energy_learning import comparison
from jaxgen.energy_learning.report import FAMILY
from jaxgen.runs import option, seed_option

# Scheme, energy and the gradient it is compared with: that of the free equilibrium, or that of the forward pass.
SCHEMES = {
    "EP centred, with recurrent backprop": ("ep_centred", "clipped", "recurrent_backprop"),
    "EP centred, with backprop": ("ep_centred", "clipped", "backprop"),
    "first step, with recurrent backprop": ("first_step", "clipped", "recurrent_backprop"),
    "CHL, with recurrent backprop": ("contrastive_hebbian", "clipped", "recurrent_backprop"),
    "CHL, with backprop": ("contrastive_hebbian", "clipped", "backprop"),
    "PC equilibrium, with backprop": ("pc_equilibrium", "predictive_coding", "backprop"),
    "PC soft nudge, with backprop": ("pc_soft_nudge", "predictive_coding", "backprop"),
    "Z-IL, with backprop": ("z_il", "predictive_coding", "backprop"),
}


@dataclasses.dataclass(frozen=True)
class GradientsConfig:
    """A small network for the slopes, a larger one for the cosines."""

    seed: int = seed_option("seed of parameters and examples")
    halvings: int = option(5, "number of times that beta is halved", group="slopes", low=4, high=12)
    width: int = option(64, "units of the two hidden layers", group="cosines", low=1, high=65_536)
    steps: int = option(300, "updates of batches of 128", group="cosines", low=1, high=100_000)
    every: int = option(20, "updates between comparisons", group="cosines", low=1, high=100_000)


def run(config: GradientsConfig, workdir) -> None:
    """Fit the slopes, then train and compare."""
    runs.execute(config, workdir, lambda config: lambda folder: measure(config, folder))


def measure(config: GradientsConfig, folder: runs.RunFolder) -> runs.Report:
    """Compute slopes and cosines, draw them and report them."""
    from jaxgen.energy_learning.figures import cosine_figure, slopes_figure

    curves = comparison.error_curves(config.seed, config.halvings)
    slopes_figure(folder.figures / "slopes.png", curves)
    cosines = comparison.training_cosines(config.seed, config.width, config.steps, config.every, SCHEMES)
    steps = range(0, config.steps, config.every)
    cosine_figure(folder.figures / "cosines.png", steps, cosines)
    rows = [
        runs.Row(f"slope, {name}", curve.slope, "", curve.expected, f"error {curve.error[-1]:.2g} at the smallest beta")
        for name, curve in curves.items()
    ]
    for name, error in comparison.exact_errors(config.seed).items():
        rows.append(runs.Row(f"relative error to backprop, {name}", error))
    for name, cosine in cosines.items():
        text = ", ".join(f"{value:.3f}" for value in cosine[-1])
        note = f"layers 1 to 3: {text}; lowest during training {cosine.min():.3f}"
        rows.append(runs.Row(f"cosine after {steps[-1]} updates, {name}", cosine[-1].mean(), "", "", note))
    return runs.Report("gradient estimators against backprop", FAMILY, rows, sorted(folder.figures.glob("*.png")))


if __name__ == "__main__":
    runs.main(GradientsConfig, run)
