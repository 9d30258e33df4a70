"""Every corruption must move the figure that is there to notice it, and the report must say what was measured."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
from small_reference import TRAIN, small_reference

from jaxgen import data, evaluation, runs
from jaxgen.evaluation import panel

N = 2000


@pytest.fixture(scope="module")
def real():
    """Training images that are not in the small reference's training part: what a perfect generator would draw."""
    whole = data.load("mnist")
    chosen = np.random.default_rng(5).permutation(len(whole.train_images) - TRAIN)[:N] + TRAIN
    return whole.train_images[chosen], whole.train_labels[chosen]


@pytest.fixture(scope="module")
def judged(real):
    """The evaluation of real images and of each corruption of them."""
    images, labels = real
    rng = np.random.default_rng(0)
    few = np.concatenate([rng.choice(np.flatnonzero(labels == k)[:8], np.sum(labels == k)) for k in range(10)])
    half = rng.choice(np.flatnonzero(labels < 5), N)
    blurred = scipy.ndimage.gaussian_filter(images / 255, (0, 1.2, 1.2))
    noisy = np.clip(images / 255 + rng.normal(0, 0.3, images.shape), 0, 1)
    sets = {
        "real": (images, labels),
        "blur": (blurred, labels),
        "more blur": (scipy.ndimage.gaussian_filter(images / 255, (0, 2.0, 2.0)), labels),
        "noise": (noisy, labels),
        "class drop": (images[half], labels[half]),
        "mode drop": (images[few], labels[few]),
        "wrong labels": (images, np.where(rng.random(N) < 0.5, (labels + 1) % 10, labels)),
        "copies": (np.repeat(small_reference().train_images[:1000], 2, axis=0), None),
    }
    return {name: evaluation.evaluate(*pair, small_reference()) for name, pair in sets.items()}


def figure(judged, name, key):
    return judged[name].figures[key]


def test_real_images_stand_at_the_floor(judged):
    real = judged["real"]
    floor = real.baselines["real"]
    for key in ("density", "coverage", "precision", "recall", "diversity"):
        assert real.figures[key] == pytest.approx(floor[key], abs=0.1)
    assert real.figures["copies"] == pytest.approx(1, abs=0.1)
    assert real.figures["accuracy"] > 0.97 and abs(real.figures["kid"]) < 5 * real.figures["kid_error"] + 0.05


@pytest.mark.parametrize("name", ["blur", "noise", "class drop", "mode drop"])
def test_every_corruption_moves_the_distances(judged, name):
    assert figure(judged, name, "frechet") > 1.5 * figure(judged, "real", "frechet")
    assert figure(judged, name, "kid") > figure(judged, "real", "kid") + 3 * figure(judged, "real", "kid_error")


def test_the_distance_grows_with_the_corruption(judged):
    order = [figure(judged, name, "frechet") for name in ("real", "blur", "more blur")]
    assert order == sorted(order) and order[2] > 2 * order[1]


@pytest.mark.parametrize("name", ["more blur", "noise"])
def test_bad_images_lose_density_and_coverage(judged, name):
    """Precision fails: one far real image has a ball wide enough for many bad ones, therefore density was proposed."""
    assert figure(judged, name, "density") < 0.75 * figure(judged, "real", "density")
    assert figure(judged, name, "coverage") < 0.5 * figure(judged, "real", "coverage")
    assert figure(judged, name, "accuracy") < 0.9 * figure(judged, "real", "accuracy")


def test_dropped_classes_lose_coverage_and_recall_alone(judged):
    for key in ("coverage", "recall"):
        assert figure(judged, "class drop", key) < 0.75 * figure(judged, "real", key)
    for key in ("density", "precision", "diversity", "accuracy"):
        assert figure(judged, "class drop", key) > 0.9 * figure(judged, "real", key)
    assert judged["class drop"].read[5:].sum() < 0.02 * N
    assert judged["class drop"].accuracy.by_class[7] is None


def test_dropped_modes_lose_diversity_and_coverage(judged):
    assert figure(judged, "mode drop", "diversity") < 0.92 * figure(judged, "real", "diversity")
    assert figure(judged, "mode drop", "recall") < 0.3 * figure(judged, "real", "recall")
    assert figure(judged, "mode drop", "coverage") < 0.6 * figure(judged, "real", "coverage")
    assert figure(judged, "mode drop", "precision") > 0.9 * figure(judged, "real", "precision")


