"""How far is each estimator's gradient from the exact one, against beta, and along training?

  python -m experiments.energy_learning_gradients --workdir=runs/gradients

The run folder then holds figures/slopes.png (relative error against beta in float64, with fitted slopes),
figures/cosines.png (layer-wise cosine to the exact gradient while MNIST is learnt) and result.json.
"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
import optax

from jaxgen import data, energy_learning, runs
from jaxgen.runs import option, seed_option

# Scheme, energy and the gradient it is held against: that of the free equilibrium, or that of the forward pass.
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
    """A small network for the slopes, a middling one for the cosines."""

    seed: int = seed_option("seed of parameters and examples", group="run")
    halvings: int = option(5, "how often beta is halved", group="slopes", low=4, high=12)
    width: int = option(64, "units of the two hidden layers", group="cosines", low=1, high=65_536)
    steps: int = option(300, "updates of batches of 128", group="cosines", low=1, high=2**31 - 1)
    every: int = option(20, "updates between comparisons", group="cosines", low=1, high=2**31 - 1)


def run(config: GradientsConfig, workdir: Path) -> None:
    """Fit the slopes, then train and compare."""
    start = time.perf_counter()
    runs.configure()
    with runs.RunFolder.open(workdir, config) as folder:
        curves = energy_learning.error_curves(config.seed, config.halvings)
        energy_learning.slopes_figure(folder.figures / "slopes.png", curves)
        found = directions(config)
        steps = range(0, config.steps, config.every)
        energy_learning.cosine_figure(folder.figures / "cosines.png", steps, found)
        rows = [
            runs.Row(f"slope, {name}", curve.slope, "", curve.expected, f"error {curve.error[-1]:.2g} at the end")
            for name, curve in curves.items()
        ]
        for name, error in energy_learning.exact_errors(config.seed).items():
            rows.append(runs.Row(f"relative error to backprop, {name}", error))
        for name, cosine in found.items():
            text = ", ".join(f"{value:.3f}" for value in cosine[-1])
            note = f"layers 1 to 3: {text}; lowest on the way {cosine.min():.3f}"
            rows.append(runs.Row(f"cosine after {steps[-1]} updates, {name}", cosine[-1].mean(), "", "", note))
        runs.write_record(
            folder.path / "result.json",
            title="gradient estimators",
            family="Energy-based learning",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )
    print(*rows, sep="\n")


def directions(config: GradientsConfig) -> dict[str, np.ndarray]:
    """Cosines on the last batch, (comparisons, layers), of every scheme while it trains on MNIST."""
    images, labels = data.split(data.load("mnist"), "train")
    order = data.EpochOrder(jax.random.key(config.seed), len(images), 128)
    batches = [batch_of(images, labels, order.indices(step)) for step in range(config.steps + 1)]
    found = {}
    for name, (scheme, energy, exact) in SCHEMES.items():
        setting = energy_learning.EnergyLearningConfig(
            scheme=scheme, energy=energy, dataset="mnist", widths=f"{config.width},{config.width}", weight_scale=0.5,
            beta=0.1, free_sweeps=100, nudged_sweeps=100, tolerance=1e-5, step_size=0.2,
        )  # fmt: skip
        model = energy_learning.build_model(setting, 10)
        settings = energy_learning.build_settings(setting)
        grad_fn, reference = (energy_learning.build_scheme(one, model, settings) for one in (scheme, exact))
        params = model.network.init(jax.random.key(config.seed), batches[0]["x"])
        tx = optax.adam(1e-3)
        found[name] = energy_learning.cosines(grad_fn, reference, params, batches, config.every, tx)
    return found


def batch_of(images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
    """Flat images in [0, 1] and one-hot labels."""
    flat = images[index].reshape(len(index), -1).astype(np.float32) / 255
    return {"x": flat, "y": np.eye(10, dtype=np.float32)[labels[index]]}


if __name__ == "__main__":
    runs.main(GradientsConfig, run)
