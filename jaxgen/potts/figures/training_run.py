"""Figures of one training run of a Potts model: samples beside the data, and curves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxgen import runs, visualization
from jaxgen.potts.figures.samples import of_classes
from jaxgen.potts.sampling import FreshSamples
from jaxgen.potts.task import PottsTask

_SHOWN = 64


def samples_figure(path: Path, task: PottsTask, fresh: FreshSamples) -> None:
    """Write 64 training images drawn at random beside 64 samples that were not selected."""
    config, n = task.config, len(task.train)
    shown = np.random.default_rng(config.seed).choice(n, _SHOWN, replace=n < _SHOWN)
    if fresh.label is not None:
        shown = shown[np.argsort(np.asarray(task.train_label)[shown], kind="stable")]
    states = np.asarray(fresh.states)
    samples = states[np.linspace(0, len(states) - 1, _SHOWN).astype(int)]
    panels = [
        (f"training data{of_classes(fresh.label)}", task.train[shown], config.levels),
        (f"samples, {fresh.description}", samples, config.levels),
    ]
    visualization.samples_figure(path, panels, columns=8)


def curves_figure(path: Path, records: Sequence[dict[str, float]]) -> None:
    """Write the curves of energies, gradients, mixing, likelihood and moment errors by step."""
    panels = {
        "energy": {"data": runs.curve(records, "data_energy"), "chains": runs.curve(records, "sample_energy")},
        "gradient norm": {"": runs.curve(records, "grad_norm")},
        "autocorrelation of chains over k sweeps": {"": runs.curve(records, "lag_autocorrelation")},
        "log pseudo-likelihood, validation (nats)": {"": runs.curve(records, "validation_log_pl")},
        "moment errors, 512 fresh chains": {
            "P(x_i)": runs.curve(records, "marginal_error"),
            "P(x_i, x_j)": runs.curve(records, "pair_error"),
        },
        "learning rate": {"": runs.curve(records, "learning_rate")},
    }
    log = ["gradient norm", "moment errors, 512 fresh chains"]
    visualization.curves_figure(path, panels, xlabel="step", log=log)
