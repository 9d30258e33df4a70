"""metrics.jsonl, event files, atomic files and the run folder."""

import dataclasses
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from jaxgen.runs import Logger, RunFolder, atomic_write, option, read_metrics


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = option(0, "seed", group="run", low=0)
    rate: float = option(0.1, "step size", group="optimiser", low=0.0)


def test_lines_are_valid_json_whatever_the_values(tmp_path):
    log = Logger(tmp_path)
    log.scalars(1, {"loss": np.float32(0.5), "a": float("nan"), "b": float("inf"), "c": -float("inf")})
    log.close()

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert record["step"] == 1 and record["loss"] == 0.5 and record["a"] == "nan"
    (back,) = read_metrics(tmp_path / "metrics.jsonl")
    assert np.isnan(back["a"]) and back["b"] == np.inf and back["c"] == -np.inf


def test_rewind_drops_later_records_and_a_torn_line(tmp_path):
    log = Logger(tmp_path)
    log.rewind(0)
    for step in (5, 10, 15):
        log.scalars(step, {"loss": step})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20, "lo')
    log = Logger(tmp_path)
    log.rewind(10)
    log.scalars(15, {"loss": 1.0})
    log.close()
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path / "metrics.jsonl")] == [(5, 5), (10, 10), (15, 1)]


def test_pictures_reach_the_event_file_or_are_refused(tmp_path):
    log = Logger(tmp_path)
    log.images(1, "samples", np.zeros((4, 8, 8), np.uint8))
    log.histogram(1, "weights", np.linspace(0.0, 1.0, 100))
    log.text(1, "note", "hello")
    with pytest.raises(ValueError, match=r"images has shape \(8, 8\); allowed: \(n, h, w\)"):
        log.images(1, "samples", np.zeros((8, 8)))
    with pytest.raises(ValueError, match=r"images lie in \[2.0, 2.0\]; allowed"):
        log.images(1, "samples", np.full((1, 8, 8), 2.0))
    log.close()
    content = b"".join(file.read_bytes() for file in (tmp_path / "tensorboard").iterdir())
    assert b"samples" in content and b"weights" in content and b"hello" in content


def test_atomic_write_leaves_the_old_file_on_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        assert temporary.suffix == ".txt" and path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new" and [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_folder_is_made_and_taken_up_again(tmp_path):
    with RunFolder.open(tmp_path / "run", Config()) as run:
        assert not run.resumed
    names = {entry.name for entry in (tmp_path / "run").iterdir()}
    assert names == {".lock", "config.json", "flags.txt", "figures", "samples", "checkpoints", "tensorboard"}
    assert (tmp_path / "run" / "flags.txt").read_text() == "--seed=0\n--rate=0.1\n"
    with RunFolder.open(tmp_path / "run", Config()) as run:
        assert run.resumed


def test_other_config_is_refused_with_every_field(tmp_path):
    RunFolder.open(tmp_path, Config()).close()
    with pytest.raises(ValueError, match=r"another config \(seed: 0 -> 1; rate: 0.1 -> 0.2\); allowed: the same flags"):
        RunFolder.open(tmp_path, Config(seed=1, rate=0.2))
    RunFolder.open(tmp_path, Config()).close()
    (tmp_path / "config.json").write_text('{"sead": 0}')
    with pytest.raises(ValueError, match="does not fit this program: unknown config fields: sead"):
        RunFolder.open(tmp_path, Config())


def test_strange_folder_and_bad_config_are_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"holds thesis.tex but no run; allowed: a new or a run folder"):
        RunFolder.open(tmp_path, Config())
    with pytest.raises(ValueError, match=r"thesis\.tex, a file; allowed"):
        RunFolder.open(tmp_path / "thesis.tex", Config())
    with pytest.raises(ValueError, match="seed is -1; allowed"):
        RunFolder.open(tmp_path / "new", Config(seed=-1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_second_process_is_refused_until_the_first_is_gone(tmp_path):
    holder = textwrap.dedent(f"""
        import fcntl, os
        file = open({str(tmp_path / ".lock")!r}, "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        print(os.getpid(), file=file, end="", flush=True)
        print("held", flush=True)
        input()
    """)
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"in use by process {process.pid}; allowed: one process at a time"):
        RunFolder.open(tmp_path, Config())
    process.kill()
    process.wait()
    RunFolder.open(tmp_path, Config()).close()
