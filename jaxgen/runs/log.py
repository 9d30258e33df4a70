"""The record of a run: metrics.jsonl, one JSON object per record, and TensorBoard event files."""

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from jaxgen.errors import UserError
from jaxgen.runs.atomic import atomic_write, naming
from jaxgen.runs.events import EventFile
from jaxgen.runs.processes import bytes_from_first, several

# Edges of the histograms, in steps of 10 %, as TensorFlow has them.
_POSITIVE = 1e-12 * 1.1 ** np.arange(774)
_BINS = [*-_POSITIVE[::-1], 0.0, *_POSITIVE]


class Logger:
    """Writes `folder/metrics.jsonl` and `folder/tensorboard/`; values may be numpy or JAX arrays.

    Every method returns when its record is written, and raises an OSError that names the file if it cannot be.
    """

    def __init__(self, folder: str | Path):
        self._path = Path(folder) / "metrics.jsonl"
        self._folder = Path(folder) / "tensorboard"
        self._open: dict[str, EventFile] = {}
        self._start = 0

    def rewind(self, step: int) -> None:
        """Forget what was recorded after `step`, the step restored, so that going on records nothing twice.

        With several processes all call it, and then have the records of process 0.
        """
        self._start = step + 1
        if self._path.exists():
            before = [json.dumps(record) + "\n" for record in _records(self._path) if record["step"] <= step]
            with atomic_write(self._path) as temporary:
                temporary.write_text("".join(before))
        if several():
            content = bytes_from_first(self._path.read_bytes() if self._path.exists() else b"")
            with atomic_write(self._path) as temporary:
                temporary.write_bytes(content)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Append one line {"step", "time", name: value, ...}; nan and infinities become strings for float()."""
        from tensorboardX import summary

        values = {name: float(value) for name, value in values.items()}
        record = {"step": step, "time": round(time.time(), 3)}
        record |= {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        with naming(self._path), open(self._path, "a") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        for name, value in values.items():
            self._events().add(summary.scalar(name, value), step)

    def histogram(self, step: int, name: str, values: Float[ArrayLike, "..."]) -> None:
        """Record the distribution of an array's entries."""
        from tensorboardX import summary

        self._events().add(summary.histogram(name, np.asarray(values).ravel(), _BINS), step)

    def images(self, step: int, name: str, images: Shaped[ArrayLike, "n h w"]) -> None:
        """Record a grid of grey images, uint8 or floats in [0, 1]. UserError on another shape or range."""
        from tensorboardX import summary

        images = np.asarray(images)
        if images.ndim != 3:
            raise UserError(f"images has shape {images.shape}; allowed: (n, h, w)")
        if images.dtype != np.uint8 and not (images.min() >= 0.0 and images.max() <= 1.0):
            raise UserError(f"images lie in [{images.min()}, {images.max()}]; allowed: uint8, or floats in [0, 1]")
        coloured = images[..., None].repeat(3, axis=-1)
        self._events().add(summary.image(name, coloured, dataformats="NHWC"), step)

    def text(self, step: int, name: str, text: str) -> None:
        """Record a note, shown as Markdown."""
        from tensorboardX import summary

        self._events().add(summary.text(name, text), step)

    def close(self) -> None:
        """Close the event file; a later record opens a new one."""
        for events in self._open.values():
            events.close()
        self._open.clear()

    def _events(self) -> EventFile:
        if not self._open:
            self._open["file"] = EventFile(self._folder, self._start)
        return self._open["file"]


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """Return the records of a metrics.jsonl in order, non-finite values as floats again.

    Lines that are damaged are left out, and named on stderr.
    """
    return [
        {name: float(value) if name != "step" else value for name, value in r.items()} for r in _records(Path(path))
    ]


def curve(records: Sequence[dict[str, float]], name: str, sign: float = 1.0) -> tuple[list[float], list[float]]:
    """Return the steps at which a metric was recorded, and its values times `sign`."""
    named = [record for record in records if name in record]
    return [record["step"] for record in named], [sign * record[name] for record in named]


def training_seconds(records: Sequence[dict[str, float]], images_per_step: int) -> float:
    """Return the seconds of training of a run over all its starts, without compilation, evaluation and saving.

    Args:
        records: of `read_metrics`; those with "images_per_s" cover the steps since the record before.
        images_per_step: images per update, over all devices.
    """
    seconds, done = 0.0, 0
    for record in records:
        if "images_per_s" in record:
            seconds += (record["step"] - done) * images_per_step / record["images_per_s"]
            done = record["step"]
    return seconds


def _records(path: Path) -> list[dict[str, Any]]:
    # A killed run can leave half a line at the end; it belongs to a step that will be done again.
    lines = path.read_bytes().split(b"\n")[:-1]
    records, damaged = [], []
    for number, line in enumerate(lines, 1):
        record = _record(line)
        if record is None:
            damaged.append(number)
        else:
            records.append(record)
    if damaged:
        named = ", ".join(map(str, damaged[:5])) + ", ..." * (len(damaged) > 5)
        left = f"{len(damaged)} of {len(lines)} records are left out"
        print(f"{path} is damaged in line {named}: {left}", file=sys.stderr)
    return records


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line, or None if it is none that `Logger.scalars` writes."""
    try:
        record = json.loads(line)
        step = record["step"]
        numbers = [float(value) for name, value in record.items() if not isinstance(value, bool)]
    # What a flipped bit can make of a line: other text, another type, a value that is no number, a key renamed.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    sound = isinstance(step, int) and not isinstance(step, bool) and step >= 0 and len(numbers) == len(record)
    return record if sound else None
