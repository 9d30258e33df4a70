"""The seal of a checkpoint: a JSON file with the CRC-32 of every file and the type and shape of every array."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import jax

from jaxgen.runs.atomic import PREFIX
from jaxgen.training.state import TrainState

SEAL = "seal.json"
FORMAT = 2
ARRAYS = {1: "default", 2: "state"}  # the folder of the arrays, by format


class DamagedError(Exception):
    """A checkpoint is not what was written."""


def upgraded(seal: dict, folder: Path) -> dict:
    """Return a seal of format 1 with what it lacks; its metrics lie in a file of their own."""
    path = folder / "metrics" / "metrics"
    metrics: Any = {}
    if path.exists():
        try:
            metrics = json.loads(path.read_bytes())
        except (ValueError, RecursionError, OSError):
            raise DamagedError("metrics/metrics is changed") from None
    return {"format": 1, "window": {}, "metrics": metrics} | seal


def has_structure(seal: dict) -> bool:
    """Return whether a seal has the fields that are read from it, of the right types."""
    files, arrays, metrics = (seal.get(name) for name in ("files", "arrays", "metrics"))
    if not all(isinstance(part, dict) for part in (files, arrays, metrics, seal.get("window"))):
        return False
    try:
        [float(value) for value in metrics.values()]
    except (TypeError, ValueError, OverflowError):
        return False
    return bool(files) and all(isinstance(value, str) for value in arrays.values())


def digests(folder: Path) -> dict[str, int]:
    """Return the CRC-32 of every file under a checkpoint folder, by relative path; a file that vanishes has none."""
    crcs = {}
    for path in sorted(folder.rglob("*")):
        if path.name == SEAL or path.name.startswith(PREFIX):
            continue
        try:
            if path.is_file():
                crcs[path.relative_to(folder).as_posix()] = zlib.crc32(path.read_bytes())
        except OSError:
            continue
    return crcs


def crc(seal: dict) -> int:
    """Return the CRC-32 of a seal's own content."""
    content = {name: value for name, value in seal.items() if name != "crc"}
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def plain(values: dict) -> dict:
    """Return nested values as JSON has them: floats exactly, infinities and NaN as strings that float() reads."""
    numbers = {}
    for name, value in values.items():
        if isinstance(value, dict):
            numbers[name] = plain(value)
        elif isinstance(value, int):
            numbers[name] = value
        else:
            numbers[name] = float(value) if math.isfinite(float(value)) else str(float(value))
    return numbers


def shapes(arrays: TrainState) -> dict[str, str]:
    """Return the type and shape of every leaf, by its path in the state."""
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    return {jax.tree_util.keystr(path).lstrip("."): f"{leaf.dtype}{leaf.shape}" for path, leaf in leaves}
