"""The commands in this process, with a network of a few thousand parameters in place of tiny."""

import json
import types
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
from PIL import Image

from experiments import diffusion as program
from experiments import diffusion_sample, diffusion_study
from jaxgen import data, diffusion, evaluation, runs
from jaxgen.diffusion.studies import comparison as study
from jaxgen.diffusion.unet import SIZES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MINI = {"base": 8, "multipliers": (1,), "patch": 4}
SHORT = [
    "--size=tiny", "--epochs=0.002", "--batch_size=32", "--timesteps=20", "--sample_steps=3", "--samples=80",
    "--likelihood_images=4", "--flow_images=2", "--log_every=1", "--eval_every=2", "--checkpoint_every=2",
    "--learning_rate=0.01",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", MINI)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole short run."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    runs.main(diffusion.DiffusionConfig, program.run, ["program", *SHORT, f"--workdir={workdir}"])
    return workdir


def test_a_run_leaves_all_that_is_promised(finished):
    samples = np.load(finished / "samples" / "final.npz", allow_pickle=False)
    assert samples["images"].shape == (80, 28, 28) and samples["images"].dtype == np.uint8
    assert samples["labels"].tolist() == list(range(10)) * 8
    for name in ("samples", "curves"):
        assert np.asarray(Image.open(finished / "figures" / f"{name}.png").convert("L")).std() > 10
    result = json.loads((finished / "result.json").read_text())
    rows = {row["quantity"]: row for row in result["rows"]}
    assert {"parameters", "training loss, last epoch", "held-out loss, moving average"} <= set(rows)
    assert 0 < rows["negative log-likelihood, at most"]["value"] < 20
    assert "standard error" in rows["negative log-likelihood, at most"]["note"]
    assert rows["negative log-likelihood by the flow, at most"]["value"] > 0
    best, plain = (rows[f"negative log-likelihood, {name}at most"]["value"] for name in ("", "posterior variances, "))
    assert best < plain
    assert 0 < rows["negative log-likelihood, last step by a table, at most"]["value"] < best
    records = runs.read_metrics(finished / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3]
    assert {"loss", "mse", "grad_norm", "held_out_loss", "learning_rate"} <= set(records[1])


@pytest.mark.parametrize("name, objective", [("tiny", "v"), ("compact", "flow"), ("compact_long", "flow")])
def test_the_flag_files_are_of_this_program(name, objective):
    lines = (ROOT / "experiments" / "flags" / f"diffusion_{name}.flags").read_text().splitlines()
    flags = [line for line in lines if not line.startswith("#")]
    seen = []
    runs.main(diffusion.DiffusionConfig, lambda config, _: seen.append(config), ["program", *flags])
    assert (seen[0].size, seen[0].objective) == (name.partition("_")[0], objective)
    diffusion.build_diffusion(seen[0])


def test_sampling_from_the_run(finished):
    """Any digits; the same images from another batch size; inpainting keeps pixels; an animation."""
    images = {}
    for batch in (128, 3):
        flags = ["--classes=4,7", "--n=6", "--steps=3", f"--batch_size={batch}", "--sampler=ancestral"]
        code, out, err = commands.call(
            diffusion_sample.SampleConfig, diffusion_sample.run, f"--workdir={finished}", *flags
        )
        assert code == 0, err
        figure, samples = map(Path, out.split())
        drawn = np.load(samples, allow_pickle=False)
        assert figure.exists() and drawn["labels"].tolist() == [4, 7, 4, 7, 4, 7]
        images[batch] = drawn["images"].astype(int)
    assert np.abs(images[3] - images[128]).max() <= 1
    flags = ["--n=4", "--inpaint=left", "--repeats=2", "--steps=3", "--gif", "--guidance=0"]
    code, out, err = commands.call(diffusion_sample.SampleConfig, diffusion_sample.run, f"--workdir={finished}", *flags)
    assert code == 0, err
    figure, samples, animation = map(Path, out.split())
    assert Image.open(animation).n_frames == 3
    test, labels = data.split(data.load(), "test")
    kept = np.stack([test[np.flatnonzero(labels == digit)[0]] for digit in range(4)])
    inpainted = np.load(samples, allow_pickle=False)["images"]
    np.testing.assert_array_equal(inpainted[:, :, 14:], kept[:, :, 14:])
    assert (inpainted[:, :, :14] != kept[:, :, :14]).mean() > 0.1 and "inpaintleft" in figure.name


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--digits=12"], "classes is '12'; allowed: 'all', 'none'"),
        (["--classes=none", "--inpaint=top"], "classes is 'none' with inpaint"),
        (["--steps=21"], "sample_steps is 21; allowed: 1 to 20"),
        (["--steps=0"], "--steps=0: allowed: an integer from 1 to 100000"),
        (["--eta=2"], "--eta=2: allowed: a number from 0.0 to 1.0"),
        (["--sampler=plms"], "one of ancestral, ddim, heun, dpm_solver, dpm_solver_sde, unipc, euler, midpoint"),
        (["--guidance_rescale=2"], "--guidance_rescale=2: allowed: a number from 0.0 to 1.0"),
        (["--sampler=euler"], "sampler is 'euler'; allowed unless objective is flow: ancestral, ddim"),
        (["--inpaint=middle"], "allowed: one of top, bottom, left, right, centre or none"),
        (["--weights=best"], "allowed: one of average, last"),
    ],
)
def test_bad_flags_of_sampling(finished, flags, message):
    code, _, err = commands.call(diffusion_sample.SampleConfig, diffusion_sample.run, f"--workdir={finished}", *flags)
    assert code == 2 and message in err


