"""The VAE and the exact baselines as a user runs them, small."""

import functools
import json
import shutil
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
from PIL import Image

from experiments import baselines, vae_sample
from experiments import vae as experiment
from jaxgen import data, runs, vae
from jaxgen.evaluation.baselines import study
from jaxgen.vae.config import run_key

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "steps": 20, "width": 16, "latent": 3, "samples": 100, "test_images": 110, "importance_samples": 8,
    "batch_size": 32, "eval_every": 10, "checkpoint_every": 10, "log_every": 5, "conditional": True,
}  # fmt: skip


def losses(workdir):
    return [record["loss"] for record in runs.read_metrics(workdir / "metrics.jsonl") if "loss" in record]


def rows(workdir):
    return {row["quantity"]: row for row in json.loads((workdir / "result.json").read_text())["rows"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole short run in this process."""
    workdir = tmp_path_factory.mktemp("runs") / "vae"
    experiment.run(vae.VAEConfig(**SETTINGS), workdir)
    return workdir


def test_a_run_leaves_all_that_is_promised(finished):
    draws, means = (np.load(finished / "samples" / f"{name}.npz", allow_pickle=False) for name in ("draws", "means"))
    assert draws["states"].shape == (100, 28, 28) and set(np.unique(draws["states"])) == {0, 1}
    assert int(draws["levels"]) == 2 and draws["labels"].tolist() == list(range(10)) * 10
    assert means["images"].dtype == np.uint8 and len(np.unique(means["images"])) > 20
    for name in ("samples", "reconstructions", "curves"):
        assert np.asarray(Image.open(finished / "figures" / f"{name}.png").convert("L")).std() > 10
    results = rows(finished)
    assert (
        results["ELBO"]["target"] == ">= -102"
        and results["ELBO"]["value"] < results["importance-weighted bound"]["value"]
    )
    assert results["negative ELBO"]["value"] == pytest.approx(-results["ELBO"]["value"] / 784 / np.log(2))
    assert results["training"]["value"] > 0 and results["operations per sample"]["value"] > 16 * 784
    assert losses(finished)[-1] < losses(finished)[0]


def test_images_are_drawn_from_a_trained_model(finished):
    """The draws of a run folder are those of its parameters, of the classes asked for, the same for every n."""
    files = {}
    for n, more in ((30, []), (600, ["--classes=3,5"]), (30, ["--classes=5"])):
        flags = [f"--workdir={finished}", f"--n={n}", "--seed=1", *more]
        code, out, err = commands.call(vae_sample.SampleConfig, vae_sample.run, *flags)
        assert code == 0, err
        figure, samples = map(Path, out.split()[-2:])
        assert np.asarray(Image.open(figure).convert("L")).std() > 10
        files[n, *more] = dict(np.load(samples, allow_pickle=False))
        assert files[n, *more]["states"].shape == (n, 28, 28) and files[n, *more]["levels"] == 2
    assert files[30,]["labels"].tolist() == list(range(10)) * 3
    two, five = files[600, "--classes=3,5"], files[30, "--classes=5"]
    assert two["labels"].tolist() == [3, 5] * 300 and set(five["labels"]) == {5}
    np.testing.assert_array_equal(two["states"][1:30:2], five["states"][1::2])  # number k of class 5, whatever n
    task, state = vae.restore_run(finished)
    states, _ = vae.generate(jax.random.key(1), task.model, task.likelihood, state.params, 30, np.full(30, 5))
    np.testing.assert_array_equal(states, five["states"])


def test_a_stopped_run_goes_on_to_the_same_numbers(finished, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    shutil.rmtree(again / "checkpoints" / "20")
    (again / "result.json").unlink()
    experiment.run(vae.VAEConfig(**SETTINGS), again)
    assert losses(again) == losses(finished)
    for name in ("ELBO", "importance-weighted bound"):
        assert rows(again)[name]["value"] == rows(finished)[name]["value"]


def test_numbers_do_not_depend_on_the_number_of_devices(finished, tmp_path):
    flags = [f"--{name}={str(value).lower()}" for name, value in SETTINGS.items()]
    code, _, err = commands.run_alone("experiments.vae", *flags, f"--workdir={tmp_path / 'many'}", devices=4)
    assert code == 0, err
    np.testing.assert_allclose(losses(tmp_path / "many"), losses(finished), rtol=1e-4)
    for name in ("ELBO", "importance-weighted bound"):
        assert rows(tmp_path / "many")[name]["value"] == pytest.approx(rows(finished)[name]["value"], rel=1e-4)


def test_the_bounds_are_of_the_test_images_each_once(finished):
    """Compare chunks that do not divide the number of images with one call."""
    config = vae.VAEConfig(**(SETTINGS | {"importance_samples": 80}))  # 25 images at once, 110 in all
    task = vae.VAETask.load(config)
    params = task.initial_state()[0].params
    bounds = vae.measure_bounds(task, params)
    key = run_key(config, "test")
    bound = functools.partial(vae.log_weights, task.model, task.likelihood)
    weights = jax.jit(bound, static_argnums=5)(params, key, task.test, task.test_label, np.arange(110), 80)
    np.testing.assert_allclose(bounds.elbo, weights.mean(0), rtol=1e-5)
    np.testing.assert_allclose(bounds.importance_weighted, vae.importance_weighted_bound(weights), rtol=1e-5)
    test_images, labels = data.split(data.load(), "test")
    np.testing.assert_array_equal(task.test, data.fixed_binarization(test_images[:110], "test"))
    np.testing.assert_array_equal(task.test_label, labels[:110])


def test_baselines_score_and_draw(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "CANDIDATES", (1.0, 1000.0))
    config = study.BaselinesConfig(train_images=1000, samples=64)
    baselines.run(config, tmp_path / "baselines")
    results = rows(tmp_path / "baselines")
    for coding in ("stochastic", "cut at half grey"):
        tree, pixels = (
            results[f"{name}, {coding}: test log-likelihood"]["value"]
            for name in ("Chow-Liu tree", "independent pixels")
        )
        assert -165 < tree < -110 and -215 < pixels < -200
        bits = results[f"Chow-Liu tree, {coding}: code length"]
        assert bits["value"] == pytest.approx(-tree / 784 / np.log(2)) and bits["unit"] == "bits per pixel"
        name = f"Chow-Liu_tree_{coding.replace(' ', '_')}.npz"
        states = np.load(tmp_path / "baselines" / "samples" / name, allow_pickle=False)
        assert states["states"].shape == (64, 28, 28) and int(states["levels"]) == 2
        picture = tmp_path / "baselines" / "figures" / f"samples_{coding.replace(' ', '_')}.png"
        assert np.asarray(Image.open(picture).convert("L")).std() > 10


@pytest.mark.parametrize(
    "program, flags, message",
    [
        (experiment, ["--levels=3"], "--levels=3: allowed: one of 2, 4, 16, 256"),
        (experiment, ["--samples=0"], "--samples=0: allowed: an integer from 100 to 1000000"),
        (experiment, ["--data_dir=/nowhere"], "/nowhere"),
        (vae_sample, ["--n=0"], "--n=0: allowed: an integer from 1 to 1000000"),
        (baselines, ["--levels=16"], "--levels=16: allowed: one of 2, 4"),
    ],
)
def test_bad_flags_are_refused_in_one_line(tmp_path, capsys, program, flags, message):
    configs = {baselines: study.BaselinesConfig, vae_sample: vae_sample.SampleConfig, experiment: vae.VAEConfig}
    with pytest.raises(SystemExit) as stopped:
        runs.main(configs[program], program.run, ["program", f"--workdir={tmp_path / 'new'}", *flags])
    assert stopped.value.code == 2 and message in capsys.readouterr().err
