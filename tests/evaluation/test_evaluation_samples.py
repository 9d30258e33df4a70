"""What is refused, by name, and what two forms of a file mean."""

import numpy as np
import pytest

from jaxgen import data
from jaxgen.evaluation import check_samples, load_samples

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2000, 28, 28)).astype(np.uint8)
LABELS = (np.arange(2000) % 10).astype(np.int64)


def floats(value, place=0):
    images = np.zeros((2000, 28, 28), np.float32)
    images.ravel()[place] = value
    return images


def write(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    return tmp_path / "x.npz"


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (IMAGES[:1999], None, "images has 1999 images; allowed: 2000 or more"),
        (IMAGES.reshape(2000, 784), None, r"images has shape \(2000, 784\); allowed: \(n, 28, 28\)"),
        (IMAGES[:, :27], None, r"images has shape \(2000, 27, 28\)"),
        (IMAGES[..., None], None, r"images has shape \(2000, 28, 28, 1\)"),
        (floats(np.nan), None, "images has 1 nan or infinite values"),
        (floats(np.inf), None, "images has 1 nan or infinite values"),
        (floats(1.01), None, r"images has floats from 0 to 1.01; allowed: \[0, 1\]"),
        (floats(-0.5), None, r"images has floats from -0.5 to 0; allowed: \[0, 1\]"),
        (IMAGES.astype(np.int32), None, "images has dtype int32; allowed: uint8 grey, or floats"),
        (IMAGES, LABELS[:5], r"labels has shape \(5,\) for 2000 images"),
        (IMAGES, LABELS + 1, "labels has classes 1 to 10; allowed: 0 to 9"),
        (IMAGES, LABELS - 1, "labels has classes -1 to 8; allowed: 0 to 9"),
        (IMAGES, LABELS.astype(float), "labels has dtype float64; allowed: integers 0 to 9"),
    ],
)
def test_bad_samples_are_refused_by_name(images, labels, message):
    with pytest.raises(ValueError, match=message):
        check_samples(images, labels)


def test_greys_that_are_no_level_are_refused():
    coded = data.decode(data.encode(IMAGES, 4), 4)
    assert check_samples(coded, None, 4).levels == 4
    with pytest.raises(ValueError, match="images has 256 greys, among them 1; allowed with levels=4: 0, 85, 170, 255"):
        check_samples(IMAGES, None, 4)


def test_floats_become_the_greys_a_file_would_hold():
    given = np.linspace(0, 1, 2000 * 784).reshape(2000, 28, 28)
    samples = check_samples(given, LABELS)
    assert samples.images.dtype == np.uint8 and np.abs(samples.images / 255 - given).max() <= 0.5 / 255 + 1e-12
    assert check_samples(IMAGES / np.float32(255)).images.tolist() == IMAGES.tolist()
    assert samples.labels.dtype == np.uint8 and samples.labels.tolist() == LABELS.tolist()


def test_a_file_of_states_is_decoded(tmp_path):
    states = data.encode(IMAGES, 4)
    samples = load_samples(write(tmp_path, states=states, levels=4, labels=LABELS))
    np.testing.assert_array_equal(samples.images, data.decode(states, 4))
    assert samples.levels == 4 and samples.labels.tolist() == LABELS.tolist()
    path = write(tmp_path, states=states)
    assert load_samples(path, 4).levels == 4 and load_samples(path, 4).labels is None
    with pytest.raises(ValueError, match="levels is missing for the states of"):
        load_samples(path)
    with pytest.raises(ValueError, match="states has values 0 to 3; allowed: 0 to 1"):
        load_samples(path, 2)


def test_labels_are_taken_insisted_on_or_ignored(tmp_path):
    path = write(tmp_path, images=IMAGES, labels=LABELS)
    assert load_samples(path, labels=True).labels is not None and load_samples(path, labels=False).labels is None
    with pytest.raises(ValueError, match=r"labels is missing in .*x\.npz; allowed with --labels"):
        load_samples(write(tmp_path, images=IMAGES), labels=True)


@pytest.mark.parametrize(
    "arrays, levels, message",
    [
        ({"pictures": IMAGES}, None, "samples is .*x.npz with pictures; allowed: one of images and states"),
        ({"images": IMAGES, "states": IMAGES}, None, "with images, states; allowed: one of images and states"),
        ({"images": IMAGES, "levels": 4}, 2, "levels is 2, but .*x.npz says 4; allowed: 4"),
        (
            {"images": IMAGES, "levels": [4, 4]},
            None,
            r"levels is int64 of shape \(2,\) in .*x.npz; allowed: one integer",
        ),
        ({"images": IMAGES, "levels": 257}, None, "levels is 257 in .*x.npz; allowed: 2 to 256"),
        (
            {"states": IMAGES / 255, "levels": 4},
            None,
            r"states is float64 of shape \(2000, 28, 28\); allowed: integers",
        ),
        (
            {"images": np.asarray([{}])},
            None,
            "samples is .*x.npz, which cannot be read .ValueError: images.npy holds objects",
        ),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, arrays, levels, message):
    with pytest.raises(ValueError, match=message):
        load_samples(write(tmp_path, **arrays), levels)


def test_what_is_no_file_of_arrays(tmp_path):
    with pytest.raises(ValueError, match=r"samples is nowhere.npz, no file"):
        load_samples("nowhere.npz")
    for content in (b"text", b"PK\x03\x04 not a zip", b""):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.npz, which cannot be read"):
            load_samples(tmp_path / "bad.npz")
    np.save(tmp_path / "one.npy", IMAGES[:2])
    with pytest.raises(ValueError, match=r"one\.npy, which cannot be read"):
        load_samples(tmp_path / "one.npy")
