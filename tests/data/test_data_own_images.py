"""Images of one's own: all forms give one dataset, the split is a function of the pixels, bad files are named."""

import gzip
import struct

import numpy as np
import pytest

from jaxgen import data
from jaxgen.errors import UserError

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (60, 5, 7)).astype(np.uint8)
LABELS = np.arange(60) % 3


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def archive(folder, **arrays):
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def pictures(folder, images, labels=None):
    from PIL import Image

    for i, image in enumerate(images):
        place = folder if labels is None else folder / f"class{labels[i]}"
        place.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{i:03}.png")
    return folder


def test_every_form_of_the_same_images_is_the_same_dataset(tmp_path):
    expected = data.load_images(archive(tmp_path, images=IMAGES, labels=LABELS))
    (tmp_path / "png").mkdir()
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "idx" / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    forms = [pictures(tmp_path / "png", IMAGES, LABELS), tmp_path / "idx", tmp_path / "idx/train-images-idx3-ubyte.gz"]
    for form in forms:
        assert data.load_images(form).fingerprint == expected.fingerprint, form
    assert (expected.size, expected.channels, expected.levels, expected.n_classes) == ((5, 7), 1, 256, 3)
    assert expected.name == "own" and not expected.built_in and data.open(images=str(forms[0])).name == "png"


def test_parts_are_a_partition_that_ignores_the_order_of_files(tmp_path):
    order = RNG.permutation(60)
    first = data.load_images(archive(tmp_path, images=IMAGES, labels=LABELS))
    second = data.load_images(archive(tmp_path, images=IMAGES[order], labels=LABELS[order]))
    assert first.fingerprint == second.fingerprint
    parts = [data.split(first, part) for part in ("train", "validation", "test")]
    assert [len(images) for images, _ in parts] == [49, 5, 6]
    joined = {image.tobytes(): label for images, labels in parts for image, label in zip(images, labels, strict=True)}
    assert joined == {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}


def test_a_test_part_of_its_own_is_kept(tmp_path):
    arrays = {"images": IMAGES[:40], "labels": LABELS[:40], "test_images": IMAGES[40:], "test_labels": LABELS[40:]}
    dataset = data.load_images(archive(tmp_path, **arrays))
    assert sorted(image.tobytes() for image in dataset.test_images) == sorted(image.tobytes() for image in IMAGES[40:])
    assert [len(data.split(dataset, part)[0]) for part in ("train", "validation", "test")] == [36, 4, 20]


def test_states_become_greys_that_code_back(tmp_path):
    states = RNG.integers(0, 17, (60, 8, 8))
    for given in (states, states.astype(float)):
        dataset = data.load_images(archive(tmp_path, images=given, levels=17))
        assert dataset.levels == 17 and dataset.n_classes == 1
        whole = np.concatenate([dataset.train_images, dataset.test_images])
        assert sorted(x.tobytes() for x in data.encode(whole, 17)) == sorted(
            x.astype(np.uint8).tobytes() for x in states
        )
    with pytest.raises(
        UserError, match=r"own\.npz, whose levels is 16 and .* not all states; allowed: integers 0 to 15"
    ):
        data.load_images(archive(tmp_path, images=states, levels=16))


