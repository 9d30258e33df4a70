"""Weights of trained models that the package ships: NAME.npz with float16 arrays, NAME.json with config and SHA-256.

One hash is of the arrays' content, so that another zip library changes nothing; the other, `seal`, is of all else in
NAME.json, because a model with another config may fit the same arrays. Nothing is pickled.
"""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
from flax import traverse_util

from jaxgen import runs
from jaxgen.errors import UserError


def write_model(folder: Path, name: str, description: dict, params: dict) -> list[Path]:
    """Write folder/NAME.npz and NAME.json with the parameters as float16; return their paths.

    UserError for a name that is not 1 to 40 small letters, digits and underscores.
    """
    if not re.fullmatch("[a-z0-9_]{1,40}", name):
        raise UserError(f"name is {name!r}; allowed: 1 to 40 small letters, digits and underscores")
    folder.mkdir(exist_ok=True)
    arrays = pack(params)
    description = description | {"sha256": content_hash(arrays)}
    with runs.atomic_write(folder / f"{name}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    with runs.atomic_write(folder / f"{name}.json") as temporary:
        sealed = description | {"seal": text_hash(description)}
        temporary.write_text(json.dumps(sealed, indent=1, allow_nan=False) + "\n")
    return [folder / f"{name}.npz", folder / f"{name}.json"]


def read_model(folder: Path, name: str) -> tuple[dict, dict]:
    """Return the description and the float32 parameters that `write_model` wrote.

    UserError: no such files, or content that is not what was written.
    """
    if not (folder / f"{name}.json").is_file():
        names = sorted(path.stem for path in folder.glob("*.json"))
        raise UserError(f"name is {name!r}; allowed: {', '.join(names) or f'nothing, {folder} holds no weights'}")
    shipped = "the file that was shipped"
    description = runs.read_json(
        folder / f"{name}.json", "the description of the weights", shipped, ("config", "sha256")
    )
    seal = description.pop("seal", None)  # files of older versions have none
    if seal is not None and seal != text_hash(description):
        raise UserError(f"{folder / name}.json has been changed; allowed: {shipped}, so install jaxgen again")
    arrays = runs.read_npz(folder / f"{name}.npz", "the file of weights", shipped)
    if content_hash(arrays) != description["sha256"]:
        raise UserError(
            f"{folder / name}.npz has SHA-256 {content_hash(arrays)} of its arrays; allowed: "
            f"{description['sha256']}, so install jaxgen again or fetch the file again"
        )
    return description, unpack(arrays)


def pack(params: dict) -> dict[str, np.ndarray]:
    """Return a parameter tree as flat float16 arrays, half as large."""
    flat = traverse_util.flatten_dict(params, sep="/")
    return {name: np.asarray(array, np.float16) for name, array in flat.items()}


def unpack(arrays: dict[str, np.ndarray]) -> dict:
    """Return the parameter tree of `pack` in float32."""
    return traverse_util.unflatten_dict({name: a.astype(np.float32) for name, a in arrays.items()}, sep="/")


def text_hash(description: dict) -> str:
    """Return the SHA-256 of a description as JSON, its fields in the order of their names."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def content_hash(arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
