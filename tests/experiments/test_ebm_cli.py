"""The main job as a user runs it: a short training, samples of it, a kill, several devices, bad flags."""

import json
import signal
import time
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
from PIL import Image

from jaxgen import potts, runs, training
from jaxgen.potts.config import BEST

ROOT = Path(__file__).resolve().parents[2]
SHORT = commands.SHORT_RUN


def run(module, *flags):
    """Return exit code, stdout and stderr of a command that runs in this process."""
    return commands.run(f"experiments.{module}", *flags)


def last_params(workdir):
    config = runs.from_json(potts.PottsConfig, (workdir / "config.json").read_text())
    state, _ = potts.PottsTask.load(config).initial_state()
    restored = training.Checkpoints(workdir / "checkpoints", *BEST, read_only=True).restore_latest(state)
    return restored


def leaves(tree):
    """Return the arrays of a tree, random keys as their data."""
    return [
        np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
        for x in jax.tree.leaves(tree)
    ]


@pytest.mark.slow
def test_a_run_leaves_all_that_is_promised(short_run):
    workdir, out = short_run
    assert json.loads((workdir / "config.json").read_text())["classes"] == "3"
    assert (workdir / "flags.txt").read_text().startswith("--seed=0\n")
    for name in ("samples", "curves"):
        assert np.asarray(Image.open(workdir / "figures" / f"{name}.png").convert("L")).std() > 10
    fresh = np.load(workdir / "samples" / "final.npz", allow_pickle=False)
    assert fresh["states"].shape == (64, 28, 28) and fresh["states"].max() <= 3 and int(fresh["levels"]) == 4
    assert list((workdir / "tensorboard").iterdir())
    records = runs.read_metrics(workdir / "metrics.jsonl")
    assert [record["step"] for record in records] == [5, 10, 15, 20, 25, 30]
    assert {"data_energy", "sample_energy", "grad_norm", "lag_autocorrelation", "images_per_s"} <= set(records[1])
    assert {"validation_log_pl", "learning_rate", "marginal_error", "site_updates_per_s"} <= set(records[1])
    result = json.loads((workdir / "result.json").read_text())
    assert result["seed"] == 0 and "--workdir" not in result["command"] and len(result["rows"]) == 5
    assert str(workdir / "figures" / "samples.png") in out


@pytest.mark.slow
def test_training_moves_towards_the_data(short_run):
    records = runs.read_metrics(short_run[0] / "metrics.jsonl")
    scores = [record["validation_log_pl"] for record in records if "validation_log_pl" in record]
    assert scores[-1] > scores[0] + 5


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, shape",
    [
        (["--n=5", "--sweeps=12"], (5, 28, 28)),
        (["--n=4", "--sweeps=7", "--clamp_top=14", "--gif"], (4, 28, 28)),
        (["--n=8", "--sweeps=3", "--start=chains", "--checkpoint=best"], (8, 28, 28)),
    ],
)
def test_sampling_from_the_run(short_run, flags, shape):
    code, out, err = run("ebm_sample", f"--workdir={short_run[0]}", *flags)
    assert code == 0, err
    written = [Path(line) for line in out.split()]
    assert all(path.exists() for path in written) and ("--gif" in flags) == any(p.suffix == ".gif" for p in written)
    states = np.load(next(p for p in written if p.suffix == ".npz"), allow_pickle=False)["states"]
    assert states.shape == shape
    if "--clamp_top=14" in flags:
        task = potts.PottsTask.load(potts.PottsConfig(classes="3"))
        from jaxgen import data

        images, _ = data.select(*data.split(data.load(), "test"), [3])
        np.testing.assert_array_equal(states[:, :14], data.encode(images[:4], 4)[:, :14])
        assert (states[:, 14:] != data.encode(images[:4], 4)[:, 14:]).any() and task.model.levels == 4


@pytest.mark.parametrize(
    "module, flags, message",
    [
        ("ebm_cd", ["--levels=1"], "--levels=1: allowed: an integer from 2 to 256"),
        ("ebm_cd", ["--cd_steps=0"], "--cd_steps=0: allowed: an integer from 1 to 1000000000"),
        ("ebm_cd", ["--digits=12"], "classes is '12'; allowed: 'all'"),
        ("ebm_cd", ["--no_such_flag=1"], "no_such_flag"),
        ("ebm_cd", ["--data_dir=/nowhere"], "/nowhere"),
        ("ebm_sample", ["--sweeps=0"], "--sweeps=0: allowed: an integer from 1 to 1000000000"),
        ("ebm_sample", [], "holds no config.json; allowed: a run folder. Train first: python -m experiments.ebm_cd"),
    ],
)
def test_bad_flags_are_refused_in_one_line(tmp_path, module, flags, message):
    code, _, err = run(module, f"--workdir={tmp_path / 'new'}", *flags)
    assert code == 2 and message in err and "Traceback" not in err


@pytest.mark.slow
def test_sampling_a_digit_needs_labels(short_run):
    code, _, err = run("ebm_sample", f"--workdir={short_run[0]}", "--digit=3")
    assert code == 2 and "trained without labels" in err


@pytest.mark.slow
def test_another_config_in_the_same_folder_is_refused(short_run):
    code, _, err = run("ebm_cd", *SHORT, "--learning_rate=0.5", f"--workdir={short_run[0]}")
    assert code == 2 and "learning_rate: 0.02 -> 0.5" in err


@pytest.mark.slow
def test_killed_run_resumes_bit_for_bit(short_run, tmp_path):
    """kill -9 after the first checkpoint; the second start ends with the very state of the run left alone."""
    workdir = tmp_path / "killed"
    process = commands.start("experiments.ebm_cd", *SHORT, f"--workdir={workdir}")
    seal = workdir / "checkpoints" / "10" / "seal.json"
    deadline = time.time() + 200
    while not seal.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert seal.exists() and process.returncode == -signal.SIGKILL and not (workdir / "result.json").exists()
    code, _, err = run("ebm_cd", *SHORT, f"--workdir={workdir}")
    assert code == 0 and "resuming" in err
    ours, theirs = last_params(workdir), last_params(short_run[0])
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [r["step"] for r in runs.read_metrics(workdir / "metrics.jsonl")] == [5, 10, 15, 20, 25, 30]


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_number_of_devices(short_run, tmp_path):
    flags = (*SHORT, f"--workdir={tmp_path / 'many'}")
    code, _, err = commands.ended(commands.start("experiments.ebm_cd", *flags, devices=4), 300)
    assert code == 0, err
    ours, theirs = last_params(tmp_path / "many"), last_params(short_run[0])
    # The same noise whatever the device; a different order of float sums may flip a draw in a million.
    assert np.mean(np.asarray(ours.carry["chains"]) == np.asarray(theirs.carry["chains"])) > 0.98
    for a, b in zip(leaves(ours.params), leaves(theirs.params), strict=True):
        assert np.mean(np.abs(a - b) < 2e-3) > 0.97
