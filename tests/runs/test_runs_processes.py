"""Two processes on the loopback: one run with one process's numbers, elastic restore, disagreement, a lost process."""

import contextlib
import json
import signal
import socket
import time
from pathlib import Path

import commands
import jax
import numpy as np
import pytest
from commands import TOY, start
from toy_experiment import ToyConfig
from toy_experiment import run as toy

from jaxgen.runs import main, processes, read_metrics

HERE = Path(__file__).parent


def start_two(program, *arguments, environments=({}, {}), devices=1):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [*arguments, f"--coordinator_address=127.0.0.1:{port}", "--num_processes=2"]
    return [start(program, *flags, f"--process_id={i}", devices=devices, **environments[i]) for i in range(2)]


def ended(both):
    """Return exit codes and stderr."""
    results = [commands.ended(process) for process in both]
    return [code for code, _, _ in results], [error for _, _, error in results]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The toy on one device of this process, never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    toy(ToyConfig(), folder)
    return folder


@pytest.mark.slow
def test_a_run_goes_from_one_device_to_four_to_two_processes_and_back(whole, tmp_path, monkeypatch):
    stop = {"TOY_SIGNAL": "SIGTERM", "TOY_SIGNAL_AT": "13"}
    with monkeypatch.context() as patch:
        for name, value in stop.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as stopped:
            toy(ToyConfig(), tmp_path)
    assert not stopped.value.code
    four = start(TOY, f"--workdir={tmp_path}", devices=4, **stop | {"TOY_SIGNAL_AT": "26"})
    _, error = four.communicate(timeout=120)
    assert four.returncode == 0 and "after step 13" in error and "step 26 is saved" in error, error
    # The signal reaches process 1 alone, and both save the step after it.
    two = start_two(TOY, f"--workdir={tmp_path}", environments=({}, stop | {"TOY_SIGNAL_AT": "40"}), devices=2)
    codes, errors = ended(two)
    assert codes == [0, 0], errors
    assert "after step 26" in errors[0] and "a signal to another process: step 41 is saved" in errors[0]
    assert "step" not in errors[1].split("resume\n")[1] and not list(tmp_path.glob("final*"))
    toy(ToyConfig(), tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "final.npy"), np.load(whole / "final.npy"), rtol=1e-4, atol=1e-6)
    records, expected = (read_metrics(folder / "metrics.jsonl") for folder in (tmp_path, whole))
    assert [r["step"] for r in records] == [r["step"] for r in expected]
    for a, b in zip(records, expected, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


@pytest.mark.slow
def test_a_lost_process_ends_the_other_in_time_and_the_run_goes_on(whole, tmp_path):
    lost = {"TOY_SIGNAL": "SIGKILL", "TOY_SIGNAL_AT": "25"}
    both = start_two(TOY, f"--workdir={tmp_path}", environments=({}, lost))
    both[1].wait(timeout=120)
    gone = time.monotonic()
    codes, errors = ended(both)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] != 0 and "another" in errors[0] and time.monotonic() - gone < processes.LOST_AFTER_S
    toy(ToyConfig(), tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "final.npy"), np.load(whole / "final.npy"), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_what_processes_share_and_refuse(tmp_path):
    codes, errors = ended(start_two(HERE / "processes_checks.py", f"--workdir={tmp_path}"))
    assert codes == [2, 2], errors
    first, second = (json.loads(error.split("SEEN ")[1].splitlines()[0]) for error in errors)
    assert first["key"] == second["key"] == 0
    # -0.0, 1.0, nan in process 0's own bits
    assert first["bytes"] == second["bytes"] == ["000000800000803f0000c07f", "00"]
    for seen in (first, second):
        assert seen["agree"][0] is None
        assert "data of process 1 is not that of process 0" in seen["agree"][1]
        assert seen["asked"] == [0, 1] and seen["whole"] and seen["records"] == 0.5
    assert "(x: float64(2, 3) " in second["agree"][1]
    assert first["index"] == [[0, 1, 2, 3]] and second["index"] == [[4, 5, 6, 7]]
    assert first["carry"] == [[[0, 1], [2, 3], [4, 5], [6, 7]]]
    assert second["carry"] == [[[8, 9], [10, 11], [12, 13], [14, 15]]]
    assert first["workdir"] == str(tmp_path) and not Path(second["workdir"]).exists()
    assert "config of process 1 is not that of process 0" in errors[0]
    assert "(rate: 0.1 -> 0.2); allowed: the same everywhere" in errors[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num_processes=2"], "num_processes is 2; allowed: only with coordinator_address=host:port"),
        (["--coordinator_address=here", "--num_processes=2"], "coordinator_address is 'here'; allowed: host:port, or"),
        (["--coordinator_address=h:1"], "num_processes is None; allowed with coordinator_address: an integer, 1 or"),
        (["--coordinator_address=h:1", "--num_processes=2", "--process_id=2"], "process_id is 2; allowed: 0 to num"),
        (["--coordinator_address=auto"], "coordinator_address is auto, but coordinator_address should be defined."),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments, message, capsys, monkeypatch):
    def nothing_detected(*, num_processes, process_id, **timeouts):
        raise ValueError("coordinator_address should be defined.")

    # The real one refuses in a process that has computed already.
    monkeypatch.setattr(jax.distributed, "initialize", nothing_detected)
    with pytest.raises(SystemExit) as stopped:
        main(ToyConfig, lambda *given: None, ["toy", *arguments], distributed=True)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_flags_are_offered_only_where_they_mean_something(capsys):
    with contextlib.suppress(SystemExit):
        main(ToyConfig, lambda *given: None, ["toy", "--num_processes=2"])
    assert "Unknown command line flag 'num_processes'" in capsys.readouterr().err
