"""Figures of a VAE run: samples, reconstructions and curves."""

import typing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from jaxgen import runs, visualization
from jaxgen.vae.evaluate import Drawn, grey, reconstructions
from jaxgen.vae.report import one_of_each

if typing.TYPE_CHECKING:
    from jaxgen.vae.task import VAETask


def samples_figure(path: Path, task: "VAETask", drawn: Drawn) -> None:
    """Write test images beside draws from p(x | z) and the means of p(x | z) for the same z."""
    index, columns = _shown(task)
    levels = task.config.levels
    panels = [
        ("test images", grey(task.test[index], levels)),
        ("samples: draws from p(x | z)", grey(drawn.states[: len(index)], levels)),
        ("means of p(x | z), same z", drawn.means[: len(index)]),
    ]
    visualization.samples_figure(path, panels, columns=columns)


def reconstructions_figure(path: Path, task: "VAETask", params: dict) -> None:
    """Write test images beside their reconstructions."""
    index, columns = _shown(task)
    panels = [
        ("test images", grey(task.test[index], task.config.levels)),
        ("reconstructions: means at the mean of q(z | x)", reconstructions(task, params, index)),
    ]
    visualization.samples_figure(path, panels, columns=columns)


def curves_figure(path: Path, records: Sequence[dict[str, float]]) -> None:
    """Write the curves of the ELBO, its KL part and the gradient norm by step."""
    panels = {
        "ELBO (nats)": {
            "training": runs.curve(records, "loss", -1.0),
            "validation": runs.curve(records, "validation_elbo"),
        },
        "KL(q || prior) (nats)": {
            "training": runs.curve(records, "kl"),
            "validation": runs.curve(records, "validation_kl"),
        },
        "gradient norm": {"": runs.curve(records, "grad_norm")},
    }
    visualization.curves_figure(path, panels, xlabel="step")


def _shown(task: "VAETask") -> tuple[Int[np.ndarray, "n"], int]:
    """Return the test images to show and the number of columns: one class per column where there are classes."""
    if task.test_label is None:
        return np.arange(32), 8
    classes = task.model.n_classes
    return one_of_each(task.test_label, 4 * classes, classes), classes
