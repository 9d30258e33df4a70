"""Images of one's own: an NPZ file, IDX files, or a folder of PNG and JPEG files.

    FILE.npz     images   uint8 (n, H, W) or (n, H, W, 3), or floats in [0, 1];   labels   integers (n,), may be absent
                 levels   an integer L: images are then states 0 to L - 1, as are the samples of a Potts model
                 test_images, test_labels   may be absent
    FILE         one IDX file of images; labels are read from the file beside it whose name says labels-idx1
    FOLDER       the four IDX files with MNIST's names, or PNG and JPEG files; its sub-folders are classes, by
                 number or name

Greys run from 0 to 255. A set without a grey of 32 or more is refused: it holds states, or pixels of another range.
Classes are numbered from 0, and every class has an image.

Order and split. Images are sorted by the SHA-256 of their pixels, which mixes the classes and does not depend on the
order of files. Of n images without a test part of their own, the last n // 10 are the test part; of the others the
last tenth are for validation. An image therefore does not change its part when files are renamed, and repeated images
lie beside each other.
"""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from jaxgen import runs
from jaxgen.data.dataset import Dataset
from jaxgen.data.idx import is_idx, read_idx
from jaxgen.data.levels import MOST_LEVELS, decode
from jaxgen.errors import UserError, quoted

FEWEST_IMAGES = 20
LARGEST_SIDE = 1024
MOST_CLASSES = 256  # labels are uint8
_SUFFIXES = (".png", ".jpg", ".jpeg")
DARKEST_WHITE = 32  # the brightest grey of a data set is at least this
_ALLOWED = "an NPZ file with an array images, an IDX file, or a folder of IDX, PNG or JPEG files"
_ALLOWED_VALUES = (
    "uint8 greys 0 to 255, floats in [0, 1], or states 0 to L - 1 with an array levels that holds L; convert them"
)
_IDX_PARTS = {"train": "train", "test": "t10k"}

_Part = tuple[np.ndarray, np.ndarray | None]


def load_images(path: str | Path) -> Dataset:
    """Return images of one's own as a dataset; see the module for what is read and how it is split.

    Args:
        path: file or folder.

    Raises:
        UserError: it does not exist, cannot be read, or holds images that do not fit together; names the file.
    """
    path = runs.expanded(path, "images")
    name = path.name.split(".")[0] or path.resolve().name
    parts, levels = _read(path)
    checked = {part: _checked(path, part, images, labels) for part, (images, labels) in parts.items()}
    return _assembled(name, checked, levels, path)


def read_images(path: str | Path) -> tuple[UInt8[np.ndarray, "n H W *C"], UInt8[np.ndarray, "n"] | None]:
    """Return any number of images in the order of their file, and their labels or None; nothing is split.

    Args:
        path: what `load_images` takes, or one PNG or JPEG file.

    Raises:
        UserError: as `load_images`.
    """
    path = runs.expanded(path, "images")
    if path.suffix.lower() in _SUFFIXES and path.is_file():
        pictures = _read_picture(path)[None]
        images, labels = (pictures[..., 0] if (pictures == pictures[..., :1]).all() else pictures), None
    else:
        images, labels = _read(path)[0]["train"]
    return _checked(path, "given", images, labels)[0], None if labels is None else _checked_labels(
        path, labels, len(images)
    )


def _read(path: Path) -> tuple[dict[str, _Part], int]:
    """Return the parts that a file or folder holds, and the levels of its images."""
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".npz":
        return _read_archive(path)
    if path.is_file():
        if not is_idx(path):
            raise UserError(f"images is {path}, which is neither an NPZ nor an IDX file; allowed: {_ALLOWED}")
        return {"train": _read_idx_pair(path)}, MOST_LEVELS
    raise UserError(f"images is {quoted(str(path))}, which does not exist; allowed: {_ALLOWED}")