def test_sampling_needs_a_run(tmp_path):
    code, _, err = commands.call(diffusion_sample.SampleConfig, diffusion_sample.run, f"--workdir={tmp_path}")
    assert code == 2 and "holds no config.json; allowed: a run folder" in err


@pytest.mark.parametrize(
    "classes, words", [("all", "all classes"), ("none", "no class"), ("3", "class 3"), ("0,4", "classes 0,4")]
)
def test_the_title_of_samples_says_their_classes(classes, words):
    assert diffusion_sample.title(diffusion_sample.SampleConfig(classes=classes)).endswith(f", {words}")


def test_guidance_is_explained_where_it_is_set():
    for config in (diffusion.DiffusionConfig, diffusion_sample.SampleConfig):
        code, out, _ = commands.call(config, None, "--help")
        text = " ".join(out.split())
        assert code == 0 and "u + w (c - u): 0 ignores the label, 1 is conditional" in text and "is w - 1" in text


def test_the_study_from_end_to_end(tmp_path, monkeypatch):
    """All eight configurations, read by a judge that sees fours; a second start draws nothing and says the same."""

    def pull(params, carry, key, batch):
        """Towards nought; the true gradient, whose compiling takes long, is that of the other runs here."""
        size = sum((leaf**2).mean() for leaf in jax.tree.leaves(params))
        return params, carry, {"loss": size, "mse": size}

    monkeypatch.setattr(diffusion.DiffusionTask, "grad_fn", lambda task: pull)
    judged = (np.eye(10)[[4] * 48], None)
    monkeypatch.setattr(evaluation, "load_reference", lambda *_, **__: types.SimpleNamespace(params={"accuracy": {}}))
    monkeypatch.setattr(evaluation, "apply_network", lambda *_: judged)
    arguments = (diffusion_study.StudyConfig, diffusion_study.run, f"--workdir={tmp_path}", "--quick", "--steps=2")
    code, out, err = commands.call(*arguments, "--mode=load")
    assert code == 2 and "holds no trained run" in err
    code, out, err = commands.call(*arguments, "--mode=baseline")
    assert code == 0, err
    assert "1 of 8 configurations, 1 seed." in out and not study.comparisons({})
    code, out, err = commands.call(*arguments)
    assert code == 0, err
    names = ["loss_comparison.png", *(f"comparison_digit{digit}.png" for digit in (0, 4, 7))]
    assert all(np.asarray(Image.open(tmp_path / name).convert("L")).std() > 10 for name in names)
    summary = (tmp_path / "summary.md").read_text()
    assert summary in out and all(summary.count(name) >= 2 for name in study.NOTEBOOK_LOSSES)
    assert summary.count("0.33 (0.22 to 0.47)") == 8 * 4
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert runs == sorted(f"{name}_seed0" for name in study.NOTEBOOK_LOSSES)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("samples/*.npz")}
    assert len(before) == 8 * 4
    code, out, err = commands.call(*arguments, "--mode=load")
    assert code == 0 and (tmp_path / "summary.md").read_text() == summary
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("samples/*.npz")}
