"""Train 2n steps = train n, die, go on: bit for bit, in this process, and in processes of their own that are killed."""

import shutil
import signal
import types

import commands
import numpy as np
import pytest
from toy_experiment import ToyConfig
from toy_experiment import run as toy_run

from jaxgen.runs import read_metrics


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Starts the toy experiment; all starts share one compilation cache."""
    cache = tmp_path_factory.mktemp("cache")

    def start(workdir, *arguments, devices=1, **environment):
        shared = {"JAX_COMPILATION_CACHE_DIR": str(cache)}
        process = commands.start(
            commands.TOY, f"--workdir={workdir}", *arguments, devices=devices, **shared, **environment
        )
        code, out, err = commands.ended(process)
        return types.SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return start


@pytest.fixture(scope="module")
def runs(toy, tmp_path_factory):
    """One run left alone, one killed at step 37 and again stopped at 48, and a copy of the killed one."""
    folder = tmp_path_factory.mktemp("runs")
    whole = toy(folder / "whole")
    assert whole.returncode == 0, whole.stderr
    killed = toy(folder / "broken", TOY_SIGNAL="SIGKILL", TOY_SIGNAL_AT="37")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shutil.copytree(folder / "broken", folder / "copy")
    stopped = toy(folder / "broken", TOY_SIGNAL="SIGTERM", TOY_SIGNAL_AT="48")
    ended = toy(folder / "broken")
    assert ended.returncode == 0, ended.stderr
    return folder, stopped, ended


@pytest.mark.slow
def test_killed_run_goes_on_bit_for_bit(runs):
    folder, _, ended = runs
    assert "resuming" in ended.stderr and "after step 48" in ended.stderr
    np.testing.assert_array_equal(np.load(folder / "broken" / "final.npy"), np.load(folder / "whole" / "final.npy"))


@pytest.mark.slow
def test_sigterm_saves_says_how_to_go_on_and_exits_with_0(runs):
    _, stopped, _ = runs
    assert stopped.returncode == 0, stopped.stderr
    assert "SIGTERM: step 48 is saved in" in stopped.stderr
    assert "to go on, run again: python" in stopped.stderr
    assert "Traceback" not in stopped.stderr


@pytest.mark.slow
def test_records_have_no_duplicates_and_the_same_numbers(runs):
    folder, _, _ = runs
    whole, broken = (read_metrics(folder / name / "metrics.jsonl") for name in ("whole", "broken"))
    assert [r["step"] for r in broken] == [r["step"] for r in whole] == list(range(5, 61, 5))
    for a, b in zip(whole, broken, strict=True):
        # The kill and the stop at step 48 split no average: what was summed by then is in the checkpoint.
        for name in ("loss", "grad_norm", "norm"):
            assert a.get(name) == b.get(name), (a["step"], name)


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_steps_bit_for_bit(runs, toy):
    """The toy's step size is constant, so that more steps are those of a run that had them from the start."""
    folder, _, _ = runs
    shutil.copytree(folder / "whole", folder / "grown")
    grown, long = toy(folder / "grown", "--steps=90"), toy(folder / "long", "--steps=90")
    assert grown.returncode == long.returncode == 0, grown.stderr
    assert "goes on with steps: 60 -> 90" in grown.stderr and "after step 60 of 90" in grown.stderr
    np.testing.assert_array_equal(np.load(folder / "grown" / "final.npy"), np.load(folder / "long" / "final.npy"))
    refused = toy(folder / "grown")
    assert refused.returncode == 2 and "steps: 90 -> 60" in refused.stderr


@pytest.mark.slow
def test_run_of_one_device_goes_on_with_four(runs, toy):
    folder, _, _ = runs
    done = toy(folder / "copy", devices=4)
    assert done.returncode == 0, done.stderr
    whole, copy = (np.load(folder / name / "final.npy") for name in ("whole", "copy"))
    np.testing.assert_allclose(copy, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_other_flags_in_the_same_folder_stop_with_one_line(runs, toy):
    folder, _, _ = runs
    done = toy(folder / "whole", "--learning_rate=0.5", "--seed=2")
    assert done.returncode == 2
    assert "seed: 0 -> 2; learning_rate: 0.01 -> 0.5" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("at", [13, 48])
def test_a_stopped_run_goes_on_bit_for_bit_with_every_record(tmp_path, monkeypatch, at):
    toy_run(ToyConfig(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setenv("TOY_SIGNAL", "SIGTERM")
        patch.setenv("TOY_SIGNAL_AT", str(at))
        with pytest.raises(SystemExit):
            toy_run(ToyConfig(), tmp_path / "broken")
    toy_run(ToyConfig(), tmp_path / "broken")
    whole, broken = (np.load(tmp_path / name / "final.npy") for name in ("whole", "broken"))
    np.testing.assert_array_equal(whole, broken)
    whole, broken = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "broken"))
    assert [record["step"] for record in broken] == list(range(5, 61, 5))
    for a, b in zip(whole, broken, strict=True):
        assert all(a[name] == b[name] for name in a if name != "time" and not name.endswith("_per_s")), a["step"]