def test_wrong_labels_lose_conditional_accuracy_alone(judged):
    mislabelled = judged["wrong labels"]
    assert mislabelled.accuracy.overall.low < 0.5 < mislabelled.accuracy.overall.high + 0.01
    for key in ("frechet", "density", "copies"):
        assert mislabelled.figures[key] == figure(judged, "real", key)


def test_copies_are_seen_by_the_copies_ratio(judged):
    copies = judged["copies"]
    assert copies.figures["copies"] == 0 and copies.figures["accuracy"] is None
    assert copies.nearest.index.tolist() == np.repeat(np.arange(1000), 2).tolist()
    assert figure(judged, "blur", "copies") > 0.5


def test_the_floor_is_that_of_as_many_images(judged):
    small = small_reference()
    fewer = evaluation.panel.floor(small, 2000)
    assert judged["real"].baselines["real"] == fewer
    # With fewer samples the Frechet distance of one law is larger; it would be wrong to compare across n.
    assert fewer["frechet"] > evaluation.panel.floor(small, 4000)["frechet"]
    # Not a single draw, whose error is stated, but the mean of twenty; the extrapolated value has no bias of n.
    draws = (np.random.default_rng(k).permutation(len(small.train_images))[:2000] for k in range(30))
    features = evaluation.apply_network("features", small.params["features"], small.train_images)[1]
    distances = [evaluation.frechet_distance(evaluation.moments(features[k]), small.test_moments) for k in draws]
    assert abs(fewer["frechet"] - np.mean(distances)) < np.std(distances, ddof=1)
    assert 0 < fewer["frechet_error"] < fewer["frechet"]
    assert fewer["frechet_limit"] < evaluation.panel.floor(small, 4000)["frechet"]
    stored = dataclasses.replace(small, baselines={"real": {"frechet": -1.0}})
    floor = evaluation.panel.floor(stored, 10_000)
    assert floor == {"frechet": -1.0, "sliced": floor["sliced"]} and floor["sliced"] > 0


def test_of_many_samples_a_mixed_choice_is_judged():
    chosen = evaluation.panel.some_of(60_000)
    assert len(np.unique(chosen)) == 10_000 and np.bincount(chosen // 6000).min() > 800
    assert set(np.bincount(chosen % 6) > 1500) == {True}  # labels that repeat along the file stay balanced
    assert evaluation.panel.some_of(2500).tolist() == list(range(2500))


def test_coded_samples_are_judged_by_coded_images(real):
    images, labels = real
    coded = data.decode(data.encode(images, 2), 2)
    among_coded = evaluation.evaluate(coded, labels, small_reference(2))
    among_grey = evaluation.evaluate(coded, labels, small_reference())
    assert among_coded.figures["frechet"] < 0.8 * among_grey.figures["frechet"]
    with pytest.raises(ValueError, match="images has 256 greys, among them 1; allowed with levels=2: 0, 255"):
        evaluation.evaluate(images, labels, small_reference(2))


def test_the_report_says_what_was_measured(judged):
    blurred = judged["blur"]
    rows = {row.quantity: row for row in evaluation.rows(blurred)}
    assert rows["MNIST-Frechet"].value == blurred.figures["frechet"]
    assert f"real {blurred.baselines['real']['frechet']:.4g}" in rows["MNIST-Frechet"].note
    assert "2,000 samples" in rows["MNIST-Frechet"].note and "95 % interval" in rows["conditional accuracy"].note
    assert "conditional accuracy" not in {row.quantity for row in evaluation.rows(judged["copies"])}
    text = evaluation.table(blurred)
    assert "biased upward" in text and f"{blurred.figures['coverage']:.4g}" in text
    assert text.count("\n") >= 10 and text.splitlines()[1].split()[:3] == ["figure", "samples", "real"]
    written = evaluation.to_json(blurred)
    assert written["figures"] == blurred.figures and len(written["nearest_training"]["index"]) == N


def test_a_second_judgement_uses_what_a_stopped_one_finished(real, tmp_path, monkeypatch):
    reference, images = small_reference(), real[0]
    whole = panel.evaluate(images, None, reference)

    def stopped(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(panel, "feature_figures", stopped)
        with pytest.raises(KeyboardInterrupt):
            panel.evaluate(images, None, reference, runs.Pieces(tmp_path / "p", {}))
    with monkeypatch.context() as patch:
        patch.setattr(panel, "nearest_training", stopped)
        again = panel.evaluate(images, None, reference, runs.Pieces(tmp_path / "p", {}))
    assert again.figures == whole.figures and again.baselines == whole.baselines
    np.testing.assert_array_equal(again.read, whole.read)
