"""The frozen reference of a dataset in one coding: networks, test images with their features, floor and ceilings."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8

from jaxgen import data, runs
from jaxgen.errors import UserError
from jaxgen.evaluation.measures.copies import nearest_training
from jaxgen.evaluation.measures.diversity import class_diversity
from jaxgen.evaluation.measures.frechet import Moments, moments
from jaxgen.evaluation.measures.manifold import squared_radii
from jaxgen.evaluation.networks import NETWORKS, apply_network, fitted
from jaxgen.evaluation.samples import MIN_SAMPLES, Rules
from jaxgen.evaluation.weights import PACKAGED, read_arrays, read_binding
from jaxgen.training.weights import unpack

CODINGS = (None, 16, 4, 2)
FEWEST_OWN_SAMPLES = 256  # four times the 64 features, for the extrapolated Frechet distance
_DRIFT = 1e-3  # of a feature's mean, in standard deviations; float32 on another device stays below 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Everything samples are compared with.

    Attributes:
        dataset: name of the images.
        levels: the coding of all images here, None for 8 bits.
        params: parameters of each network, by its name; without "accuracy" for images of one's own.
        train_images, train_labels: all training images.
        test_images, test_labels: the test images.
        test_features: of the feature network.
        test_moments: of these features.
        test_distance: median distance of 2,000 test images to their nearest training image.
        test_accuracy: of `read`, on these test images.
        baselines: figures of the floor and the ceilings, by name.
        n_classes: number of classes.
        built_in: whether the images are MNIST or Fashion-MNIST as published.
    """

    dataset: str
    levels: int | None
    params: dict[str, dict]
    train_images: UInt8[np.ndarray, "N H W"]
    train_labels: UInt8[np.ndarray, "N"]
    test_images: UInt8[np.ndarray, "n H W"]
    test_labels: UInt8[np.ndarray, "n"]
    test_features: Float32[np.ndarray, "n 64"]
    test_moments: Moments
    test_distance: float
    test_accuracy: float
    baselines: dict[str, dict[str, float | None]]
    n_classes: int = 10
    built_in: bool = True

    def features(self, images: UInt8[np.ndarray, "m H W"]) -> Float32[np.ndarray, "m 64"]:
        """Return the features of images, resized first if they have not the size of the network."""
        return apply_network("features", self.params["features"], fitted(images))[1]

    def read(self, images: UInt8[np.ndarray, "m H W"]) -> Int[np.ndarray, "m"]:
        """Return the class that each image is read as, by the accuracy network if there is one for these images.

        Otherwise it is the class of the nearest training image.
        """
        if "accuracy" in self.params:
            return apply_network("accuracy", self.params["accuracy"], images)[0].argmax(1)
        return self.train_labels[nearest_training(images, self.train_images).index].astype(np.int64)

    @property
    def rules(self) -> Rules:
        """Return what samples must satisfy to be compared with these images."""
        fewest = MIN_SAMPLES if self.built_in else FEWEST_OWN_SAMPLES
        return Rules(self.test_images.shape[1:], self.n_classes, fewest)

    @functools.cached_property
    def test_radii(self) -> Float64[np.ndarray, "n"]:
        """Return the squared distance from the features of each test image to the fifth nearest of the others."""
        return squared_radii(self.test_features)

    @functools.cached_property
    def test_diversity(self) -> Float64[np.ndarray, "C"]:
        """Return the mean pairwise feature distance within each class of the test images."""
        return class_diversity(self.test_features, self.test_labels, self.n_classes)


def load_reference(
    dataset: str = "mnist",
    levels: int | None = None,
    *,
    folder: str | Path | None = None,
    data_dir: str | Path | None = None,
) -> Reference:
    """Return the reference of a built-in dataset in one coding.

    Args:
        dataset: "mnist" or "fashion_mnist".
        levels: 2, 4 or 16 to judge images of so many levels by real images of as many; None for 8 bits.
        folder: one written by `write_reference`; by default the one in the package.
        data_dir: as for `data.load`.

    Raises:
        UserError: another coding; a file that is missing, damaged, changed or made from other data; features that
            come out otherwise on this device than where the reference was made.
        MissingDataError: the dataset is neither on this machine nor to be downloaded.
    """
    if levels not in CODINGS:
        raise UserError(f"levels is {levels}; allowed: none, {', '.join(map(str, CODINGS[1:]))}")
    images = data.load(dataset, data_dir=data_dir)
    folder = runs.expanded(folder, "reference") if folder else PACKAGED
    binding = read_binding(folder, dataset, images.fingerprint)
    params = {name: unpack(read_arrays(folder, f"{dataset}_{name}", binding)) for name in NETWORKS}
    stored = read_arrays(folder, f"{dataset}_moments", binding)
    name = coding_name(levels)
    bound = Moments(stored[f"{name} mean"], stored[f"{name} covariance"])
    reference = assemble(images, levels, params, **binding["codings"][name])
    drift = np.abs(reference.test_moments.mean - bound.mean) / np.sqrt(np.diag(bound.covariance) + 1e-6)
    if drift.max() > _DRIFT:
        raise UserError(
            f"{folder / dataset}_moments.npz: means of the test images' features differ here by up to "
            f"{drift.max():.1g} standard deviations; allowed: {_DRIFT:g}"
        )
    return dataclasses.replace(reference, test_moments=bound)


def assemble(
    images: data.Dataset,
    levels: int | None,
    params: dict[str, dict],
    *,
    test_distance: float = 1.0,
    test_accuracy: float = 0.0,
    baselines: dict[str, dict[str, float | None]] | None = None,
) -> Reference:
    """Return a reference from its parts, with the features of the test images computed here."""
    test = coded(images.test_images, levels)
    features = apply_network("features", params["features"], fitted(test))[1]
    return Reference(
        dataset=images.name,
        levels=levels,
        params=params,
        train_images=coded(images.train_images, levels),
        train_labels=images.train_labels,
        test_images=test,
        test_labels=images.test_labels,
        test_features=features,
        test_moments=moments(features),
        test_distance=test_distance,
        test_accuracy=test_accuracy,
        baselines=baselines or {},
        n_classes=images.n_classes,
        built_in=images.built_in,
    )


def coded(images: UInt8[np.ndarray, "n H W"], levels: int | None) -> UInt8[np.ndarray, "n H W"]:
    """Return grey images as they look after coding to so many levels; None leaves them as they are."""
    return images if levels is None else data.decode(data.encode(images, levels), levels)


def coding_name(levels: int | None) -> str:
    """Return the name of a coding in files and tables."""
    return "8-bit" if levels is None else f"{levels}-level"
