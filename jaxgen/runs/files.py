"""Files that may come from elsewhere or be damaged: read whole and within bounds, or refused in one line."""

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.errors import UserError, quoted, shortened

LARGEST_ARCHIVE = 2**31  # bytes of all arrays of an NPZ file: 2.7 million images of 28 x 28
LARGEST_TEXT = 2**28
_LARGEST_HEADER = 10_000
_LONGEST_PART = 40  # a name holds 255 bytes, and a list may name 256 classes


def expanded(path: str | Path, what: str) -> Path:
    """Return the path that a user gave, with `~` expanded. UserError naming `what` if that home folder is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{what} is {quoted(str(path))}, whose home folder is unknown; allowed: a path without ~"
        ) from None


def name_part(text: str) -> str:
    """Return the text for the name of a file, or eight digits that stand for it where it is over 40 characters long."""
    return text if len(text) <= _LONGEST_PART else f"{zlib.crc32(text.encode()):08x}"


def read_npz(path: str | Path, what: str, allowed: str, largest: int = LARGEST_ARCHIVE) -> dict[str, np.ndarray]:
    """Return the arrays of an NPZ file by name.

    Sizes are checked before memory is taken, and nothing in the file is run: arrays of objects are refused.

    Args:
        path: the file.
        what: what it is to the user, such as the flag that named it.
        allowed: what it should be, and what to do, for the message.
        largest: bytes that all arrays together may have.

    Raises:
        UserError: there is no such file, or it is no such archive; names the file.
    """
    path = expanded(path, what)
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*.npz"))[:5] if path.parent.is_dir() else []
        holds = f". {path.parent} holds {', '.join(beside)}" if beside else ""
        raise UserError(f"{what} is {path}, no file; allowed: {allowed}{holds}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if sum(member.file_size for member in members) > largest:
                raise ValueError(f"its arrays have more than {largest} bytes")
            return {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
    # zipfile, zlib, lzma, tokenize and numpy raise more than a dozen types for what is no archive of arrays.
    except Exception as error:
        reason = shortened(f"{type(error).__name__}: {error}", 200)
        raise UserError(f"{what} is {path}, which cannot be read ({reason}); allowed: {allowed}") from error


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{member.filename} has version {version} of the array format, not (1, 0) or (2, 0)")
        shape, by_columns, dtype = readers[version](stream, max_header_size=_LARGEST_HEADER)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds objects, which only pickle could read, not numbers")
        size = math.prod(shape) * dtype.itemsize
        # A member may be larger than it says: no more than this is decompressed.
        content = stream.read(size + 1)
    if len(content) != size:
        raise ValueError(f"{member.filename} has not the {size} bytes of shape {shape} and type {dtype}")
    array = np.frombuffer(content, dtype) if dtype.itemsize else np.zeros(math.prod(shape), dtype)
    return array.reshape(shape, order="F" if by_columns else "C").copy(order="C")


def read_text(path: str | Path, what: str, allowed: str) -> str:
    """Return the UTF-8 text of a file. UserError naming the file, and the place of a byte that is no text."""
    path = expanded(path, what)
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise UserError(f"{what} is {path}, of more than {LARGEST_TEXT} bytes; allowed: {allowed}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{what} is {path}, whose line {number} is not UTF-8 text; allowed: {allowed}") from error
    except OSError as error:
        raise UserError(f"{what} is {path}, which cannot be read ({error.strerror}); allowed: {allowed}") from error


def read_json(path: str | Path, what: str, allowed: str, fields: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: the file.
        what: what it is to the user.
        allowed: what it should be, and what to do.
        fields: names that the object must have.

    Raises:
        UserError: it cannot be read, is no JSON object, or lacks a field; names the file and the line.
    """
    path = expanded(path, what)
    text = read_text(path, what, allowed)
    try:
        content = json.loads(text)
    except RecursionError:
        raise UserError(f"{what} is {path}, which is nested too deeply; allowed: {allowed}") from None
    except ValueError as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "a number"
        raise UserError(f"{what} is {path}, whose {where} is no JSON ({error}); allowed: {allowed}") from error
    if not isinstance(content, dict):
        raise UserError(f"{what} is {path}, a JSON {type(content).__name__}, not an object; allowed: {allowed}")
    missing = [name for name in fields if name not in content]
    if missing:
        raise UserError(f"{what} is {path}, which has no {missing[0]!r}; allowed: {allowed}")
    return content
