"""What samples of a model of one's own images are compared with, made on the spot.

The features are those of the packaged network that was trained on MNIST; images of another size are resized to 28 x 28
for it. They are a fixed description of small grey images, not one that was learned for these: distances compare
generators of the same images, and nothing else. Classes are read without any network, as the class of the nearest
training image. The sliced Wasserstein distance and the copies ratio take no network at all.
"""

import dataclasses
from pathlib import Path

import numpy as np

from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.evaluation.measures.copies import nearest_training
from jaxgen.evaluation.panel import INDEPENDENT, NOISE, SEARCHED, evaluate, some_of
from jaxgen.evaluation.reference import FEWEST_OWN_SAMPLES, Reference, assemble, load_reference
from jaxgen.evaluation.reference_build import ceilings
from jaxgen.evaluation.samples import MIN_SAMPLES, Rules
from jaxgen.evaluation.weights import PACKAGED, read_arrays, read_binding
from jaxgen.training.weights import unpack

FEWEST_TEST_IMAGES = 130  # twice the 64 features and a little more, for their covariance
_CEILING_IMAGES = 1000
_SEED = 0


def open_reference(
    dataset: str = "mnist",
    images: str = "",
    data_dir: str = "",
    levels: int | None = None,
    *,
    folder: str | Path | None = None,
) -> Reference:
    """Return the reference of the images that a run's flags name.

    Args:
        dataset, images, data_dir: as for `data.open`.
        levels: the coding of the samples; None or 256 for 8 bits.
        folder: as for `load_reference`.

    Raises:
        UserError: what `data.open`, `load_reference` and `build_reference` refuse.
    """
    levels = None if levels == data.MOST_LEVELS else levels
    if images:
        return build_reference(data.open(dataset, images, data_dir), levels)
    return load_reference(dataset, levels, folder=folder, data_dir=data_dir or None)


def reference_for(
    n: int, dataset: str = "mnist", images: str = "", data_dir: str = "", levels: int | None = None
) -> Reference | None:
    """Return the reference for n samples of a run, or None if they cannot be evaluated.

    That is so for fewer samples than `Reference.rules` asks for, for images in colour, and for images of one's own with
    fewer than 130 test images. The other arguments are those of `open_reference`.
    """
    if not images:
        return open_reference(dataset, "", data_dir, levels) if n >= MIN_SAMPLES else None
    own = data.open(dataset, images, data_dir)
    if n < FEWEST_OWN_SAMPLES or own.channels != 1 or len(own.test_images) < FEWEST_TEST_IMAGES:
        return None
    return build_reference(own, None if levels == data.MOST_LEVELS else levels)


def own_rules(images: data.Dataset) -> Rules:
    """Return what samples must have to be compared with images of one's own."""
    return Rules(images.size, images.n_classes, FEWEST_OWN_SAMPLES)


def build_reference(images: data.Dataset, levels: int | None = None) -> Reference:
    """Return a reference of images of one's own.

    Args:
        images: from `data.load_images`; grey.
        levels: number of levels to which all images are coded, or None.

    Raises:
        UserError: images in colour, or fewer than 130 test images.
    """
    images = images.grey()
    if len(images.test_images) < FEWEST_TEST_IMAGES:
        raise UserError(
            f"images has {len(images.test_images)} test images in {images.name}; allowed for an evaluation: "
            f"{FEWEST_TEST_IMAGES} or more, such as a tenth of {10 * FEWEST_TEST_IMAGES} images"
        )
    binding = read_binding(PACKAGED, "mnist", None)
    params = {"features": unpack(read_arrays(PACKAGED, "mnist_features", binding))}
    reference = assemble(images, levels, params)
    searched = reference.test_images[some_of(len(reference.test_images), SEARCHED)]
    distance = float(np.median(nearest_training(searched, reference.train_images).distance))
    read = reference.read(reference.test_images)
    reference = dataclasses.replace(
        reference,
        # Repeated images have a median distance of 0, by which no ratio can be taken.
        test_distance=max(distance, 1 / 255),
        test_accuracy=float((read == reference.test_labels).mean()),
    )
    drawn = ceilings(reference.train_images, levels, _SEED, _CEILING_IMAGES)
    figures = {name: evaluate(drawn[name], None, reference).figures for name in (INDEPENDENT, NOISE)}
    return dataclasses.replace(reference, baselines=figures)
