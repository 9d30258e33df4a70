"""The making of a reference: floors and ceilings of every coding, measured once and bound to networks and data."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from jaxgen import data
from jaxgen.evaluation.baselines.independent_pixels import IndependentPixels
from jaxgen.evaluation.classifier import accuracy
from jaxgen.evaluation.measures.copies import nearest_training
from jaxgen.evaluation.networks import NETWORKS, apply_network
from jaxgen.evaluation.panel import (
    CODED,
    FLOOR,
    INDEPENDENT,
    NOISE,
    SEARCHED,
    evaluate,
    feature_figures,
    floor,
    some_of,
)
from jaxgen.evaluation.reference import CODINGS, Reference, assemble, coding_name
from jaxgen.evaluation.samples import MAX_SAMPLES
from jaxgen.evaluation.weights import write_arrays, write_binding
from jaxgen.training.weights import pack, unpack


def write_reference(images: data.Dataset, params: dict[str, dict], folder: Path, seed: int) -> dict:
    """Write the reference of a dataset, all codings, into a folder.

    Args:
        images: the dataset.
        params: of each network, by its name; features are scaled to unit mean square over the training images, then
            all is rounded to float16, before anything is measured.
        folder: see `weights`; files of the same dataset are replaced.
        seed: of independent pixels and noise.

    Returns:
        What the JSON file binds.
    """
    params = params | {"features": unit_features(params["features"], images.train_images)}
    arrays = {f"{images.name}_{name}": pack(params[name]) for name in NETWORKS}
    params = {name: unpack(arrays[f"{images.name}_{name}"]) for name in NETWORKS}
    bar = tqdm(CODINGS, desc="floors and ceilings", unit="coding")
    references = {levels: measured(images, levels, params, seed) for levels in bar}
    statistics, codings = {}, {}
    for levels, reference in references.items():
        name = coding_name(levels)
        cost = {} if levels is None else {CODED: coding_cost(reference, references[None])}
        codings[name] = {
            "test_distance": reference.test_distance,
            "test_accuracy": reference.test_accuracy,
            "baselines": reference.baselines | cost,
        }
        statistics[f"{name} mean"] = reference.test_moments.mean
        statistics[f"{name} covariance"] = reference.test_moments.covariance
    arrays[f"{images.name}_moments"] = statistics
    test = (images.test_images, images.test_labels)
    binding = {
        "dataset": images.name,
        "fingerprint": images.fingerprint,
        "test_accuracy": {name: accuracy(name, params[name], *test) for name in NETWORKS},
        "codings": codings,
        "arrays": {name: write_arrays(folder, name, content) for name, content in arrays.items()},
    }
    write_binding(folder, images.name, binding)
    return binding


def measured(images: data.Dataset, levels: int | None, params: dict[str, dict], seed: int) -> Reference:
    """Return the reference of one coding with floor and ceilings, each of 10,000 images against the test images."""
    reference = assemble(images, levels, params)
    test = reference.test_images
    searched = test[some_of(len(test), SEARCHED)]
    reference = dataclasses.replace(
        reference,
        test_distance=float(np.median(nearest_training(searched, reference.train_images).distance)),
        test_accuracy=accuracy("accuracy", params["accuracy"], test, reference.test_labels),
    )
    baselines = {FLOOR: floor(reference, MAX_SAMPLES)}
    for name, drawn in ceilings(reference.train_images, levels, seed).items():
        baselines[name] = evaluate(drawn, None, reference).figures
    return dataclasses.replace(reference, baselines=baselines)


def ceilings(
    train: UInt8[np.ndarray, "n H W"], levels: int | None, seed: int, number: int | None = None
) -> dict[str, UInt8[np.ndarray, "m H W"]]:
    """Return images with each pixel drawn from its own histogram, and as many with every level equally likely.

    There are `number` of each, by default 10,000.
    """
    number = number or MAX_SAMPLES
    key_pixels, key_noise = jax.random.split(jax.random.key(seed))
    count = levels or 256
    states = train if levels is None else data.encode(train, levels)
    pixels = IndependentPixels.fit(states, count, pseudo_count=0.0).sample(key_pixels, number)
    noise = np.asarray(jax.random.randint(key_noise, (number, *train.shape[1:]), 0, count)).astype(np.uint8)
    drawn = {INDEPENDENT: pixels, NOISE: noise}
    return drawn if levels is None else {name: data.decode(states, levels) for name, states in drawn.items()}


def coding_cost(reference: Reference, uncoded: Reference) -> dict[str, float | None]:
    """Return the figures of coded training images against uncoded test images: the least that coding costs a model."""
    chosen = some_of(len(reference.train_images))
    features = apply_network("features", reference.params["features"], reference.train_images[chosen])[1]
    figures = feature_figures(features, reference.train_labels[chosen], uncoded)
    return figures | {"copies": None, "accuracy": reference.test_accuracy}


def unit_features(params: dict, images: UInt8[np.ndarray, "n 28 28"]) -> dict:
    """Return the feature network with features of mean square 1 over the images, so that distances have a scale.

    relu(h / s) = relu(h) / s, and the last layer takes the s back: the logits stay what they are.
    """
    scale = np.sqrt(np.mean(np.square(apply_network("features", params, images)[1], dtype=np.float64)))
    hidden, last = (params[name] for name in ("Dense_0", "Dense_1"))
    return params | {
        "Dense_0": {name: array / scale for name, array in hidden.items()},
        "Dense_1": last | {"kernel": last["kernel"] * scale},
    }
