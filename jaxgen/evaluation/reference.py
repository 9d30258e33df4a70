"""The frozen reference of a dataset in one coding: networks, test images with their features, floor and ceilings."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from jaxgen import data
from jaxgen.errors import UserError
from jaxgen.evaluation.measures.diversity import class_diversity
from jaxgen.evaluation.measures.frechet import Moments, moments
from jaxgen.evaluation.measures.manifold import squared_radii
from jaxgen.evaluation.networks import NETWORKS, apply_network
from jaxgen.evaluation.weights import PACKAGED, read_arrays, read_binding, unpack

CODINGS = (None, 16, 4, 2)
_DRIFT = 1e-3  # of a feature's mean, in standard deviations; float32 on another device stays below 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Everything samples are compared with.

    Attributes:
        dataset: "mnist" or "fashion_mnist".
        levels: the coding of all images here, None for 8 bits.
        params: parameters of each network, by its name.
        train_images, train_labels: the published training images.
        test_images, test_labels: the published test images.
        test_features: of the feature network.
        test_moments: of these features.
        test_distance: median distance of 2,000 test images to their nearest training image.
        test_accuracy: of the accuracy network, on these test images.
        baselines: figures of the floor and the ceilings, by name.
    """

    dataset: str
    levels: int | None
    params: dict[str, dict]
    train_images: UInt8[np.ndarray, "60000 28 28"]
    train_labels: UInt8[np.ndarray, "60000"]
    test_images: UInt8[np.ndarray, "10000 28 28"]
    test_labels: UInt8[np.ndarray, "10000"]
    test_features: Float32[np.ndarray, "10000 64"]
    test_moments: Moments
    test_distance: float
    test_accuracy: float
    baselines: dict[str, dict[str, float | None]]

    @functools.cached_property
    def test_radii(self) -> Float64[np.ndarray, "10000"]:
        """Squared distance from the features of each test image to the fifth nearest of the others."""
        return squared_radii(self.test_features)

    @functools.cached_property
    def test_diversity(self) -> Float64[np.ndarray, "10"]:
        """Mean pairwise feature distance in each class of test images."""
        return class_diversity(self.test_features, self.test_labels)


def load_reference(
    dataset: str = "mnist",
    levels: int | None = None,
    *,
    folder: str | Path | None = None,
    data_dir: str | Path | None = None,
) -> Reference:
    """The reference of a dataset in one coding.

    Args:
        dataset: "mnist" or "fashion_mnist".
        levels: 2, 4 or 16 to judge images of so many levels by real images of as many; None for 8 bits.
        folder: one written by `write_reference`; by default the one in the package.
        data_dir: as for `data.load`.

    Raises:
        ValueError: another coding; a file that is missing, damaged, changed or made from other data; features that
            come out otherwise on this device than where the reference was made.
        FileNotFoundError: the dataset is nowhere to be had.
    """
    if levels not in CODINGS:
        raise UserError(f"levels: got {levels}; allowed: none, {', '.join(map(str, CODINGS[1:]))}")
    images = data.load(dataset, data_dir=data_dir)
    folder = Path(folder or PACKAGED)
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
    """A reference from its parts, with the features of the test images computed here."""
    test = coded(images.test_images, levels)
    features = apply_network("features", params["features"], test)[1]
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
    )


def coded(images: UInt8[np.ndarray, "n 28 28"], levels: int | None) -> UInt8[np.ndarray, "n 28 28"]:
    """Grey images as they look after coding to so many levels; None leaves them as they are."""
    return images if levels is None else data.decode(data.encode(images, levels), levels)


def coding_name(levels: int | None) -> str:
    """The name of a coding in files and tables."""
    return "8-bit" if levels is None else f"{levels}-level"