def _assembled(name: str, parts: dict[str, tuple[np.ndarray, np.ndarray]], levels: int, path: Path) -> Dataset:
    """Return the dataset: images sorted, split into parts, and frozen."""
    train = _sorted(*parts["train"])
    if "test" in parts:
        test = _sorted(*parts["test"])
        if test[0].shape[1:] != train[0].shape[1:]:
            raise UserError(
                f"images is {path}, whose test images have shape {test[0].shape[1:]} and training images "
                f"{train[0].shape[1:]}; allowed: one shape"
            )
    else:
        cut = len(train[0]) - len(train[0]) // 10
        train, test = tuple(array[:cut] for array in train), tuple(array[cut:] for array in train)
    n_classes = 1 + max(int(train[1].max()), int(test[1].max()))
    _check_classes(path, np.concatenate([train[1], test[1]]), n_classes)
    if levels == MOST_LEVELS and max(train[0].max(), test[0].max()) < DARKEST_WHITE:
        raise UserError(
            f"images is {path}, whose brightest grey is {train[0].max()} of 255; allowed: {DARKEST_WHITE} or more. "
            "Give states 0 to L - 1 beside an array levels that holds L, and scale other images to 0..255"
        )
    digest = hashlib.sha256()
    for array in (*train, *test):
        array.flags.writeable = False
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return Dataset(name, *train, *test, digest.hexdigest(), max(1, len(train[0]) // 10), n_classes, levels, False)


def _check_classes(path: Path, labels: UInt8[np.ndarray, "n"], n_classes: int) -> None:
    missing = np.setdiff1d(np.arange(n_classes), labels)
    if len(missing):
        raise UserError(
            f"images is {path}, whose labels go up to {n_classes - 1} and have no image of class {missing[0]}; "
            "allowed: numbers from 0 without gaps, such as numpy.unique(labels, return_inverse=True)[1]"
        )


def _sorted(images: np.ndarray, labels: np.ndarray) -> tuple[UInt8[np.ndarray, "n ..."], UInt8[np.ndarray, "n"]]:
    """Return the images in the order of the hashes of their pixels, copied."""
    hashes = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]
    order = sorted(range(len(images)), key=lambda i: (hashes[i], labels[i]))
    return images[order], labels[order]


def _checked(path: Path, part: str, images: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return images as uint8 and labels as uint8, both checked."""
    where = f"images is {path}, whose {part} images"
    sides = images.shape[1:3]
    if images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)) or not min(sides, default=0) >= 1:
        raise UserError(f"{where} have shape {images.shape}; allowed: (n, height, width), or (n, height, width, 3)")
    if max(sides) > LARGEST_SIDE:
        raise UserError(f"{where} have sides {sides}; allowed: up to {LARGEST_SIDE} pixels")
    least = FEWEST_IMAGES if part == "train" else 1
    if len(images) < least:
        raise UserError(f"images is {path} with {len(images)} {part} images; allowed: {least} or more")
    if np.issubdtype(images.dtype, np.floating):
        if not np.isfinite(images).all():
            raise UserError(f"{where} have a value that is NaN or infinite; allowed: {_ALLOWED_VALUES}")
        if images.min() < 0 or images.max() > 1:
            raise UserError(f"{where} are floats from {images.min():g} to {images.max():g}; allowed: {_ALLOWED_VALUES}")
        images = np.rint(images * 255).astype(np.uint8)
    elif images.dtype != np.uint8:
        raise UserError(f"{where} have dtype {images.dtype}; allowed: {_ALLOWED_VALUES}")
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if labels is None:
        return images, np.zeros(len(images), np.uint8)
    return images, _checked_labels(path, labels, len(images))


def _checked_labels(path: Path, labels: np.ndarray, n: int) -> UInt8[np.ndarray, "n"]:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"images is {path}, whose labels are {labels.dtype} {labels.shape}; allowed: integers ({n},), the class of "
            "every image"
        )
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise UserError(
            f"images is {path}, whose labels go from {labels.min()} to {labels.max()}; allowed: 0 to {MOST_CLASSES - 1}"
        )
    return labels.astype(np.uint8)


def _read_archive(path: Path) -> tuple[dict[str, _Part], int]:
    allowed = "an NPZ file with an array images, (n, height, width), as numpy.savez(file, images=images) writes it"
    arrays = runs.read_npz(path, "images", allowed)
    if "images" not in arrays and "states" in arrays:
        arrays["images"] = arrays["states"]
    if "images" not in arrays:
        raise UserError(f"images is {path}, whose arrays are {quoted(', '.join(arrays))}; allowed: {allowed}")
    levels = _stated_levels(path, arrays)
    given = [name for name in ("labels", "test_labels") if name in arrays]
    if "test_images" in arrays and len(given) == 1:
        raise UserError(
            f"images is {path}, which has {given[0]} and only them beside images and test_images; allowed: labels and "
            "test_labels, or neither"
        )
    parts = {}
    for part, prefix in (("train", ""), ("test", "test_")):
        if f"{prefix}images" in arrays:
            images = arrays[f"{prefix}images"]
            if "levels" in arrays:
                images = _decoded(path, images, levels)
            parts[part] = images, arrays.get(f"{prefix}labels")
    return parts, levels


def _stated_levels(path: Path, arrays: dict[str, np.ndarray]) -> int:
    if "levels" not in arrays:
        return MOST_LEVELS
    levels = arrays["levels"]
    if levels.shape != () or levels.dtype.kind not in "iu" or not 2 <= levels <= MOST_LEVELS:
        raise UserError(f"images is {path}, whose levels is {quoted(levels.tolist())}; allowed: one integer, 2 to 256")
    return int(levels)


def _decoded(path: Path, states: Shaped[np.ndarray, "n ..."], levels: int) -> UInt8[np.ndarray, "n ..."]:
    whole = np.rint(states).astype(np.int64) if states.dtype.kind in "iuf" and np.isfinite(states).all() else None
    if whole is None or not whole.size or (whole != states).any() or whole.min() < 0 or whole.max() >= levels:
        raise UserError(
            f"images is {path}, whose levels is {levels} and whose images are not all states; allowed: integers 0 to "
            f"{levels - 1}, or greys without an array levels"
        )
    return decode(whole, levels)


def _read_folder(path: Path) -> tuple[dict[str, _Part], int]:
    parts = {}
    for part, prefix in _IDX_PARTS.items():
        candidates = (path / f"{prefix}-images-idx3-ubyte{suffix}" for suffix in (".gz", ""))
        for file in candidates:
            if file.is_file() and part not in parts:
                parts[part] = _read_idx_pair(file)
    if "train" in parts:
        return parts, MOST_LEVELS
    return {"train": _read_pictures(path)}, MOST_LEVELS


def _read_idx_pair(path: Path) -> _Part:
    """Return the images of an IDX file, and the labels of the file beside it, or None if there is none."""
    images = read_idx(path)
    stem = path.name.removesuffix(".gz").replace("images-idx3", "labels-idx1")
    for candidate in (path.with_name(f"{stem}.gz"), path.with_name(stem)):
        if candidate.is_file() and candidate.name != path.name and "labels-idx1" in stem:
            return images, read_idx(candidate)
    return images, None


def _read_pictures(path: Path) -> _Part:
    """Return the images of a folder of picture files, and the number of the sub-folder of each, or None."""
    files = _pictures(path)
    folders = sorted((entry for entry in path.iterdir() if entry.is_dir() and _pictures(entry)), key=_in_order)
    if bool(files) == bool(folders):
        what = "has pictures beside sub-folders of pictures" if files else "has no pictures and no sub-folder of any"
        allowed = "PNG or JPEG files, one sub-folder of them per class, or IDX files with MNIST's names"
        raise UserError(f"images is {path}, which {what}; allowed: {allowed}")
    if len(folders) > MOST_CLASSES:
        raise UserError(f"images is {path} with {len(folders)} sub-folders; allowed: up to {MOST_CLASSES} classes")
    by_class = [_pictures(folder) for folder in folders] or [files]
    images = [_read_picture(file) for group in by_class for file in group]
    names = [file for group in by_class for file in group]
    for image, file in zip(images, names, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"images is {path}, where {names[0].name} has {images[0].shape[0]} x {images[0].shape[1]} pixels and "
                f"{file.relative_to(path)} {image.shape[0]} x {image.shape[1]}; allowed: one size; resize the files"
            )
    stacked = np.stack(images)
    if (stacked == stacked[..., :1]).all():
        stacked = stacked[..., 0]
    labels = np.repeat(np.arange(len(by_class)), [len(group) for group in by_class])
    return stacked, labels if folders else None


def _in_order(folder: Path) -> tuple[bool, int, str]:
    """Sort numbers before words, and 10 after 9."""
    number = folder.name.isdecimal()
    return not number, int(folder.name) if number else 0, folder.name


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())


def _read_picture(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image  # here, so that the library does without it

    try:
        with Image.open(path) as picture:
            if max(picture.size) > LARGEST_SIDE:  # before its pixels are unpacked
                raise UserError(f"images: {path} has {picture.size} pixels; allowed: up to {LARGEST_SIDE} per side")
            if picture.mode.startswith("I"):  # 16 bits
                grey = np.asarray(picture.convert("I")) // 257
                return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(picture.convert("RGB"))
    except UserError:
        raise
    # Pillow raises OSError, SyntaxError, ValueError, struct.error and more for what is no picture.
    except Exception as error:
        raise UserError(
            f"images: {path} cannot be read as a picture ({type(error).__name__}); allowed: PNG or JPEG files; "
            "fetch an intact copy"
        ) from error
