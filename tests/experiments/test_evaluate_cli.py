"""The two commands of the panel, on a small dataset and with networks of two steps."""

import json

import commands
import numpy as np
import pytest
from PIL import Image
from small_reference import small_dataset

from experiments import evaluate, evaluation_reference
from jaxgen import data, evaluation, runs
from jaxgen.evaluation import reference_build

RNG = np.random.default_rng(0)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def small():
    """2,000 test images, 3,000 that train and 1,000 that validate; ceilings of 2,000 images; two codings."""
    dataset = small_dataset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "configure", lambda: None)
        patch.setattr(data, "load", lambda *_, **__: dataset)
        patch.setattr(reference_build, "MAX_SAMPLES", 2000)
        patch.setattr(reference_build, "CODINGS", (None, 4))
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("reference") / "run"
    flags = ["--feature_steps=2", "--accuracy_steps=2", f"--workdir={workdir}"]
    runs.main(evaluation_reference.ReferenceConfig, evaluation_reference.run, ["program", *flags])
    return workdir


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Samples in both forms."""
    folder = tmp_path_factory.mktemp("samples")
    images = RNG.integers(0, 256, (2000, 28, 28)).astype(np.uint8)
    np.savez(folder / "labelled.npz", images=images / 255, labels=np.arange(2000) % 10)
    np.savez(folder / "states.npz", states=images // 64, levels=4)
    np.savez(folder / "few.npz", images=images[:100])
    return folder


def test_the_reference_run_leaves_what_evaluate_reads(built):
    record = json.loads((built / "result.json").read_text())
    rows = {row["quantity"]: row for row in record["rows"]}
    assert record["family"] == "Evaluation panel" and rows["test accuracy, features network"]["target"] == ">= 0.992"
    assert {"8-bit: MNIST-Frechet, real", "4-level: MNIST-Frechet, coded real against 8-bit"} <= set(rows)
    reference = evaluation.load_reference("mnist", 4, folder=built / "weights")
    assert reference.baselines["real"]["frechet"] == rows["4-level: MNIST-Frechet, real"]["value"]
    # The scale of the features is that of one standard setting whatever the network.
    features = evaluation.apply_network("features", reference.params["features"], small_dataset().train_images)[1]
    assert np.mean(features**2) == pytest.approx(1, abs=0.01)


def test_labelled_images_with_the_score(built, files, tmp_path):
    flags = [f"--samples={files / 'labelled.npz'}", "--labels", "--cas", "--cas_steps=2"]
    flags += [f"--reference={built / 'weights'}", f"--workdir={tmp_path / 'run'}"]
    code, out, err = commands.call(evaluate.EvaluateConfig, evaluate.run, *flags)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("2,000 samples, against the 2,000 test images of MNIST, 8-bit")
    assert lines[1].split()[:3] == ["figure", "samples", "real"] and "biased upward" in out
    written = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert written["accuracy"]["count"] == [200] * 10 and written["coding"] == "8-bit"
    assert written["classification_accuracy_score"]["n"] == 2000
    rows = {row["quantity"]: row for row in json.loads((tmp_path / "run" / "result.json").read_text())["rows"]}
    assert rows["MNIST-Frechet"]["value"] == written["figures"]["frechet"]
    assert "independent pixels" in rows["coverage"]["note"] and "classification accuracy score" in rows
    assert np.asarray(Image.open(tmp_path / "run" / "figures" / "summary.png").convert("L")).std() > 10


def test_states_without_labels(built, files, tmp_path):
    flags = [f"--samples={files / 'states.npz'}", f"--reference={built / 'weights'}", f"--workdir={tmp_path / 'run'}"]
    code, out, err = commands.call(evaluate.EvaluateConfig, evaluate.run, *flags)
    assert code == 0, err
    assert "4-level" in out and "coded real against 8-bit" in out
    written = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert written["accuracy"] is None and sum(written["read_as"]) == 2000
    assert np.asarray(Image.open(tmp_path / "run" / "figures" / "summary.png").convert("L")).std() > 10


def test_samples_of_a_model_of_ones_own_images(tmp_path):
    images = RNG.integers(0, 9, (1500, 10, 6))
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(1500) % 4, levels=9)
    np.savez(tmp_path / "drawn.npz", states=images[:300], labels=np.arange(300) % 4, levels=9)
    flags = [f"--samples={tmp_path}/drawn.npz", f"--images={tmp_path}/own.npz", f"--workdir={tmp_path / 'run'}"]
    code, out, err = commands.call(evaluate.EvaluateConfig, evaluate.run, *flags)
    assert code == 0, err
    assert "300 samples, against the 150 test images of own, 9-level; real: 300 training images" in out
    written = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert written["figures"]["copies"] == 0 and written["figures"]["sliced"] > 0 and len(written["read_as"]) == 4
    assert (tmp_path / "run" / "figures" / "summary.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "flags, message",
    [
        (["few.npz"], "images has 100 images; allowed: 2000 or more"),
        (["states.npz", "--labels"], "labels is missing in"),
        (["states.npz", "--cas"], "cas is true, but the samples have no labels"),
        (["states.npz", "--levels=2"], "levels is 2, but"),
        (["nowhere.npz"], "nowhere.npz, no file; allowed"),
        (["labelled.npz", "--levels=1"], "--levels=1: allowed: an integer from 2 to 256 or none"),
        (["states.npz", "--images=own.npz", "--cas"], "images is given with reference or cas; allowed: images alone"),
        (["labelled.npz", "--levels=4"], "among them 1; allowed with levels=4: 0, 85, 170, 255"),
        (["labelled.npz", "--reference=nowhere"], "nowhere/mnist.json: no such file; rebuild it"),
    ],
)
def test_bad_input_ends_in_one_line(files, tmp_path, flags, message):
    name, *others = flags
    code, _, err = commands.call(
        evaluate.EvaluateConfig, evaluate.run, f"--samples={files / name}", *others, f"--workdir={tmp_path}/new"
    )
    lines = [line for line in err.splitlines() if not line.startswith("jax ")]  # which names the device
    assert code == 2 and message in err and len(lines) == 1
    assert not (tmp_path / "new").exists()
