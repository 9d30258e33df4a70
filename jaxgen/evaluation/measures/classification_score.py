"""The classification accuracy score: what can be learnt from the samples alone (Ravuri and Vinyals 2019).

    CAS = accuracy, on the real test images, of a fixed network trained on the generated images and their labels

The network is the feature network, trained afresh on unshifted images for a fixed number of steps. Beside it stands the
same training on as many real images.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen import runs
from jaxgen.evaluation.classifier import ClassifierConfig, train_classifier
from jaxgen.evaluation.measures.intervals import Interval, wilson
from jaxgen.evaluation.networks import apply_network
from jaxgen.evaluation.panel import some_of
from jaxgen.evaluation.reference import Reference
from jaxgen.evaluation.samples import check_samples

SCORE_STEPS = 3000


class ClassificationScore(NamedTuple):
    """Test accuracies with Wilson's 95 % intervals, and the number of images that each training had."""

    generated: Interval
    real: Interval
    n: int


def classification_accuracy_score(
    images: np.ndarray, labels: np.ndarray, reference: Reference, workdir: Path, seed: int = 0, steps: int = SCORE_STEPS
) -> ClassificationScore:
    """Train on the samples, train on as many real images (at most 60,000), test both on the real test images.

    Args:
        images: as for `evaluate`, all of them used.
        labels: a class each.
        reference: the test images, and the coding of all images.
        workdir: run folders generated/ and real/ are made there; the same call again resumes.
        seed: of parameters and order of batches, the same for both.
        steps: parameter updates.

    Raises:
        UserError: what `check_samples` refuses.
    """
    samples = check_samples(images, labels, reference.levels)
    chosen = some_of(len(reference.train_images), len(samples.images))
    sets = {
        "generated": (samples.images, samples.labels),
        "real": (reference.train_images[chosen], reference.train_labels[chosen]),
    }
    config = ClassifierConfig(network="features", seed=seed, steps=steps, shift=0)
    accuracies = {}
    for name, train in sets.items():
        with runs.RunFolder.open(workdir / name, config) as folder:
            params = train_classifier(config, folder, train)
        read = apply_network("features", params, reference.test_images)[0].argmax(1)
        accuracies[name] = wilson(int((read == reference.test_labels).sum()), len(read))
    return ClassificationScore(**accuracies, n=len(samples.images))


def score_rows(score: ClassificationScore) -> list[runs.Row]:
    """Return the row of the record, with the ceiling in its note."""
    generated, real = score.generated, score.real
    note = (
        f"95 % interval {generated.low:.4f} to {generated.high:.4f}, trained on {score.n:,} samples; "
        f"real {real.value:.4f} ({real.low:.4f} to {real.high:.4f})"
    )
    return [runs.Row("classification accuracy score", generated.value, note=note)]
