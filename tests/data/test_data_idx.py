"""IDX reading: what is written comes back, and every kind of damage is refused by name."""

import gzip
import hashlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from jaxgen.data import read_idx
from jaxgen.data.idx import parse_idx
from jaxgen.errors import UserError

ARRAY = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx_bytes(array, type_code=0x08):
    return bytes([0, 0, type_code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


RAW = idx_bytes(ARRAY)
DIGEST = hashlib.sha256(RAW).hexdigest()

GZIPPED = gzip.compress(RAW, mtime=0)  # without the time, so that every worker collects tests of one name


@pytest.mark.parametrize(("name", "content"), [("a-ubyte", RAW), ("a-ubyte.gz", GZIPPED)], ids=["plain", "gzip"])
def test_plain_and_gzip_read_the_same(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    read = read_idx(path, DIGEST)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, ARRAY)
    assert not read.flags.writeable


def test_checksum_is_of_the_raw_content(tmp_path):
    path = tmp_path / "a.gz"
    for level in (1, 9):
        path.write_bytes(gzip.compress(RAW, level))
        read_idx(path, DIGEST.upper())


FLIPPED = bytearray(RAW)
FLIPPED[-1] ^= 1
BAD_CRC = bytearray(GZIPPED)
BAD_CRC[-8] ^= 1
# an intact stream whose first block announces the reserved type 3
BAD_DEFLATE = GZIPPED[:10] + b"\x07" + GZIPPED[11:]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.gz", GZIPPED[:-12], "truncated gzip"),
        ("a.gz", bytes(BAD_CRC), "broken gzip"),
        ("a.gz", BAD_DEFLATE, "broken gzip"),
        ("a.gz", RAW, "starts with 0000; allowed: gzip"),
        ("a.gz", b"", "starts with nothing; allowed: gzip"),
        ("a.gz", b"<html>no such page</html>", "allowed: gzip"),
        ("a", b"", "starts with nothing; allowed: an IDX file"),
        ("a", b"PK\3\4", "starts with 504b0304; allowed: an IDX file"),
        ("a", idx_bytes(ARRAY, type_code=0x0D), "type code 0x0d; allowed: 0x08"),
        ("a", RAW[:6], "header of 3 dimensions in 6 bytes"),
        ("a", b"\0\0\x08\0", "header of 0 dimensions"),
        ("a", RAW[:-1], r"truncated: 39 bytes; allowed for shape \(2, 3, 4\): 40"),
        ("a", RAW + b"\0", "trailing bytes: 41 bytes; allowed for .*: 40"),
        ("a", bytes(FLIPPED), f"SHA-256 .* allowed: {DIGEST}"),
    ],
)
def test_damage_is_refused_with_file_and_fix(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as refusal:
        read_idx(path, DIGEST)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "fetch an intact copy" in str(refusal.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.gz: no such file; allowed: the path"):
        read_idx(tmp_path / "nowhere.gz")


def test_a_gzip_bomb_is_not_unpacked():
    """A megabyte of gzip can hold gigabytes; no more is unpacked than the header announces, and that has a limit."""
    packer = zlib.compressobj(9, wbits=31)
    small = bytes([0, 0, 8, 1]) + struct.pack(">I", 10)
    bomb = packer.compress(small) + b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(UserError, match=r"bomb: trailing bytes: 1024 bytes; allowed for shape \(10,\): 18"):
        parse_idx(bomb, "bomb")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    huge = gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**20, 2**20, 2**20))
    with pytest.raises(UserError, match="huge: its header announces 1152921504606846992 bytes; allowed: at most"):
        parse_idx(huge, "huge")
