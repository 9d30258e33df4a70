"""Copies: does a generator repeat its training images?

    copies = median over samples of min_t |x - t|  /  median over test images of the same,     t in the training images

in Euclidean pixel distance. A generator of fresh images gives about 1, and a good deal more if its images are noisy;
one that repeats training images gives less, down to 0. The panel takes 2,000 samples and as many test images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

_CHUNK = 500


class Nearest(NamedTuple):
    """The nearest training image of each image: its index and its distance, with grey on [0, 1]."""

    index: Int64[np.ndarray, "n"]
    distance: Float64[np.ndarray, "n"]


def nearest_training(images: UInt8[np.ndarray, "n H W"], train: UInt8[np.ndarray, "N H W"]) -> Nearest:
    """Search all training images; float32 finds the neighbour, exact integers measure its distance.

    Args:
        images: grey, 0 to 255.
        train: the same, of the same height and width.
    """
    flat = train.reshape(len(train), -1).astype(np.float32) / 255
    # |x - t|^2 - |x|^2 = (x, 1) . (-2 t, |t|^2): one matrix product, and the same t for every x.
    search = np.hstack([-2 * flat, np.einsum("nd,nd->n", flat, flat)[:, None]]).T
    index = []
    for start in range(0, len(images), _CHUNK):
        some = images[start : start + _CHUNK].reshape(-1, flat.shape[1]).astype(np.float32) / 255
        index.append((np.hstack([some, np.ones((len(some), 1), np.float32)]) @ search).argmin(1))
    index = np.concatenate(index)
    difference = images.astype(np.int32) - train[index]
    return Nearest(index, np.sqrt(np.square(difference).sum((1, 2), dtype=np.int64)) / 255)
