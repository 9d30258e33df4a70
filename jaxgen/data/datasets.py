"""MNIST (embedded in the package) and Fashion-MNIST, checked by content.

Every file is accepted only if the SHA-256 of its raw IDX content is the one written here, wherever it came from, so
equal names mean equal numbers. Images of one's own are read by `own_images` and have no checksum to meet. Sources:
LeCun, Cortes and Burges (1998); Xiao, Rasul and Vollgraf (2017).
"""

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxgen.data.dataset import Dataset
from jaxgen.data.idx import parse_idx, read_idx
from jaxgen.errors import UserError
from jaxgen.runs.atomic import atomic_write
from jaxgen.runs.files import expanded
from jaxgen.runs.platform import cache_folder

_TRAIN_IMAGES = "train-images-idx3-ubyte"
_TRAIN_LABELS = "train-labels-idx1-ubyte"
_TEST_IMAGES = "t10k-images-idx3-ubyte"
_TEST_LABELS = "t10k-labels-idx1-ubyte"


class MissingDataError(UserError, FileNotFoundError):
    """A file of a dataset is neither on this machine nor on a mirror."""


class Source(NamedTuple):
    """Where a dataset's files may be found, and the SHA-256 of the raw content of each."""

    checksums: dict[str, str]
    directories: tuple[Path, ...]
    mirrors: tuple[str, ...]


SOURCES = {
    "mnist": Source(
        checksums={
            _TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            _TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            _TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            _TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        directories=(Path(__file__).parent / "mnist",),
        mirrors=(),
    ),
    "fashion_mnist": Source(
        checksums={
            _TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            _TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            _TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            _TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        # Debian and Ubuntu: apt-get install dataset-fashion-mnist
        directories=(Path("/usr/share/datasets/fashion-mnist"),),
        mirrors=(
            # One bucket, first and last: its better-known website address answers http only.
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
    ),
}


def load(name: str = "mnist", *, data_dir: str | Path | None = None, download: bool = True) -> Dataset:
    """Return a built-in dataset, every file verified by its checksum.

    MNIST is read from the package. Fashion-MNIST is read from the package dataset-fashion-mnist of Debian and Ubuntu if
    that is installed, else from the cache (`JAXGEN_CACHE`, by default ~/.cache/jaxgen), into which it is downloaded
    once. Without a network: install that Debian package, or copy the four files into a folder given as `data_dir`.

    Args:
        name: "mnist" or "fashion_mnist".
        data_dir: a folder that holds the four IDX files (.gz or plain); nothing else is then tried.
        download: whether missing files may be fetched from the public mirrors.

    Raises:
        UserError: unknown name, or a file whose content is not the published one.
        MissingDataError: a file is missing and cannot be downloaded; the message names it and what to do.
    """
    if name not in SOURCES:
        raise UserError(f"name is {name!r}; allowed: {', '.join(SOURCES)}")
    source = SOURCES[name]
    if data_dir is not None:
        directories, mirrors = (expanded(data_dir, "data_dir"),), ()
    else:
        asked = os.environ.get("JAXGEN_CACHE")
        cache = expanded(asked, "JAXGEN_CACHE") if asked else cache_folder()
        directories, mirrors = (*source.directories, cache / name), source.mirrors if download else ()

    arrays = {}
    for stem, checksum in source.checksums.items():
        path = _find(stem, directories) or fetch(f"{stem}.gz", checksum, mirrors, directories[-1])
        arrays[stem] = read_idx(path, checksum)
    return Dataset(
        name=name,
        train_images=arrays[_TRAIN_IMAGES],
        train_labels=arrays[_TRAIN_LABELS],
        test_images=arrays[_TEST_IMAGES],
        test_labels=arrays[_TEST_LABELS],
        fingerprint=hashlib.sha256("".join(source.checksums.values()).encode()).hexdigest(),
    )


def _find(stem: str, directories: Sequence[Path]) -> Path | None:
    candidates = (directory / name for directory in directories for name in (f"{stem}.gz", stem))
    return next((path for path in candidates if path.is_file()), None)


def fetch(filename: str, sha256: str, mirrors: Sequence[str], directory: Path, timeout: float = 30.0) -> Path:
    """Download one IDX file from the first mirror whose content has the right checksum; return its path.

    The content is checked in memory before anything is written, then written to a temporary name and renamed, so
    that the folder never holds a partial or wrong file, even with several processes downloading at once.

    Args:
        filename: name on the mirror and in `directory`.
        sha256: hexadecimal digest of the raw (decompressed) content.
        mirrors: addresses of folders, tried in order.
        directory: where the file goes; created if it is missing.
        timeout: seconds a mirror may stay silent before the next one is tried.

    Raises:
        MissingDataError: no mirror delivered the file; the message says why for each and what to do instead.
    """
    failures = []
    for mirror in mirrors:
        url = f"{mirror}/{filename}"
        try:
            with urllib.request.urlopen(url, timeout=timeout) as response:
                content = response.read()
            parse_idx(content, url, sha256)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"{url}: {error}")
            continue
        with atomic_write(directory / filename) as temporary:
            temporary.write_bytes(content)
        return directory / filename
    tried = "; ".join(failures) or "no mirror was tried"
    raise MissingDataError(
        f"{directory / filename}: missing and not downloaded ({tried}). Put an intact copy there, or in a folder of "
        "your own given as data_dir (Fashion-MNIST on Debian: apt-get install dataset-fashion-mnist)"
    )
