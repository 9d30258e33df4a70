"""What ships is small, accurate, bound together; anything changed is refused. Networks against PyTorch."""

import json
import shutil

import numpy as np
import pytest
from small_reference import small_dataset, small_reference
from torch_reference import judges

from jaxgen import data, evaluation
from jaxgen.evaluation import networks, reference_build, weights

MNIST = data.load("mnist")


@pytest.fixture
def copied(tmp_path):
    for path in weights.PACKAGED.glob("mnist*"):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize("dataset", sorted(path.stem for path in weights.PACKAGED.glob("*.json")))
def test_every_shipped_file_is_small_and_bound(dataset):
    for name in ("features", "accuracy", "moments"):
        assert (weights.PACKAGED / f"{dataset}_{name}.npz").stat().st_size < 500_000
    binding = json.loads((weights.PACKAGED / f"{dataset}.json").read_text())
    assert set(binding["arrays"]) == {f"{dataset}_{name}" for name in ("features", "accuracy", "moments")}
    for content in binding["codings"].values():
        floor, pixels = (content["baselines"][name]["frechet"] for name in ("real", "independent pixels"))
        assert floor <= 0.02 * pixels


def test_shipped_networks_are_as_accurate_as_bound():
    binding = weights.read_binding(weights.PACKAGED, "mnist", MNIST.fingerprint)
    assert binding["test_accuracy"]["features"] >= 0.992 and binding["test_accuracy"]["accuracy"] >= 0.988
    for name, params in small_reference().params.items():
        accuracy = evaluation.accuracy(name, params, MNIST.test_images[5000:], MNIST.test_labels[5000:])
        assert accuracy == pytest.approx(binding["test_accuracy"][name], abs=0.01)


def test_the_whole_reference_is_read(copied):
    reference = evaluation.load_reference("mnist", 4, folder=copied)
    assert set(np.unique(reference.test_images)) == {0, 85, 170, 255} and reference.test_features.shape == (10_000, 64)
    assert {"real", "independent pixels", "noise"} < set(reference.baselines) and 0.9 < reference.test_accuracy < 1
    np.testing.assert_allclose(
        reference.test_moments.covariance, np.cov(reference.test_features.T), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", ["features", "accuracy", "moments"])
def test_a_changed_array_is_refused(copied, name):
    path = copied / f"mnist_{name}.npz"
    arrays = dict(np.load(path))
    first = sorted(arrays)[0]
    arrays[first] = arrays[first].copy()
    arrays[first].flat[0] += np.asarray(0.25, arrays[first].dtype)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"mnist_{name}\.npz: SHA-256 of the arrays is \w+, bound to \w+; rebuild"):
        evaluation.load_reference("mnist", folder=copied)


def test_another_compression_of_the_same_arrays_is_fine(copied):
    path = copied / "mnist_features.npz"
    np.savez(path, **dict(np.load(path)))
    binding = weights.read_binding(copied, "mnist", MNIST.fingerprint)
    assert "Dense_0/kernel" in weights.read_arrays(copied, "mnist_features", binding)


def test_missing_and_damaged_arrays_are_refused(copied):
    path = copied / "mnist_accuracy.npz"
    binding = weights.read_binding(copied, "mnist", MNIST.fingerprint)
    for content in (path.read_bytes()[:1000], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mnist_accuracy\.npz, which cannot be read"):
            weights.read_arrays(copied, "mnist_accuracy", binding)
    np.savez(path, x=np.asarray([{}]))
    with pytest.raises(ValueError, match=r"mnist_accuracy\.npz, which cannot be read .ValueError: .* holds objects"):
        weights.read_arrays(copied, "mnist_accuracy", binding)
    path.unlink()
    with pytest.raises(ValueError, match=r"mnist_accuracy\.npz, no file; allowed: what it was built as; rebuild it"):
        weights.read_arrays(copied, "mnist_accuracy", binding)


def test_a_changed_figure_other_data_or_no_file_is_refused(copied):
    path = copied / "mnist.json"
    content = json.loads(path.read_text())
    with pytest.raises(ValueError, match=r"mnist\.json: made from data .*, these are other; rebuild"):
        weights.read_binding(copied, "mnist", "other")
    content["codings"]["8-bit"]["baselines"]["real"]["frechet"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"mnist\.json: SHA-256 of the content is \w+, sealed as"):
        evaluation.load_reference("mnist", folder=copied)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"mnist\.json: damaged"):
        evaluation.load_reference("mnist", folder=copied)
    path.unlink()
    with pytest.raises(ValueError, match=r"mnist\.json: no such file; rebuild"):
        evaluation.load_reference("mnist", folder=copied)
    with pytest.raises(ValueError, match="levels is 3; allowed: none, 16, 4, 2"):
        evaluation.load_reference("mnist", 3)


@pytest.mark.parametrize("name", ["features", "accuracy"])
def test_the_networks_are_those_of_the_torch_reference(name):
    params, images = small_reference().params[name], MNIST.test_images[:32]
    logits, hidden = networks.apply_network(name, params, images)
    wanted_logits, wanted_hidden = judges.NETWORKS[name](params, images)
    np.testing.assert_allclose(logits, wanted_logits, atol=2e-4)
    np.testing.assert_allclose(hidden, wanted_hidden, atol=2e-5)


def test_batches_do_not_change_the_features():
    params = small_reference().params["features"]
    images = MNIST.test_images[:1003]
    _, whole = networks.apply_network("features", params, images)
    _, last = networks.apply_network("features", params, images[-5:])
    assert whole.shape == (1003, 64)
    np.testing.assert_allclose(last, whole[-5:], atol=1e-6)


def test_scaling_the_features_keeps_the_logits():
    params = small_reference().params["features"]
    grown = params | {"Dense_0": {name: 3 * array for name, array in params["Dense_0"].items()}}
    images = small_dataset().train_images[:500]
    before = networks.apply_network("features", grown, images)[0]
    logits, features = networks.apply_network("features", reference_build.unit_features(grown, images), images)
    np.testing.assert_allclose(logits, before, atol=3e-4)
    assert np.mean(features**2) == pytest.approx(1, abs=1e-4)


def test_the_ceilings_have_the_laws_they_name(monkeypatch):
    monkeypatch.setattr(reference_build, "MAX_SAMPLES", 2000)
    train = small_dataset().train_images
    for levels in (None, 2):
        coded = train if levels is None else data.decode(data.encode(train, levels), levels)
        ceilings = reference_build.ceilings(coded, levels, 0)
        assert {len(images) for images in ceilings.values()} == {2000}
        # Five standard errors of the mean; noise is uniform on 0 to 255, or on 0 and 255.
        error = 5 * np.sqrt(coded.var(0) / 2000)
        assert (np.abs(ceilings["independent pixels"].mean(0) - coded.mean(0)) <= error + 1e-9).all()
        assert ceilings["noise"].mean() == pytest.approx(127.5, abs=0.6)
        assert set(np.unique(ceilings["noise"])) == set(range(256) if levels is None else (0, 255))
