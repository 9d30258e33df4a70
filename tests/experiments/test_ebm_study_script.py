"""The script of the whole study: order, resume, failure, signals; every command's flags are known to it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import pytest

from experiments import ebm_study
from jaxgen.potts.studies import commands as study_commands

ROOT = Path(ebm_study.__file__).parents[1]
PART = """
import signal, sys, time
from pathlib import Path
folder = Path(sys.argv[-1].split("=")[1])
folder.mkdir(parents=True, exist_ok=True)
with open(folder / "calls", "a") as file:
    print(*sys.argv[1:-1], file=file)
if "--fail" in sys.argv and not (folder / "again").exists():
    (folder / "again").touch()
    sys.exit(1)
if "--wait" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *a: ((folder / "saved").touch(), sys.exit(0)))
    (folder / "ready").touch()
    time.sleep(60)
(folder / "made").touch()
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """`ebm_study` with the given parts of one stand-in command, as a function of its workdir."""
    (tmp_path / "part.py").write_text(PART)

    def run(parts, quick=False):
        stand_ins = [study_commands.Part("part", name, "made", flags, ("--quick",)) for name, flags in parts]
        monkeypatch.setattr(ebm_study, "parts", lambda: stand_ins)
        monkeypatch.setattr(study_commands, "command", lambda *a: stand_in(command(*a)))
        ebm_study.run(ebm_study.StudyConfig(quick), tmp_path / "study")

    command = study_commands.command

    def stand_in(words):
        assert words[:3] == [sys.executable, "-m", "experiments.part"]
        return [sys.executable, str(tmp_path / "part.py"), *words[3:]]

    return run


def test_a_failure_stops_nothing_and_what_is_done_is_not_done_again(study, tmp_path):
    parts = [("a", ("--x={study}/b",)), ("b", ("--fail",)), ("c", ())]
    with pytest.raises(ValueError, match="failed: part in b; the same command tries them again"):
        study(parts, quick=True)
    folder = tmp_path / "study"
    assert (folder / "a" / "calls").read_text() == f"--x={folder}/b --quick\n"
    summary = (folder / "summary.md").read_text()
    assert "| part in b | 0 | failed |" in summary and "| c/made |" in summary
    study(parts, quick=True)
    assert "| part in a | done before | a/made |" in (folder / "summary.md").read_text()
    counts = [len((folder / name / "calls").read_text().splitlines()) for name in "abc"]
    assert counts == [1, 2, 1]


def test_a_signal_lets_the_part_save_and_ends_the_study(tmp_path):
    (tmp_path / "part.py").write_text(PART)
    program = (
        "import sys\nfrom jaxgen.potts.studies import commands\n"
        f"commands.call([sys.executable, {str(tmp_path / 'part.py')!r}, '--wait', '--workdir={tmp_path / 'a'}'])\n"
        "print('went on')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if (tmp_path / "a" / "ready").exists():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    out, error = child.communicate(timeout=30)
    assert child.returncode == 0 and out == "" and "the same command goes on from here" in error
    assert (tmp_path / "a" / "saved").exists() and not (tmp_path / "a" / "made").exists()


@pytest.mark.parametrize("part", ebm_study.parts(), ids=lambda part: f"{part.module}-{part.folder}")
def test_the_flags_of_every_part_are_right(part, monkeypatch):
    monkeypatch.chdir(ROOT)
    module, *flags = study_commands.command(part, Path("runs"), quick=True)[2:]
    code, out, _ = commands.run(module, *flags, "--help")
    assert code == 0 and f"python -m {module}" in out
