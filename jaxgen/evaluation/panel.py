"""One panel for every generator: all figures of a set of samples, with floor and ceilings beside each.

    figure(samples)     beside the floor      figure(as many real training images)
                        and the ceilings      figure(independent pixels), figure(uniform noise)

all measured against the test images, in the coding of the samples.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32, Int64, Integer, UInt8

from jaxgen import runs
from jaxgen.evaluation.measures.conditional_accuracy import ConditionalAccuracy, conditional_accuracy
from jaxgen.evaluation.measures.copies import Nearest, nearest_training
from jaxgen.evaluation.measures.diversity import class_diversity, diversity_ratio
from jaxgen.evaluation.measures.frechet import frechet_distance, frechet_limit, moments
from jaxgen.evaluation.measures.kid import SUBSET, kernel_distance
from jaxgen.evaluation.measures.manifold import manifold
from jaxgen.evaluation.measures.sliced_wasserstein import sliced_wasserstein
from jaxgen.evaluation.reference import Reference
from jaxgen.evaluation.samples import MAX_SAMPLES, check_samples

FLOOR, INDEPENDENT, NOISE, CODED = "real", "independent pixels", "noise", "coded real against 8-bit"
SEARCHED = 2000  # samples whose nearest training image is looked for: the median is then known to about 1 %
_SEED = 0
_DRAWS, _POOL = 20, 20_000


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of one set of samples.

    Attributes:
        dataset, levels: of the reference.
        n_test: test images they were compared with.
        given: samples handed in.
        chosen: indices of those judged: all, or a fixed random 10,000 of more.
        figures: "frechet", "frechet_limit" (extrapolated to infinitely many samples), "kid", "kid_error", "density",
            "coverage", "precision", "recall", "diversity", "copies" and "accuracy", the last None without labels.
        accuracy: by class, None without labels.
        read: samples that the accuracy network takes for each class.
        searched: places, among the judged samples, of those whose nearest training image was looked for.
        nearest: that training image for each.
        baselines: the same figures of real data at the same number, independent pixels and noise; for coded samples
            also what the coding costs.
    """

    dataset: str
    levels: int | None
    n_test: int
    given: int
    chosen: Int64[np.ndarray, "n"]
    figures: dict[str, float | None]
    accuracy: ConditionalAccuracy | None
    read: Int64[np.ndarray, "C"]
    searched: Int64[np.ndarray, "m"]
    nearest: Nearest
    baselines: dict[str, dict[str, float | None]]
    n_train: int = 60_000
    built_in: bool = True

    @property
    def n(self) -> int:
        """Return the number of samples that were evaluated."""
        return len(self.chosen)


def evaluate(
    images: np.ndarray, labels: np.ndarray | None, reference: Reference, pieces: runs.Pieces | None = None
) -> Evaluation:
    """Return all figures of samples except the classification accuracy score.

    Args:
        images: uint8 grey or float in [0, 1], (n, H, W), as many as the reference asks for; decoded, if the reference
            is coded.
        labels: the class that each sample should show, or None.
        reference: of `load_reference`, `build_reference` or `open_reference`.
        pieces: where the results so far are kept, so that a second start does only the rest.

    Raises:
        UserError: naming what is wrong with images or labels, see `check_samples`.
    """
    samples = check_samples(images, labels, reference.levels, reference.rules)
    chosen = some_of(len(samples.images))
    images = samples.images[chosen]
    labels = None if samples.labels is None else samples.labels[chosen]
    searched = some_of(len(images), SEARCHED)
    with runs.progress(6, "evaluating", "part") as bar:

        def part(name: str, compute: Callable[[], dict]) -> dict:
            bar.set_postfix_str(name)
            result = compute() if pieces is None else pieces.get(name, compute)
            bar.update()
            return result

        features = part("features", lambda: {"a": reference.features(images)})["a"]
        read = part("accuracy", lambda: {"a": reference.read(images)})["a"]
        nearest = Nearest(
            **part("nearest", lambda: nearest_training(images[searched], reference.train_images)._asdict())
        )
        shown = read if labels is None else labels
        figures = _numbers(part("figures", lambda: _arrays(feature_figures(features, shown, reference))))
        figures |= _numbers(part("sliced", lambda: _arrays({"sliced": sliced(images, reference)})))
        lowest = _numbers(part("floor", lambda: _arrays(floor(reference, len(images)))))
    right = None if labels is None else conditional_accuracy(read, labels, reference.n_classes)
    figures["copies"] = float(np.median(nearest.distance)) / reference.test_distance
    figures["accuracy"] = None if right is None else right.overall.value
    return Evaluation(
        dataset=reference.dataset,
        levels=reference.levels,
        n_test=len(reference.test_images),
        given=len(samples.images),
        chosen=chosen,
        figures=figures,
        accuracy=right,
        read=np.bincount(read, minlength=reference.n_classes),
        searched=searched,
        nearest=nearest,
        baselines=reference.baselines | {FLOOR: lowest},
        n_train=len(reference.train_images),
        built_in=reference.built_in,
    )


