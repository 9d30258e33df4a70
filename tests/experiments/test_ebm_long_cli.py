"""Longer runs of the Potts commands: one model of two digits, killed studies, a record made again."""

import json
import shutil
import signal
import time
from pathlib import Path

import commands
import numpy as np
import pytest

from jaxgen import potts, runs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_one_model_for_all_digits_samples_the_one_asked_for(tmp_path):
    flags = [flag for flag in commands.SHORT_RUN if not flag.startswith("--classes=")]
    flags += [
        "--labels",
        "--classes=0,1",
        "--steps=60",
        "--eval_every=60",
        "--checkpoint_every=60",
        f"--workdir={tmp_path}",
    ]
    code, _, err = commands.run("experiments.ebm_cd", *flags)
    assert code == 0, err
    ink = []
    for digit in (0, 1):
        flags = [f"--workdir={tmp_path}", "--n=64", "--sweeps=60", f"--label={digit}"]
        code, out, err = commands.run("experiments.ebm_sample", *flags)
        assert code == 0, err
        states = np.load(next(p for p in out.split() if p.endswith(".npz")), allow_pickle=False)["states"]
        ink.append(states[:, 10:18, 12:16].mean())  # a one has ink in its centre, a nought has none
    assert ink[1] > 4 * ink[0]


@pytest.mark.parametrize("module", ["ebm_likelihood", "ebm_convergence"])
def test_a_study_that_was_killed_goes_on_with_its_pieces(short_run, tmp_path, module):
    """kill -9 once a piece is there; the second start reads it, ends with the numbers of one start, and tidies up."""
    flags = {
        "ebm_likelihood": ["--temperatures=100", "--chains=16", "--sweeps=4"],
        "ebm_convergence": ["--chains=2", "--sweeps=50", "--slow_chains=2", "--slow_sweeps=50", "--replicas=2"],
    }[module]
    record, pieces = module.removeprefix("ebm_") + ".json", "." + module.removeprefix("ebm_")
    rows = []
    for name in ("whole", "killed"):
        workdir = tmp_path / name
        shutil.copytree(short_run[0], workdir)
        if name == "killed":
            process = commands.start(f"experiments.{module}", *flags, f"--workdir={workdir}")
            deadline = time.time() + 300
            while not list((workdir / pieces).glob("*.npz")) and process.poll() is None and time.time() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert list((workdir / pieces).glob("*.npz")) and not (workdir / record).exists()
        code, _, err = commands.run(f"experiments.{module}", *flags, f"--workdir={workdir}")
        assert code == 0, err
        assert not (workdir / pieces).exists()
        rows.append({row["quantity"]: row["value"] for row in json.loads((workdir / record).read_text())["rows"]})
    timed = ("per second",)  # these differ from run to run
    same = [name for name in rows[0] if not any(word in name for word in timed)]
    assert {name: rows[0][name] for name in same} == {name: rows[1][name] for name in same}


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
