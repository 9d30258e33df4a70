"""`runs.main`: errors in one line, output that nobody takes, signals, places, and flags that hold anything."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import commands
import numpy as np
import pytest

from jaxgen.errors import UserError, quoted, shortened
from jaxgen.runs import atomic_write, main, option, seed_option, streams

TOY = commands.TOY


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = seed_option("seed")
    steps: int = option(10, "updates", group="optimiser", low=1, high=100)
    name: str = option("x", "free text", group="model")


def refused(capsys, run, *arguments):
    """Return the line with which a command ends."""
    with pytest.raises(SystemExit) as stopped:
        main(Config, run, ["program", *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1, error
    return error


def nothing(config, workdir):
    pass


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("x is 3; allowed: 1"), "x is 3; allowed: 1"),
        (OSError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Permission denied; allowed: a path that can be"),
        (FloatingPointError("loss is nan at step 3"), "loss is nan at step 3"),
        (MemoryError("Unable to allocate 7 EiB"), "out of memory (Unable to allocate 7 EiB); allowed: less at once"),
    ],
)
def test_errors_of_the_user_and_the_machine_are_one_line(capsys, error, line):
    def run(config, workdir):
        raise error

    assert line in refused(capsys, run)


def test_a_warning_is_one_line_without_source_code():
    before, shown = warnings.formatwarning, []

    def run(config, workdir):
        shown.append(warnings.formatwarning("the ends are apart", UserWarning, "a.py", 1))

    main(Config, run, ["program"])
    assert shown[0].endswith(": warning: the ends are apart\n") and warnings.formatwarning is before


@pytest.mark.parametrize("error", [ValueError("zip() argument 2 is longer"), OSError("no number"), KeyError("a")])
def test_a_bug_keeps_its_traceback(error):
    def run(config, workdir):
        raise error

    with pytest.raises(type(error)) as caught:
        main(Config, run, ["program"])
    assert caught.value is error and caught.traceback[-1].name == "run"


def test_a_full_disk_ends_at_once_with_what_to_do(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import errno, atexit, test_runs_program as t\n"
        "from jaxgen import runs\n"
        "def run(config, workdir):\n"
        "    atexit.register(lambda: print('a library writes on'))\n"
        "    with runs.atomic_write(workdir / 'a.png'): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "runs.main(t.Config, run)\n"
    )
    process = commands.start(program, f"--workdir={tmp_path / 'x'}", PYTHONPATH=_path())
    code, out, err = commands.ended(process)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert "a.png: No space left on device; make room, and the same command again goes on" in err


def _path():
    return os.pathsep.join(map(str, (commands.ROOT, commands.ROOT / "tests", Path(__file__).parent)))


@pytest.mark.parametrize(
    "content", [bytes(range(256)), b"--steps=5\0\n", b"\xff\xfe\0-", b"--flagfile=x.flags\n", b"\n\n"]
)
def test_a_flag_file_may_hold_anything(capsys, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.flags").write_bytes(content)
    try:
        main(Config, nothing, ["program", "--flagfile=x.flags"])
    except SystemExit as stopped:
        assert stopped.code == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--flagfile=.", "--flagfile=", "--flagfile=\udcff", "--name=\udcff", "--flagfile"])
def test_odd_flags_end_in_words(capsys, flag):
    try:
        main(Config, nothing, ["program", flag])
    except SystemExit as stopped:
        assert stopped.code == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "flag",
    ["--seed=4294967296", f"--seed={2**63}", "--seed=-1", "--seed=1.5", f"--steps={10**20}", "--seed=" + "9" * 5000],
)
def test_numbers_out_of_range_are_refused_with_the_range(capsys, flag):
    error = refused(capsys, nothing, flag)
    assert "allowed: an integer from " in error and len(error) < 2000


def test_values_are_quoted_without_control_characters_and_cut(capsys):
    error = refused(capsys, nothing, "--steps=\x1b[31m\x07red\u202e" + "9" * 100_000)
    assert "\x1b" not in error and "\\x1b" in error and "\u202e" not in error and len(error) < 1700
    assert "allowed: an integer from 1 to 100" in error
    assert quoted("a\nb") == "'a\\nb'" and len(quoted("x" * 10**7)) == 120
    assert shortened("short", 10) == "short" and len(shortened("\x00" * 50, 20)) == 20


@pytest.mark.parametrize(
    ("workdir", "text"),
    [("", "workdir is ''; allowed"), ("gs://bucket/x", "a URL"), ("~nobody_of_this_name/x", "home folder is unknown")],
)
def test_workdirs_that_are_none(capsys, workdir, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert text in refused(capsys, nothing, f"--workdir={workdir}")
    assert not list(tmp_path.iterdir())


def test_the_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    main(Config, lambda config, workdir: seen.append(workdir), ["program", "--workdir=~/x"])
    assert seen == [tmp_path / "x"]


class Bare:
    """A stream as some notebooks have it."""

    def write(self, text):
        return len(text)


class Closed(Bare):
    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def flush(self):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def isatty(self):
        raise ValueError("I/O operation on closed file")


class Narrow:
    encoding = "ascii"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text.encode("ascii").decode()


@pytest.mark.parametrize("stream", [None, Bare(), Closed()])
def test_output_that_nobody_takes_stops_no_run(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    done = []

    def run(config, workdir):
        print("to stdout", flush=True)
        print("to stderr", file=sys.stderr, flush=True)
        with streams.progress(3, "bar") as bar:
            for _ in range(3):
                bar.update()
        done.append(1)

    main(Config, run, ["program"])
    assert done == [1] and sys.stderr is stream


def test_characters_that_a_stream_lacks_are_escaped():
    stream = Narrow()
    streams.SafeStream(stream).write("é\udcff")
    assert stream.text == "\\xe9\\udcff"


def test_progress_works_without_main(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with streams.progress(2) as bar:
        bar.update(2)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["2>&1 | head -1", "2>&-", "2>/dev/full", ">/dev/full 2>&1"])
def test_a_real_run_ends_whatever_takes_its_output(tmp_path, shell):
    command = f"{sys.executable} {TOY} --workdir={tmp_path / 'run'} {shell}"
    environment = os.environ | {"PYTHONPATH": str(commands.ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], env=environment, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done
    assert len(np.load(tmp_path / "run" / "final.npy")) > 0 and b"Broken" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_in_order(capsys, tmp_path, number, code):
    def run(config, workdir):
        with atomic_write(tmp_path / "half.txt") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), number)
            raise AssertionError("goes on")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        main(Config, run, ["program"])
    assert stopped.value.code == code and not list(tmp_path.iterdir())
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"stopped by {signal.Signals(number).name}; the same command again" in error
    assert signal.getsignal(signal.SIGTERM) == before
