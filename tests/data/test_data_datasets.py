"""Loading, downloading and splitting: right content or a clear refusal, and nothing half-written."""

import functools
import gzip
import hashlib
import http.server
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from jaxgen.data import datasets, load, select, split

EMBEDDED = Path(datasets.__file__).parent / "mnist"
LABELS = "t10k-labels-idx1-ubyte"
DIGEST = datasets.SOURCES["mnist"].checksums[LABELS]


@pytest.fixture(scope="module")
def mnist():
    return load()


class TruncatingHandler(http.server.BaseHTTPRequestHandler):
    """Announces the whole file, sends half of it and hangs up."""

    def do_GET(self):
        content = (EMBEDDED / Path(self.path).name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])

    def log_message(self, *_):
        pass


class FileHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """A function from a request handler to the address of a new local server."""
    servers = []

    def start(handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def serve_folder(serve, folder):
    return serve(functools.partial(FileHandler, directory=folder))


def dead_mirror():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_mnist_is_whole(mnist):
    assert mnist.train_images.shape == (60000, 28, 28)
    assert mnist.test_images.shape == (10000, 28, 28)
    # the first training labels and the class counts of the test set, as published
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train_images.dtype == mnist.train_labels.dtype == np.uint8
    assert len(mnist.fingerprint) == 64


def test_plain_files_in_a_folder_of_ones_own(tmp_path, mnist):
    for stem in datasets.SOURCES["mnist"].checksums:
        (tmp_path / stem).write_bytes(gzip.decompress((EMBEDDED / f"{stem}.gz").read_bytes()))
    own = load("mnist", data_dir=tmp_path)
    assert own.fingerprint == mnist.fingerprint
    np.testing.assert_array_equal(own.test_images, mnist.test_images)


def test_right_format_with_other_content_is_refused(tmp_path):
    for stem in datasets.SOURCES["mnist"].checksums:
        (tmp_path / f"{stem}.gz").write_bytes(gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 3) + b"\1\2\3"))
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte\.gz: SHA-256 of the raw content is .* allowed: ba89"
    ):
        load("mnist", data_dir=tmp_path)


def test_missing_file_in_a_folder_of_ones_own_is_not_sought_elsewhere(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz: missing and not downloaded .*data_dir"):
        load("mnist", data_dir=tmp_path)


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"name is 'cifar'; allowed: mnist, fashion_mnist"):
        load("cifar")


@pytest.fixture
def fashion_elsewhere(tmp_path, monkeypatch):
    """A function that gives Fashion-MNIST no Debian folder, an empty cache, these mirrors and MNIST's content."""
    monkeypatch.setenv("JAXGEN_CACHE", str(tmp_path / "cache"))

    def redirect(*mirrors):
        source = datasets.SOURCES["mnist"]._replace(directories=(tmp_path / "no-debian",), mirrors=mirrors)
        monkeypatch.setitem(datasets.SOURCES, "fashion_mnist", source)
        return tmp_path / "cache" / "fashion_mnist"

    return redirect


def test_download_fills_the_cache_once(serve, fashion_elsewhere, mnist):
    cache = fashion_elsewhere(dead_mirror(), serve_folder(serve, EMBEDDED))
    first = load("fashion_mnist")
    np.testing.assert_array_equal(first.train_images, mnist.train_images)
    assert sorted(path.name for path in cache.iterdir()) == sorted(path.name for path in EMBEDDED.glob("*.gz"))
    fashion_elsewhere()  # no mirrors left
    np.testing.assert_array_equal(load("fashion_mnist").test_labels, mnist.test_labels)


def test_forbidden_download_and_dead_network_name_file_and_fix(serve, fashion_elsewhere):
    cache = fashion_elsewhere(serve_folder(serve, EMBEDDED))
    with pytest.raises(FileNotFoundError, match=r"train-images.*no mirror was tried.*dataset-fashion-mnist"):
        load("fashion_mnist", download=False)
    fashion_elsewhere(dead_mirror())
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz: missing.*refused.*data_dir") as error:
        load("fashion_mnist")
    assert str(cache) in str(error.value)
    assert not cache.exists()


