"""The packaged reference of MNIST cut down to 2,000 test and 4,000 training images, so that tests stay cheap."""

import dataclasses
import functools

import numpy as np

from jaxgen import data, evaluation
from jaxgen.evaluation import networks, reference, weights
from jaxgen.training.weights import unpack

TEST, TRAIN = 2000, 4000


@functools.cache
def small_dataset() -> data.Dataset:
    """The first images of both parts."""
    whole = data.load("mnist")
    return whole._replace(
        train_images=whole.train_images[:TRAIN],
        train_labels=whole.train_labels[:TRAIN],
        test_images=whole.test_images[:TEST],
        test_labels=whole.test_labels[:TEST],
        n_validation=1000,
    )


@functools.cache
def small_reference(levels: int | None = None) -> evaluation.Reference:
    """A reference of it, in a coding."""
    binding = weights.read_binding(weights.PACKAGED, "mnist", small_dataset().fingerprint)
    params = {
        name: unpack(weights.read_arrays(weights.PACKAGED, f"mnist_{name}", binding)) for name in networks.NETWORKS
    }
    made = reference.assemble(small_dataset(), levels, params, test_accuracy=0.99)
    nearest = evaluation.nearest_training(made.test_images, made.train_images)
    return dataclasses.replace(made, test_distance=float(np.median(nearest.distance)))
