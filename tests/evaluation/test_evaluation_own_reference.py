"""Images of one's own are evaluated by size and classes of their own, and corruption is seen without their network."""

import numpy as np
import pytest

from jaxgen import data, evaluation
from jaxgen.errors import UserError
from jaxgen.evaluation import networks

N = 400


def digits(n):
    """MNIST cut to the 20 x 20 pixels in the middle, three of its classes, 5 levels."""
    images, labels = data.select(*data.split(data.load(), "train"), (0, 1, 4))
    states = data.encode(images[:n, 4:24, 4:24], 5)
    return states, np.searchsorted((0, 1, 4), labels[:n])


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    states, labels = digits(2000)
    path = tmp_path_factory.mktemp("own") / "cut.npz"
    np.savez(path, images=states[N:], labels=labels[N:], levels=5)
    return path


@pytest.fixture(scope="module")
def reference(own):
    return evaluation.open_reference(images=str(own), levels=5)


@pytest.fixture(scope="module")
def judged(reference):
    states, labels = digits(N)
    images = data.decode(states, 5)
    rng = np.random.default_rng(0)
    noisy = data.decode(np.where(rng.random(states.shape) < 0.4, rng.integers(0, 5, states.shape), states), 5)
    return {
        "real": evaluation.evaluate(images, labels, reference),
        "noise": evaluation.evaluate(noisy, labels, reference),
        "wrong labels": evaluation.evaluate(images, (labels + 1) % 3, reference),
    }


def test_the_reference_has_the_images_and_classes_of_its_own(reference):
    assert reference.rules == evaluation.Rules((20, 20), 3, 256) and not reference.built_in
    assert reference.test_images.shape[1:] == (20, 20) and reference.test_features.shape == (160, 64)
    assert reference.test_accuracy > 0.9 and set(reference.baselines) == {"independent pixels", "noise"}


def test_real_images_stand_at_the_floor_and_noise_does_not(judged):
    real, noise = judged["real"].figures, judged["noise"].figures
    floor = judged["real"].baselines["real"]
    for key in ("density", "coverage", "diversity", "accuracy"):
        assert real[key] == pytest.approx(floor[key], abs=0.15), key
    assert real["sliced"] < 1.5 * floor["sliced"] and noise["sliced"] > 1.8 * real["sliced"]
    assert noise["frechet"] > 1.5 * real["frechet"] and noise["copies"] > 1.2 * real["copies"]
    assert judged["wrong labels"].figures["accuracy"] < 0.1
    assert judged["real"].baselines["noise"]["sliced"] > judged["real"].baselines["independent pixels"]["sliced"]


def test_the_report_says_what_kind_of_features(judged):
    rows = [row.quantity for row in evaluation.rows(judged["real"])]
    assert "Frechet, MNIST features" in rows and "sliced Wasserstein" in rows
    text = evaluation.table(judged["real"])
    assert "test images of cut, 5-level" in text and "Classes are read from the nearest training image" in text
    assert evaluation.to_json(judged["real"])["read_as"] == judged["real"].read.tolist()


def test_the_figure_and_the_refusals(judged, reference, own, tmp_path):
    states, labels = digits(N)
    rules = reference.rules
    np.savez(tmp_path / "s.npz", states=states, labels=labels, levels=5)
    samples = evaluation.load_samples(tmp_path / "s.npz", rules=rules)
    evaluation.summary_figure(tmp_path / "summary.png", samples, judged["real"], reference)
    assert (tmp_path / "summary.png").stat().st_size > 10_000
    with pytest.raises(UserError, match="labels has classes 1 to 3; allowed: 0 to 2"):
        evaluation.evaluate(samples.images, labels + 1, reference)
    with pytest.raises(UserError, match=r"images has shape \(400, 19, 20\); allowed: \(n, 20, 20\)"):
        evaluation.evaluate(samples.images[:, 1:], None, reference)
    with pytest.raises(UserError, match="images has 255 images; allowed: 256 or more"):
        evaluation.evaluate(samples.images[:255], None, reference)
    np.savez(tmp_path / "few.npz", images=states[:300], levels=5)
    with pytest.raises(UserError, match=r"images has 30 test images in few; allowed for an evaluation: 130 or more"):
        evaluation.open_reference(images=str(tmp_path / "few.npz"))


def test_resizing_keeps_what_has_the_size_and_the_mean_of_the_rest():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    assert networks.fitted(images) is images
    large = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(networks.fitted(large).mean((1, 2)), images.mean((1, 2)), rtol=0.02)
    flat = np.full((2, 9, 13), 77, np.uint8)
    assert (networks.fitted(flat) == 77).all() and networks.fitted(flat).shape == (2, 28, 28)
