"""The main job as a user runs it: short runs of the commands."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import numpy as np
import pytest
from PIL import Image

from jaxgen import potts, runs, training
from jaxgen.potts.config import BEST

ROOT = Path(__file__).resolve().parents[2]
SHORT = commands.SHORT_RUN


def command(module, *flags, devices=1, **popen):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if devices > 1:  # with one device the flags are those of this process, and so is its cache of compiled functions
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{module}", *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )


def run(module, *flags, devices=None):
    """Run the command in this process, or in one of its own with that many devices."""
    if devices is None:
        return commands.run(f"experiments.{module}", *flags)
    process = command(module, *flags, devices=devices)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def last_params(workdir):
    config = runs.from_json(potts.PottsConfig, (workdir / "config.json").read_text())
    state, _ = potts.PottsTask.load(config).initial_state()
    restored = training.Checkpoints(workdir / "checkpoints", *BEST, read_only=True).restore_latest(state)
    return restored


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole short run, and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "digit3"
    code, out, err = run("ebm_cd", *SHORT, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


@pytest.mark.slow
def test_a_run_leaves_all_that_is_promised(finished):
    workdir, out = finished
    assert json.loads((workdir / "config.json").read_text())["classes"] == "3"
    assert (workdir / "flags.txt").read_text().startswith("--seed=0\n")
    for name in ("samples", "curves"):
        assert np.asarray(Image.open(workdir / "figures" / f"{name}.png").convert("L")).std() > 10
    fresh = np.load(workdir / "samples" / "fresh.npz", allow_pickle=False)
    assert fresh["states"].shape == (64, 28, 28) and fresh["states"].max() <= 3 and int(fresh["levels"]) == 4
    assert list((workdir / "tensorboard").iterdir())
    records = runs.read_metrics(workdir / "metrics.jsonl")
    assert [record["step"] for record in records] == [5, 10, 15, 20, 25, 30]
    assert {"data_energy", "sample_energy", "grad_norm", "lag_autocorrelation", "images_per_s"} <= set(records[1])
    assert {"validation_log_pl", "learning_rate", "marginal_error", "site_updates_per_s"} <= set(records[1])
    result = json.loads((workdir / "result.json").read_text())
    assert result["seed"] == 0 and "--workdir" not in result["command"] and len(result["rows"]) == 5
    assert str(workdir / "figures" / "samples.png") in out


def test_training_moves_towards_the_data(finished):
    records = runs.read_metrics(finished[0] / "metrics.jsonl")
    scores = [record["validation_log_pl"] for record in records if "validation_log_pl" in record]
    assert scores[-1] > scores[0] + 5


@pytest.mark.parametrize(
    "flags, shape",
    [
        (["--n=5", "--sweeps=12"], (5, 28, 28)),
        (["--n=4", "--sweeps=7", "--clamp_top=14", "--gif"], (4, 28, 28)),
        (["--n=8", "--sweeps=3", "--start=chains", "--checkpoint=best"], (8, 28, 28)),
    ],
)
def test_sampling_from_the_run(finished, flags, shape):
    code, out, err = run("ebm_sample", f"--workdir={finished[0]}", *flags)
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


def test_sampling_a_digit_needs_labels(finished):
    code, _, err = run("ebm_sample", f"--workdir={finished[0]}", "--digit=3")
    assert code == 2 and "trained without labels" in err


def test_another_config_in_the_same_folder_is_refused(finished):
    code, _, err = run("ebm_cd", *SHORT, "--learning_rate=0.5", f"--workdir={finished[0]}")
    assert code == 2 and "learning_rate: 0.02 -> 0.5" in err


@pytest.mark.slow
def test_killed_run_resumes_bit_for_bit(finished, tmp_path):
    """kill -9 after the first checkpoint; the second start ends with the very state of the run left alone."""
    workdir = tmp_path / "killed"
    process = command("ebm_cd", *SHORT, "--steps=30", f"--workdir={workdir}")
    seal = workdir / "checkpoints" / "10" / "seal.json"
    deadline = time.time() + 200
    while not seal.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert seal.exists() and process.returncode == -signal.SIGKILL and not (workdir / "result.json").exists()
    code, _, err = run("ebm_cd", *SHORT, f"--workdir={workdir}")
    assert code == 0 and "resuming" in err
    ours, theirs = last_params(workdir), last_params(finished[0])
    for a, b in zip(_leaves(ours), _leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [r["step"] for r in runs.read_metrics(workdir / "metrics.jsonl")] == [5, 10, 15, 20, 25, 30]


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_number_of_devices(finished, tmp_path):
    code, _, err = run("ebm_cd", *SHORT, f"--workdir={tmp_path / 'many'}", devices=4)
    assert code == 0, err
    ours, theirs = last_params(tmp_path / "many"), last_params(finished[0])
    # The same noise whatever the device; a different order of float sums may flip a draw in a million.
    assert np.mean(np.asarray(ours.carry["chains"]) == np.asarray(theirs.carry["chains"])) > 0.98
    for a, b in zip(_leaves(ours.params), _leaves(theirs.params), strict=True):
        assert np.mean(np.abs(a - b) < 2e-3) > 0.97


@pytest.mark.slow
def test_one_model_for_all_digits_samples_the_one_asked_for(tmp_path):
    flags = [flag for flag in SHORT if flag != "--classes=3"]
    code, _, err = run("ebm_cd", *flags, "--labels", "--classes=0,1", "--steps=60", f"--workdir={tmp_path / 'all'}")
    assert code == 0, err
    ink = []
    for digit in (0, 1):
        code, out, err = run("ebm_sample", f"--workdir={tmp_path / 'all'}", "--n=64", "--sweeps=60", f"--label={digit}")
        assert code == 0, err
        states = np.load(next(p for p in out.split() if p.endswith(".npz")), allow_pickle=False)["states"]
        ink.append(states[:, 10:18, 12:16].mean())  # a one has ink in its centre, a nought has none
    assert ink[1] > 4 * ink[0]


def _leaves(tree):
    import jax

    return [np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
            for x in jax.tree.leaves(tree)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("module", ["ebm_likelihood", "ebm_convergence"])
def test_a_study_that_was_killed_goes_on_with_its_pieces(finished, tmp_path, module):
    """kill -9 once a piece is there; the second start reads it, ends with the numbers of one start, and tidies up."""
    flags = {
        "ebm_likelihood": ["--temperatures=300", "--chains=8", "--sweeps=10"],
        "ebm_convergence": ["--chains=2", "--sweeps=50", "--slow_chains=2", "--slow_sweeps=50", "--replicas=2"],
    }[module]
    record, pieces = module.removeprefix("ebm_") + ".json", "." + module.removeprefix("ebm_")
    rows = []
    for name in ("whole", "killed"):
        workdir = tmp_path / name
        shutil.copytree(finished[0], workdir)
        if name == "killed":
            process = command(module, *flags, f"--workdir={workdir}")
            deadline = time.time() + 300
            while not list((workdir / pieces).glob("*.npz")) and process.poll() is None and time.time() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert list((workdir / pieces).glob("*.npz")) and not (workdir / record).exists()
        code, _, err = run(module, *flags, f"--workdir={workdir}")
        assert code == 0, err
        assert not (workdir / pieces).exists()
        rows.append({row["quantity"]: row["value"] for row in json.loads((workdir / record).read_text())["rows"]})
    timed = ("per second",)  # these differ from run to run
    same = [name for name in rows[0] if not any(word in name for word in timed)]
    assert {name: rows[0][name] for name in same} == {name: rows[1][name] for name in same}


@pytest.mark.slow
def test_a_record_is_made_again_by_its_command(tmp_path):
    """The tied model of the digit 3, the cheapest record: its own command gives its numbers."""
    record = json.loads((ROOT / "experiments" / "results" / "ebm_digit3_tied_seed0.json").read_text())
    module, *flags = record["command"].split()[2:]
    code, _, err = commands.run(module, *flags, f"--workdir={tmp_path / 'again'}")
    assert code == 0, err
    again = json.loads((tmp_path / "again" / "result.json").read_text())
    # Fields that came later have their defaults, and one has another name.
    before = runs.from_json(potts.PottsConfig, json.dumps(record["config"]))
    assert before == runs.from_json(potts.PottsConfig, json.dumps(again["config"]))
    for old, new in zip(record["rows"], again["rows"], strict=True):
        # Another processor sums floats in another order, and chains part after a while.
        assert new["quantity"] == old["quantity"] and new["value"] == pytest.approx(old["value"], rel=0.02, abs=1e-3)