def test_damaged_cache_is_refused_not_silently_replaced(fashion_elsewhere):
    cache = fashion_elsewhere()
    cache.mkdir(parents=True)
    (cache / "train-images-idx3-ubyte.gz").write_bytes((EMBEDDED / f"{LABELS}.gz").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: truncated gzip .* fetch an intact copy"):
        load("fashion_mnist")


def test_truncated_and_wrong_bodies_leave_nothing_behind(serve, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    content = bytearray(gzip.decompress((EMBEDDED / f"{LABELS}.gz").read_bytes()))
    content[-1] ^= 1
    (wrong / f"{LABELS}.gz").write_bytes(gzip.compress(content))
    mirrors = [serve(TruncatingHandler), serve_folder(serve, wrong), serve_folder(serve, tmp_path)]
    with pytest.raises(FileNotFoundError, match=r"IncompleteRead.*SHA-256.*404"):
        datasets.fetch(f"{LABELS}.gz", DIGEST, mirrors, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    mirrors.append(serve_folder(serve, EMBEDDED))
    path = datasets.fetch(f"{LABELS}.gz", DIGEST, mirrors, tmp_path / "cache")
    assert [path] == list((tmp_path / "cache").iterdir())
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == DIGEST


def test_failed_write_leaves_nothing_behind(serve, tmp_path, monkeypatch):
    def half_write(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("disk full")

    mirror = serve_folder(serve, EMBEDDED)
    monkeypatch.setattr(Path, "write_bytes", half_write)
    with pytest.raises(OSError, match="disk full"):
        datasets.fetch(f"{LABELS}.gz", DIGEST, [mirror], tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="dataset-fashion-mnist not installed"
)
def test_fashion_mnist_from_the_debian_package():
    fashion = load("fashion_mnist", download=False)
    assert fashion.train_labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert np.bincount(fashion.train_labels).tolist() == [6000] * 10


def test_split_is_a_partition_in_published_order(mnist):
    train, validation, test = (split(mnist, part) for part in ("train", "validation", "test"))
    assert [len(images) for images, _ in (train, validation, test)] == [54_000, 6_000, 10_000]
    np.testing.assert_array_equal(np.concatenate([train[0], validation[0]]), mnist.train_images)
    np.testing.assert_array_equal(np.concatenate([train[1], validation[1]]), mnist.train_labels)
    np.testing.assert_array_equal(test[0], mnist.test_images)
    np.testing.assert_array_equal(test[1], mnist.test_labels)
    with pytest.raises(ValueError, match="part is 'dev'; allowed: train, validation, test"):
        split(mnist, "dev")


def test_select_keeps_the_digits_asked_for_in_order(mnist):
    images, labels = split(mnist, "validation")
    some_images, some_labels = select(images, labels, (3, 7))
    positions = [i for i, label in enumerate(labels.tolist()) if label in (3, 7)]
    np.testing.assert_array_equal(some_images, images[positions])
    np.testing.assert_array_equal(some_labels, labels[positions])


@pytest.mark.parametrize("digits", [(), (3, 10), (-1,)])
def test_select_refuses_impossible_digits(mnist, digits):
    with pytest.raises(ValueError, match=r"classes is .*; allowed: one or more of 0 to 9"):
        select(mnist.test_images, mnist.test_labels, digits)


def test_select_refuses_labels_of_other_images(mnist):
    with pytest.raises(ValueError, match="labels has 60000 numbers for 10000 images"):
        select(mnist.test_images, mnist.train_labels, (3,))


def test_the_packaged_images_are_read_without_a_home(monkeypatch):
    """As in a container, whose user may have neither HOME nor an entry in the password file."""

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("JAXGEN_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    assert load("mnist").test_images.shape == (10_000, 28, 28)
