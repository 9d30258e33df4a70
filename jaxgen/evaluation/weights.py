"""Files of a reference, bound together by one JSON file.

    NAME_features.npz  NAME_accuracy.npz  NAME_moments.npz       arrays
    NAME.json        the SHA-256 of each, the data's fingerprint, figures, and the SHA-256 of all that: the seal

Hashes are of the arrays' content, so that another zip library changes nothing. Nothing is pickled.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from jaxgen.errors import UserError
from jaxgen.runs.atomic import atomic_write
from jaxgen.runs.files import read_npz
from jaxgen.training.weights import content_hash

PACKAGED = Path(__file__).parent / "weights"
_REBUILD = "rebuild it with python -m experiments.evaluation_reference"


def write_arrays(folder: Path, name: str, arrays: dict[str, np.ndarray]) -> str:
    """Write folder/name.npz; returns the hash of its content."""
    with atomic_write(folder / f"{name}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    return content_hash(arrays)


def read_arrays(folder: Path, name: str, binding: dict) -> dict[str, np.ndarray]:
    """Return the arrays of folder/name.npz; UserError naming the file if it is missing, damaged or another one."""
    path = folder / f"{name}.npz"
    arrays = read_npz(path, "the file of weights", f"what it was built as; {_REBUILD}")
    digest, expected = content_hash(arrays), binding["arrays"].get(name)
    if digest != expected:
        raise UserError(f"{path}: SHA-256 of the arrays is {digest}, bound to {expected}; {_REBUILD}")
    return arrays


def write_binding(folder: Path, dataset: str, binding: dict) -> None:
    """Write folder/dataset.json, sealed."""
    with atomic_write(folder / f"{dataset}.json") as temporary:
        temporary.write_text(json.dumps(binding | {"seal": _seal(binding)}, indent=1, allow_nan=False) + "\n")


def read_binding(folder: Path, dataset: str, fingerprint: str | None) -> dict:
    """Return the content of folder/dataset.json.

    Args:
        folder: the folder of the weights.
        dataset: name of the dataset they were made from.
        fingerprint: of the dataset that is there, or None where only the networks are wanted.

    Raises:
        UserError: it is missing, changed or made from other data; names the file.
    """
    path = folder / f"{dataset}.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; {_REBUILD} --dataset={dataset}")
    try:
        binding = json.loads(path.read_text())
        seal = binding.pop("seal")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error!r}); {_REBUILD}") from error
    if seal != _seal(binding):
        raise UserError(f"{path}: SHA-256 of the content is {_seal(binding)}, sealed as {seal}; {_REBUILD}")
    if fingerprint is not None and binding["fingerprint"] != fingerprint:
        raise UserError(f"{path}: made from data {binding['fingerprint']}, these are {fingerprint}; {_REBUILD}")
    return binding


def _seal(binding: dict) -> str:
    return hashlib.sha256(json.dumps(binding, sort_keys=True, allow_nan=False).encode()).hexdigest()
