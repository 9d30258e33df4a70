"""The IDX format of LeCun, Cortes and Burges (1998), in which MNIST and its descendants are published.

A file is two zero bytes, one byte that codes the type (0x08: unsigned byte), one byte that gives the number of
dimensions d, d big-endian uint32 sizes, and the values in C order. It comes plain or gzip-compressed.
"""

import gzip
import hashlib
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxgen.errors import UserError

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_FIX = "fetch an intact copy"
_LONGEST_HEADER = 4 + 4 * 255
_LARGEST = 2**31  # bytes of a raw file: 2.7 million images of 28 x 28


def read_idx(path: str | Path, sha256: str | None = None) -> UInt8[np.ndarray, "..."]:
    """Return the array in one IDX file of unsigned bytes, gzip-compressed or plain.

    Args:
        path: the file. Compression is recognised by content; a name that ends in .gz must hold gzip.
        sha256: hexadecimal digest of the raw (decompressed) content, or None to skip that check. The raw content
            is what is hashed because the compressed bytes differ from one publisher to the next.

    Returns:
        uint8, read-only, with the shape in the file's header.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: truncated or broken gzip, not gzip, wrong magic number or type, too few or too many bytes, or a
            wrong checksum. Every message names the file and the fix.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; allowed: the path of an existing IDX file")
    return parse_idx(path.read_bytes(), str(path), sha256)


def is_idx(path: Path) -> bool:
    """Return whether a file starts like an IDX file, plain or compressed."""
    with path.open("rb") as stream:
        return stream.read(2) in (b"\0\0", _GZIP_MAGIC)


def parse_idx(content: bytes, source: str, sha256: str | None = None) -> UInt8[np.ndarray, "..."]:
    """Return the array in the bytes of an IDX file, as `read_idx` does.

    Args:
        content: the bytes, gzip-compressed or plain.
        source: path or address they came from, for the error messages.
        sha256: as in `read_idx`.

    Returns:
        uint8, read-only.

    Raises:
        UserError: as in `read_idx`.
    """
    raw = _decompress(content, source)
    if len(raw) < 4 or raw[:2] != b"\0\0":
        raise UserError(
            f"{source}: starts with {raw[:4].hex() or 'nothing'}; allowed: an IDX file, which starts with 0000; {_FIX}"
        )
    if raw[2] != _UNSIGNED_BYTE:
        raise UserError(f"{source}: IDX type code 0x{raw[2]:02x}; allowed: 0x08 (unsigned byte); convert it, or {_FIX}")
    header = 4 + 4 * raw[3]
    if raw[3] == 0 or len(raw) < header:
        raise UserError(
            f"{source}: IDX header of {raw[3]} dimensions in {len(raw)} bytes; allowed: a whole header; {_FIX}"
        )
    shape = struct.unpack(f">{raw[3]}I", raw[4:header])
    expected = _raw_size(raw, source)
    if len(raw) != expected:
        fault = "truncated" if len(raw) < expected else "trailing bytes"
        raise UserError(f"{source}: {fault}: {len(raw)} bytes; allowed for shape {shape}: {expected}; {_FIX}")
    if sha256 is not None and (digest := hashlib.sha256(raw).hexdigest()) != sha256.lower():
        raise UserError(f"{source}: SHA-256 of the raw content is {digest}; allowed: {sha256}; {_FIX}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _raw_size(start: bytes, source: str) -> int:
    """Return the bytes of a raw file according to its header; 0 if the header is cut."""
    header = 4 + 4 * start[3] if len(start) > 3 else math.inf
    if len(start) < header:
        return 0
    size = header + math.prod(struct.unpack(f">{start[3]}I", start[4:header]))
    if size > _LARGEST:
        raise UserError(f"{source}: its header announces {size} bytes; allowed: at most {_LARGEST}; {_FIX}")
    return size


def _decompress(content: bytes, source: str) -> bytes:
    if not content.startswith(_GZIP_MAGIC):
        if source.endswith(".gz"):
            raise UserError(
                f"{source}: starts with {content[:2].hex() or 'nothing'}; allowed: gzip, which starts with 1f8b; {_FIX}"
            )
        return content
    try:
        # A stream of zeros packs a thousand to one, so the size is bounded before memory is taken.
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            start = stream.read(_LONGEST_HEADER)
            return start + stream.read(max(0, _raw_size(start, source) + 1 - len(start)))
    except EOFError:
        raise UserError(f"{source}: truncated gzip of {len(content)} bytes; allowed: a whole one; {_FIX}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{source}: broken gzip ({error}); allowed: a whole one; {_FIX}") from None
