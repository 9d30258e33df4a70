"""Atomic files and the run folder: claims, locks, what may change, and places that can be no run folder."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jaxgen.errors import UserError
from jaxgen.runs import RunFolder, atomic_write, checked_workdir, option, platform, read_config, seed_option


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = seed_option("seed")
    steps: int = option(100, "updates", group="run", low=1, high=1000, grows=True)
    rate: float = option(0.1, "step size", group="optimiser", low=0.0)
    samples: int = option(8, "drawn at the end", group="samples", low=1, high=100, after_training=True)


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
    assert (tmp_path / "run" / "flags.txt").read_text() == "--seed=0\n--steps=100\n--rate=0.1\n--samples=8\n"
    with RunFolder.open(tmp_path / "run", Config()) as run:
        assert run.resumed


def test_other_config_is_refused_with_every_field(tmp_path):
    RunFolder.open(tmp_path, Config()).close()
    (tmp_path / "metrics.jsonl").write_text("a record")
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


def test_a_folder_without_any_record_takes_another_config(tmp_path):
    """A start that was refused, or killed, before it did anything blocks nothing."""
    with RunFolder.open(tmp_path, Config()) as run:
        run.log.text(0, "config", "what was asked first")
    (tmp_path / "metrics.jsonl").write_text("")
    with RunFolder.open(tmp_path, Config(rate=0.5)) as run:
        assert run.resumed
    assert json.loads((tmp_path / "config.json").read_text())["rate"] == 0.5
    for content in ("checkpoints/1/seal.json", "samples/fresh.npz", "result.json", "notes.txt"):
        (tmp_path / content).parent.mkdir(exist_ok=True)
        (tmp_path / content).write_text("")
        with pytest.raises(ValueError, match=r"another config \(rate: 0.5 -> 0.1\)"):
            RunFolder.open(tmp_path, Config())
        (tmp_path / content).unlink()
        if content.startswith("check"):
            (tmp_path / content).parent.rmdir()


def test_steps_may_grow_and_nothing_else(tmp_path, capsys):
    RunFolder.open(tmp_path, Config()).close()
    (tmp_path / "metrics.jsonl").write_text("a record")
    RunFolder.open(tmp_path, Config(steps=200)).close()
    assert "goes on with steps: 100 -> 200; schedules are those of the new value" in capsys.readouterr().err
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 200
    with pytest.raises(ValueError, match="steps: 200 -> 100"):
        RunFolder.open(tmp_path, Config())
    with pytest.raises(ValueError, match=r"\(rate: 0.1 -> 0.2\)"):
        RunFolder.open(tmp_path, Config(steps=300, rate=0.2))
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 200


def test_what_acts_after_training_may_change_either_way(tmp_path, capsys):
    RunFolder.open(tmp_path, Config()).close()
    (tmp_path / "metrics.jsonl").write_text("a record")
    for samples in (20, 4):
        RunFolder.open(tmp_path, Config(samples=samples)).close()
        assert json.loads((tmp_path / "config.json").read_text())["samples"] == samples
    assert f"{tmp_path} goes on with samples: 20 -> 4\n" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"another config \(rate: 0.1 -> 0.2\)"):
        RunFolder.open(tmp_path, Config(samples=5, rate=0.2))
    assert json.loads((tmp_path / "config.json").read_text())["samples"] == 4


def test_what_killed_processes_left_is_cleared(tmp_path):
    RunFolder.open(tmp_path, Config()).close()
    left = [".tmp-1-flags.txt", "samples/.tmp-22-fresh.npz", "models/a/figures/.tmp-3-x.png"]
    kept = ["samples/fresh.npz", "samples/.tmp-mine", "models/a/.hidden"]
    for name in left + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    for name in ("checkpoints/.tmp-4-30/state", "checkpoints/30.orbax-checkpoint-tmp-5"):
        (tmp_path / name).mkdir(parents=True)
    RunFolder.open(tmp_path, Config()).close()
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {*kept, ".lock", "config.json", "flags.txt"}
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, capsys, number):
    def no_locks(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(platform.fcntl, "flock", no_locks)
    RunFolder.open(tmp_path, Config()).close()
    assert capsys.readouterr().err == (
        f"{tmp_path}: this file system has no locks; start no second process in this folder\n"
    )


@pytest.mark.parametrize(
    "workdir", ["gs://bucket/run", "s3://x", "file:///tmp/x", Path("gs://bucket/run"), "", "  ", "a\0b"]
)
def test_what_is_no_folder_is_refused(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"workdir is .*; allowed: a new folder or a run folder"):
        RunFolder.open(workdir, Config())
    assert not list(tmp_path.iterdir())


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checked_workdir("~/x") == tmp_path / "x"


def test_places_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, text in {
        "file/run": f"where {tmp_path / 'file'} is a file",
        "file": "a file",
        "link": f"where {tmp_path / 'link'} is a broken link",
        "link/run": f"where {tmp_path / 'link'} is a broken link",
        "x" * 300: "name too long",
        "a" * 5000: "name too long",
    }.items():
        with pytest.raises(UserError, match=f"(?i){text}.*; allowed: a new folder or a run folder"):
            RunFolder.open(tmp_path / name, Config())
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)  # root may write anywhere
    with pytest.raises(UserError, match=f"but {tmp_path} cannot be written to, which belongs to user"):
        RunFolder.open(tmp_path / "new", Config())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "\0\0", '{"format": 3, "seed": 0}', '{"format": true}', '{"seed": "x"}']
)
def test_a_damaged_config_is_named_with_its_file(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        RunFolder.open(tmp_path, Config())
    with pytest.raises(UserError, match=r"config\.json is not the config of a run of experiments\.toy: "):
        read_config(Config, tmp_path / "config.json", "experiments.toy")


def test_a_config_that_is_not_text_or_not_there(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match=r"config\.json is not the config"):
        read_config(Config, tmp_path / "config.json", "experiments.toy")
    with pytest.raises(UserError, match=r"Train first: python -m experiments.toy --workdir="):
        read_config(Config, tmp_path / "other" / "config.json", "experiments.toy")


def test_a_config_without_a_format_is_of_the_first(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 3, "rate": 0.1}')
    assert read_config(Config, tmp_path / "config.json", "experiments.toy") == Config(seed=3)


def test_an_error_of_the_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left.*a\.txt") as caught, atomic_write(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.txt") and not list(tmp_path.iterdir())
