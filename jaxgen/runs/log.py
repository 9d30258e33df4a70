"""The record of a run: metrics.jsonl, one JSON object a step, and TensorBoard event files."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from jaxgen.errors import UserError
from jaxgen.runs.atomic import atomic_write
from jaxgen.runs.processes import bytes_from_first, several


class Logger:
    """Writes `folder/metrics.jsonl` and `folder/tensorboard/`; values may be numpy or JAX arrays."""

    def __init__(self, folder: str | Path):
        self._path = Path(folder) / "metrics.jsonl"
        self._events = Path(folder) / "tensorboard"
        self._open: dict[str, Any] = {}
        self._start = 0

    def rewind(self, step: int) -> None:
        """Forget what was recorded after `step`, the step restored, so that going on records nothing twice.

        With several processes all call it, and have the records of process 0 then.
        """
        self._start = step + 1
        if self._path.exists():
            kept = [json.dumps(record) + "\n" for record in _records(self._path) if record["step"] <= step]
            with atomic_write(self._path) as temporary:
                temporary.write_text("".join(kept))
        if several():
            content = bytes_from_first(self._path.read_bytes() if self._path.exists() else b"")
            with atomic_write(self._path) as temporary:
                temporary.write_bytes(content)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One line {"step", "time", name: value, ...}; nan and infinities become the strings float() reads back."""
        values = {name: float(value) for name, value in values.items()}
        record = {"step": step, "time": round(time.time(), 3)}
        record |= {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        with open(self._path, "a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        for name, value in values.items():
            self._writer().add_scalar(name, value, step)

    def histogram(self, step: int, name: str, values: Float[np.ndarray, "..."]) -> None:
        """The distribution of an array's entries."""
        self._writer().add_histogram(name, np.asarray(values).ravel(), step)

    def images(self, step: int, name: str, images: Shaped[np.ndarray, "n h w"]) -> None:
        """A grid of grey images, uint8 or floats in [0, 1]. ValueError on another shape or range."""
        images = np.asarray(images)
        if images.ndim != 3:
            raise UserError(f"images has shape {images.shape}; allowed: (n, h, w)")
        if images.dtype != np.uint8 and not (images.min() >= 0.0 and images.max() <= 1.0):
            raise UserError(f"images lie in [{images.min()}, {images.max()}]; allowed: uint8, or floats in [0, 1]")
        self._writer().add_images(name, images[..., None].repeat(3, axis=-1), step, dataformats="NHWC")

    def text(self, step: int, name: str, text: str) -> None:
        """A note, shown as Markdown."""
        self._writer().add_text(name, text, step)

    def close(self) -> None:
        """Write out what is buffered."""
        for writer in self._open.values():
            writer.close()
        self._open.clear()

    def _writer(self) -> Any:
        if not self._open:
            # Imported at the first record: it takes as long as JAX itself.
            from tensorboardX import SummaryWriter

            self._open["writer"] = SummaryWriter(str(self._events), purge_step=self._start, flush_secs=10)
        return self._open["writer"]


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """The records of a metrics.jsonl in order, non-finite values as floats again."""
    return [
        {name: float(value) if name != "step" else value for name, value in r.items()} for r in _records(Path(path))
    ]


def curve(records: Sequence[dict[str, float]], name: str, sign: float = 1.0) -> tuple[list[float], list[float]]:
    """Return the steps at which a metric was recorded, and its values times `sign`."""
    named = [record for record in records if name in record]
    return [record["step"] for record in named], [sign * record[name] for record in named]


def _records(path: Path) -> list[dict[str, Any]]:
    # A killed run can leave half a line at the end; it belongs to a step that will be done again.
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
