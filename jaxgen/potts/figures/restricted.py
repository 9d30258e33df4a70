"""Figures of a restricted machine: samples beside the data, and curves of its training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxgen import runs, visualization

_COLUMNS = 10


def samples_figure(
    path: Path, levels: int, train: UInt8[np.ndarray, "n H W"], images: UInt8[np.ndarray, "n H W"]
) -> None:
    """Write training images beside samples."""
    panels = [("training images", train, levels), ("samples, not selected", images, levels)]
    visualization.samples_figure(path, panels, columns=_COLUMNS)


def curves_figure(path: Path, records: Sequence[dict[str, float]]) -> None:
    """Write the curves of the estimated likelihood and of the training metrics by step."""
    panels = {
        "validation log-likelihood, nats": {"": runs.curve(records, "validation_log_likelihood")},
        "free energy, data minus chains": {"": runs.curve(records, "energy_gap")},
        "mean error of level frequencies": {"": runs.curve(records, "level_error")},
        "gradient norm": {"": runs.curve(records, "grad_norm")},
        "effective chains of the estimate": {"": runs.curve(records, "effective_chains")},
        "learning rate": {"": runs.curve(records, "learning_rate")},
    }
    visualization.curves_figure(path, panels, xlabel="step", log=["mean error of level frequencies", "gradient norm"])