def test_colour_floats_and_sixteen_bits(tmp_path):
    from PIL import Image

    colour = np.stack([IMAGES, 255 - IMAGES, IMAGES], -1)
    assert data.load_images(archive(tmp_path, images=colour)).channels == 3
    with pytest.raises(UserError, match="images has 3 channels in own; allowed: grey images"):
        data.load_images(archive(tmp_path, images=colour)).grey()
    grey = data.load_images(archive(tmp_path, images=IMAGES))
    assert data.load_images(archive(tmp_path, images=IMAGES[..., None] / 255)).fingerprint == grey.fingerprint
    (tmp_path / "deep").mkdir()
    for i, image in enumerate(IMAGES):
        Image.fromarray(image.astype(np.uint16) * 257).save(tmp_path / "deep" / f"{i}.png")
    assert data.load_images(tmp_path / "deep").fingerprint == grey.fingerprint
    for i, image in enumerate(IMAGES):  # 12 bits, as of a camera, in files of 16
        Image.fromarray(image.astype(np.uint16) * 16).save(tmp_path / "deep" / f"{i}.png")
    with pytest.raises(UserError, match="deep, whose brightest grey is 15 of 255; allowed: 32 or more"):
        data.load_images(tmp_path / "deep")


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"pixels": IMAGES}, "own.npz, whose arrays are 'pixels'; allowed: an NPZ file with an array images"),
        ({"images": IMAGES[:19]}, "with 19 train images; allowed: 20 or more"),
        (
            {"images": IMAGES.reshape(60, 35)},
            r"whose train images have shape \(60, 35\); allowed: \(n, height, width\)",
        ),
        ({"images": np.zeros((20, 2, 1025), np.uint8)}, "up to 1024 pixels"),
        (
            {"images": IMAGES / 16.0},
            r"floats from 0 to 15.9375; allowed: uint8 greys 0 to 255, floats",
        ),
        ({"images": np.full((20, 2, 2), np.nan)}, "have a value that is NaN or infinite; allowed: uint8 greys"),
        ({"images": IMAGES.astype(int)}, "dtype int64; allowed: uint8 greys 0 to 255, floats"),
        ({"images": IMAGES, "labels": LABELS[1:]}, r"labels are int64 \(59,\); allowed: integers \(60,\)"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels go from -1 to 1; allowed: 0 to 255"),
        ({"images": IMAGES, "labels": LABELS / 2}, "labels are float64"),
        ({"images": IMAGES, "labels": LABELS * 2}, "labels go up to 4 and have no image of class 1; allowed: numbers"),
        (
            {"images": IMAGES, "labels": LABELS, "test_images": IMAGES},
            "has labels and only them beside",
        ),
        ({"images": IMAGES, "test_labels": LABELS, "test_images": IMAGES}, "has test_labels and only them"),
        ({"images": IMAGES // 16}, "whose brightest grey is 15 of 255; allowed: 32 or more. Give states 0 to L - 1"),
        ({"images": IMAGES > 99}, "dtype bool; allowed: uint8 greys 0 to 255"),
        ({"images": IMAGES, "levels": 257}, r"whose levels is 257; allowed: one integer, 2 to 256"),
        (
            {"images": IMAGES, "test_images": IMAGES[:, 1:]},
            r"test images have shape \(4, 7\) and training images \(5, 7\)",
        ),
        ({"images": IMAGES, "test_images": IMAGES[:0]}, "with 0 test images; allowed: 1 or more"),
    ],
)
def test_bad_archives_are_refused_by_name(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        data.load_images(archive(tmp_path, **arrays))


def test_numbered_folders_are_classes_in_the_order_of_their_numbers(tmp_path):
    names = ["9", "10", "b", "cats"]
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        pictures(tmp_path / name, np.full((5, 3, 3), 50 * number, np.uint8))
    images, labels = data.read_images(tmp_path)
    np.testing.assert_array_equal(labels, images[:, 0, 0] // 50)


def test_bad_folders_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="which does not exist; allowed: an NPZ file"):
        data.load_images(tmp_path / "none")
    with pytest.raises(UserError, match="has no pictures and no sub-folder of any; allowed: PNG or JPEG files"):
        data.load_images(tmp_path)
    np.save(tmp_path / "images.npy", IMAGES)
    with pytest.raises(UserError, match=r"images\.npy, which is neither an NPZ nor an IDX file; allowed: an NPZ file"):
        data.load_images(tmp_path / "images.npy")
    pictures(tmp_path, IMAGES[:20])
    (tmp_path / "000.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"000\.png cannot be read as a picture \(Unid.*\); allowed: .*intact"):
        data.load_images(tmp_path)
    pictures(tmp_path, IMAGES[:1, :4])
    with pytest.raises(UserError, match=r"where 000\.png has 4 x 7 pixels and 001\.png 5 x 7; allowed: one size"):
        data.load_images(tmp_path)
    pictures(tmp_path, IMAGES[:1], LABELS)
    with pytest.raises(UserError, match="has pictures beside sub-folders of pictures"):
        data.load_images(tmp_path)
    with pytest.raises(UserError, match="data_dir is '/x' beside images; allowed: one of the two"):
        data.open(images=str(tmp_path), data_dir="/x")


def test_classes_of_a_flag():
    assert data.parse_classes("all", 3) == [0, 1, 2] and data.parse_classes("11, 0", 12) == [11, 0]
    for text in ("3", "0,0", "", "-1", "1.0", "everything"):
        with pytest.raises(UserError, match=r"digits is .*; allowed: 'all', or numbers 0 to 2, each once"):
            data.parse_classes(text, 3, "digits")
