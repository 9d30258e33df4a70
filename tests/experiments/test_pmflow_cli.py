"""The comparison as a user runs it, on few images: what it leaves, how it goes on, what it refuses."""

import json
from pathlib import Path

import commands
import numpy as np
import pytest
from PIL import Image

from jaxgen import pmflow, runs
from jaxgen.pmflow import diagnosis
from jaxgen.pmflow.config import model_names
from jaxgen.pmflow.models import SMALL
from jaxgen.pmflow.progress import Display

ROOT = Path(__file__).resolve().parents[2]
MODELS = "--models=pmflow_mlp,mlp_linear"
SHORT = ["--seeds=2", "--epochs=2", "--train_examples=640", "--batch_size=64", "--test_batch=1000"]


def call(*flags):
    """Return exit code, stdout and stderr of the command."""
    return commands.run("experiments.pmflow", *map(str, flags))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pmflow") / "run"
    assert call(MODELS, *SHORT, f"--workdir={workdir}")[0] == 0
    return workdir


def metrics(workdir, run):
    return runs.read_metrics(workdir / "models" / run / "metrics.jsonl")


def without_time(records):
    return [{k: v for k, v in record.items() if k != "time" and "per_s" not in k} for record in records]


@pytest.mark.slow
def test_a_comparison_leaves_all_that_is_promised(finished):
    for name in ("accuracy", "comparison"):
        assert np.asarray(Image.open(finished / "figures" / f"{name}.png").convert("L")).std() > 10
    assert "PMFlow MLP" in (finished / "ranking.txt").read_text()
    record = json.loads((finished / "result.json").read_text())
    rows = {row["quantity"]: row for row in record["rows"]}
    assert record["family"] == "Pushing-medium flow" and "verdict" in rows
    tests = [r for r in metrics(finished, "pmflow_mlp_seed0-1") if "test_accuracy" in r]
    off = [r for r in metrics(finished, "mlp_linear_seed0-1") if "test_accuracy" in r]
    assert [r["step"] for r in tests] == [10, 20]
    last = [tests[-1][f"test_accuracy_seed{s}"] for s in (0, 1)]
    assert last[0] != last[1] and tests[-1]["test_accuracy"] == pytest.approx(np.mean(last))
    assert rows["PMFlow MLP, last test accuracy"]["value"] == pytest.approx(100 * np.mean(last))
    difference = 100 * (tests[-1]["test_accuracy"] - off[-1]["test_accuracy"])
    assert rows["flow learned - flow off (MLP)"]["value"] == pytest.approx(difference, abs=1e-9)
    assert 0 < tests[-1]["displacement"] < 0.1 and "displacement" not in off[-1]
    assert list((finished / "models" / "mlp_linear_seed0-1" / "tensorboard").iterdir())
    # The flow moves little and both start alike: they learn alike, and well above chance.
    assert np.mean(last) > 0.6 and abs(difference) < 10


@pytest.mark.slow
def test_a_killed_comparison_goes_on_where_it_was(finished, tmp_path, monkeypatch):
    """Killed after the first epoch of the second model: the first is left alone, the second ends bit for bit alike."""
    seen = []

    def epoch(self, accuracy):
        seen.append(accuracy)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Display, "epoch", epoch)
        assert call(MODELS, *SHORT, f"--workdir={tmp_path}/run")[0] == 130
    done = (tmp_path / "run" / "models" / "pmflow_mlp_seed0-1" / "metrics.jsonl").read_bytes()
    assert not (tmp_path / "run" / "result.json").exists()
    assert call(MODELS, *SHORT, f"--workdir={tmp_path}/run")[0] == 0
    assert (tmp_path / "run" / "models" / "pmflow_mlp_seed0-1" / "metrics.jsonl").read_bytes() == done
    for run in ("pmflow_mlp_seed0-1", "mlp_linear_seed0-1"):
        assert without_time(metrics(tmp_path / "run", run)) == without_time(metrics(finished, run))


@pytest.mark.slow
def test_four_devices_give_the_same_numbers(finished, tmp_path):
    """Also the command in a process of its own."""
    flags = ["--models=mlp_linear", *SHORT, f"--workdir={tmp_path}/four"]
    code, out, err = commands.run_alone("experiments.pmflow", *flags, devices=4)
    assert code == 0, err
    assert "jax" in err and "4 x" in err and "comparison.png" in out
    on_four, wanted = (metrics(folder, "mlp_linear_seed0-1") for folder in (tmp_path / "four", finished))
    for name in ("loss", "grad_norm"):
        values = [[r[name] for r in records if name in r] for records in (on_four, wanted)]
        np.testing.assert_allclose(*values, rtol=2e-4)


@pytest.mark.slow
def test_faithful_with_its_diagnosis(tmp_path, monkeypatch):
    monkeypatch.setattr(diagnosis, "SIZES", (1, 250))
    flags = ["--faithful", "--models=pmflow_bnn", "--seeds=1", "--epochs=1", *SHORT[2:4], "--test_batch=250"]
    code, out, err = call(*flags, f"--workdir={tmp_path}/original")
    assert code == 0, err
    assert "original notebook 76.70" in out and "smallest eigenvalue of I + 0.05 K, batch 250" in out
    assert "trained in batches of 64, tested in 250" in out
    for name in ("accuracy", "comparison", "diagnosis"):
        assert np.asarray(Image.open(tmp_path / "original" / "figures" / f"{name}.png").convert("L")).std() > 10


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--models=mlp,rnn"], "models has 'rnn'; allowed: mlp, mlp_linear"),
        (["--models=cnn", "--faithful"], "models has 'cnn'; allowed with faithful: mlp,"),
        (["--models=pmflow_bnn", "--gain=2"], "gain is 2.0; allowed: 0 <= gain < 2.0"),
        (["--seeds=0"], "--seeds=0: allowed: an integer from 1 to 100"),
        (["--train_examples=60001"], "--train_examples=60001: allowed: an integer from 64 to 60000"),
        (["--lateral=ring"], "Unknown command line flag 'lateral'"),
        (["--batch_size=1000000000"], "--batch_size=1000000000: allowed: an integer from 1 to 60000"),
        (["--seed=4294967296"], "--seed=4294967296: allowed: an integer from 0 to 4294967295"),
        (["--seed=4294967295"], "seed is 4294967299; allowed: an integer from 0 to 4294967295"),
    ],
)
def test_bad_flags_are_refused_in_one_line(tmp_path, flags, message):
    code, _, err = call(*flags, f"--workdir={tmp_path}/new")
    assert code == 2
    assert message in err.splitlines()[-1] and not (tmp_path / "new").exists()


@pytest.mark.slow
def test_another_config_does_not_go_into_the_same_folder(finished):
    code, _, err = call(MODELS, *SHORT, "--learning_rate=0.1", f"--workdir={finished}")
    assert code == 2 and "learning_rate: None -> 0.1" in err


def test_the_flag_files_are_what_they_say():
    read = {}
    for path in sorted((ROOT / "experiments" / "flags").glob("pmflow*.flags")):
        runs.main(
            pmflow.PMFlowConfig,
            lambda config, workdir, path=path: read.update({path.stem: config}),
            ["program", f"--flagfile={path}"],
        )
    assert set(model_names(read["pmflow"])) == set(SMALL)
    assert model_names(read["pmflow_cnn"]) == ["cnn", "pmflow_cnn"] and read["pmflow_cnn"].cnn_seeds == 3
    assert read["pmflow_faithful"].faithful
    assert model_names(read["pmflow_faithful"]) == ["mlp", "pmflow_mlp", "pmflow_bnn", "pmflow_cnn"]
