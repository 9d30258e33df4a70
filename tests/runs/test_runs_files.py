"""NPZ and JSON files that come from elsewhere: everything odd is one UserError that names the file."""

import io
import json
import lzma
import random
import struct
import zipfile

import numpy as np
import pytest

from jaxgen import evaluation
from jaxgen.errors import UserError
from jaxgen.runs import read_json, read_npz

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def npy(array, header=None):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    if header is None:
        return buffer.getvalue()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + array.tobytes()


def test_what_numpy_writes_is_read(tmp_path):
    arrays = {
        "images": IMAGES, "columns": np.asfortranarray(IMAGES[0]), "none": np.zeros((0, 3)), "one": np.int64(4),
        "text": np.array(["a", "bc"]), "pairs": np.zeros(3, [("a", "<i4"), ("b", "<f8")]), "flag": np.array([True]),
    }  # fmt: skip
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **arrays)
        back = read_npz(tmp_path / "a.npz", "samples", "x")
        assert back.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(back[name], array)
            assert back[name].dtype == array.dtype and back[name].flags.writeable


HEADERS = {
    "unclosed": b"{'descr': '|u1', 'fortran_order': False, 'shape': (64, 28, 28), \n",
    "a name": b"{'descr': foo, 'fortran_order': False, 'shape': (64, 28, 28)}\n",
    "a call": b"{'descr': __import__('os').system('x'), 'fortran_order': False, 'shape': (1,)}\n",
    "no dict": b"[1, 2]\n",
    "indented": b"   \n  {'descr': '|u1'}\n",
    "negative": b"{'descr': '|u1', 'fortran_order': False, 'shape': (-64, 28, -28)}\n",
    "huge": b"{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807, 28, 28)}\n",
    "deep": b"{'descr': " + b"[" * 5000 + b"}\n",
    "no type": b"{'descr': '|zz', 'fortran_order': False, 'shape': (1,)}\n",
    "empty type": b"{'descr': '|V0', 'fortran_order': False, 'shape': (9223372036854775807,)}\n",
    "floats": b"{'descr': '|u1', 'fortran_order': False, 'shape': (64.0, 28, 28)}\n",
    "a tab": b"{'descr': '|u1', 'fortran_order': False, 'shape': (64, 28, 28)\x00}\n",
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_are_none(tmp_path, header):
    path = archive(tmp_path / "a.npz", {"images.npy": npy(IMAGES, HEADERS[header])})
    with pytest.raises(UserError, match=r"samples is .*a\.npz, which cannot be read \(.*\); allowed: an archive"):
        read_npz(path, "samples", "an archive")


def odd_files(folder):
    """Yield files that raise, in plain numpy: zlib.error, NotImplementedError, RuntimeError, MemoryError and others."""
    whole = archive(folder / "whole.npz", {"images.npy": npy(IMAGES)}).read_bytes()
    start = whole.index(b"images.npy") + 40
    yield "a broken stream", whole[:start] + bytes(64) + whole[start + 64 :]
    yield "cut", whole[: len(whole) // 2]
    yield "empty", b""
    yield "no archive", b"\x93NUMPY\x01\x00"
    place = whole.index(b"PK\x01\x02")
    yield "encrypted", whole[: place + 8] + b"\x01" + whole[place + 9 :]
    yield "an unknown compression", whole[: place + 10] + b"\x63\x00" + whole[place + 12 :]
    yield "a wrong sum", whole[: place + 16] + b"\1\2\3\4" + whole[place + 20 :]
    big = npy(np.zeros(1, np.uint8), b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n")
    yield "a shape without its bytes", archive(folder / "x", {"images.npy": big}).read_bytes()
    yield "objects", archive(folder / "x", {"images.npy": npy(np.array([1, None], object))}).read_bytes()
    yield "no arrays", archive(folder / "x", {"images.npy": b"hello", "readme.txt": b"x"}).read_bytes()
    yield "version 3", archive(folder / "x", {"a.npy": b"\x93NUMPY\x03\x00" + bytes(100)}).read_bytes()
    packed = archive(folder / "x", {"images.npy": npy(IMAGES)}, zipfile.ZIP_LZMA).read_bytes()
    yield "a broken LZMA stream", packed[:120] + bytes(100) + packed[220:]


def test_odd_archives_are_one_line_each(tmp_path):
    for number, (name, content) in enumerate(odd_files(tmp_path)):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"samples is .*{number}\.npz, ") as caught:
            evaluation.load_samples(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600, name


def test_a_missing_archive_is_answered_with_those_beside_it(tmp_path):
    with pytest.raises(UserError, match=r"final\.npz, no file; allowed: samples$"):
        read_npz(tmp_path / "final.npz", "samples", "samples")
    np.savez(tmp_path / "draws.npz", images=np.zeros(3))
    with pytest.raises(UserError, match=r"final\.npz, no file; allowed: samples\. .* holds draws\.npz"):
        read_npz(tmp_path / "final.npz", "samples", "samples")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    zeros = np.zeros(50_000_000, np.uint8)
    path = archive(tmp_path / "bomb.npz", {"images.npy": npy(zeros)})
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match=r"more than 1000000 bytes"):
        read_npz(path, "samples", "x", largest=1_000_000)
    # One that says it is small, in the archive's own table.
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bomb\.npz, which cannot be read"):
        read_npz(path, "samples", "x", largest=1_000_000)


def test_any_flipped_byte_is_read_or_refused(tmp_path):
    generator = random.Random(0)
    whole = archive(tmp_path / "a.npz", {"images.npy": npy(IMAGES[:2]), "labels.npy": npy(np.arange(2))}).read_bytes()
    refused = 0
    for _ in range(1500):
        content = bytearray(whole)
        for _ in range(generator.randint(1, 3)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        (tmp_path / "b.npz").write_bytes(content)
        try:
            read_npz(tmp_path / "b.npz", "samples", "x", largest=10**7)
        except UserError:
            refused += 1
    assert refused > 500


TEXTS = {
    "": "line 1 is no JSON",
    '{"a": 1,\n "b": }': "line 2 is no JSON",
    "[1]": "a JSON list, not an object",
    "[" * 100_000: "nested too deeply",
    '{"a": ' + "9" * 5000 + "}": "a number is no JSON",
    '{"a": 1}': "has no 'b'",
}


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_json_is_an_object_with_its_fields_or_named_with_the_line(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"plan is .*a\.json, .*{TEXTS[text]}.*; allowed: a plan"):
        read_json(path, "plan", "a plan", ("b",))
    path.write_bytes(b'{"a":\n\n "\xff"}')
    with pytest.raises(UserError, match=r"whose line 3 is not UTF-8 text"):
        read_json(path, "plan", "a plan")
    path.write_text(json.dumps({"b": 2}))
    assert read_json(path, "plan", "a plan", ("b",)) == {"b": 2}
    with pytest.raises(UserError, match=r"No such file"):
        read_json(tmp_path / "none", "plan", "a plan")


def test_lzma_is_what_the_odd_file_breaks():
    with pytest.raises(lzma.LZMAError):
        lzma.decompress(bytes(30))