def _arrays(figures: Mapping[str, float | None]) -> dict[str, np.ndarray]:
    return {"json": np.asarray(json.dumps({name: value and float(value) for name, value in figures.items()}))}


def _numbers(arrays: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    return json.loads(str(arrays["json"]))


def feature_figures(
    features: Float32[np.ndarray, "n 64"], labels: Integer[np.ndarray, "n"], reference: Reference
) -> dict[str, float | None]:
    """Return every figure that depends on features alone."""
    subset = min(SUBSET, min(len(features), len(reference.test_features)) // 2)
    kid = kernel_distance(features, reference.test_features, subset)
    return {
        "frechet": frechet_distance(moments(features), reference.test_moments),
        "frechet_limit": frechet_limit(features, reference.test_moments),
        "kid": kid.mean,
        "kid_error": kid.standard_error,
        **manifold(reference.test_features, features, real_radius=reference.test_radii)._asdict(),
        "diversity": diversity_ratio(class_diversity(features, labels, reference.n_classes), reference.test_diversity),
    }


def sliced(images: UInt8[np.ndarray, "n H W"], reference: Reference) -> float:
    """Return the sliced Wasserstein distance of images to the test images."""
    return sliced_wasserstein(images, reference.test_images)


@functools.lru_cache(maxsize=8)
def floor(reference: Reference, n: int) -> dict[str, float | None]:
    """Return the figures of n real training images, a fixed random choice.

    "frechet" is the mean over 20 choices from a pool of 20,000 images, "frechet_error" the standard deviation of a
    single choice. The stored figures of 10,000 images are of a single choice. "accuracy" and "copies" are those of
    the test images: the network has learnt the training images, and they are their own nearest neighbours.
    """
    total = len(reference.train_images)
    if n == MAX_SAMPLES and FLOOR in reference.baselines:
        return reference.baselines[FLOOR] | {"sliced": sliced(reference.train_images[some_of(total, n)], reference)}
    pool, chosen = some_of(total, max(n, _POOL)), some_of(total, n)
    features = reference.features(reference.train_images[pool])
    figures = feature_figures(features[np.searchsorted(pool, chosen)], reference.train_labels[chosen], reference)
    rng = np.random.default_rng(_SEED)
    draws = (features[rng.choice(len(pool), min(n, len(pool)), replace=False)] for _ in range(_DRAWS))
    distances = [frechet_distance(moments(draw), reference.test_moments) for draw in draws]
    return figures | {
        "sliced": sliced(reference.train_images[chosen], reference),
        "frechet": float(np.mean(distances)),
        "frechet_error": float(np.std(distances, ddof=1)),
        "frechet_limit": frechet_limit(features, reference.test_moments),
        "copies": 1.0,
        "accuracy": reference.test_accuracy,
    }


def some_of(total: int, n: int = MAX_SAMPLES) -> Int64[np.ndarray, "n"]:
    """Return indices of n examples in order: all, or a fixed random choice, because files are often sorted by class."""
    return np.sort(np.random.default_rng(_SEED).permutation(total)[:n])
