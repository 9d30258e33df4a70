"""Real starts of every script with odd flags, odd flag files and odd folders: no traceback, whatever is asked.

A start that is not refused is killed after some seconds; what it wrote by then is looked through as well.
"""

import contextlib
import random
import subprocess

import commands
import pytest

from benchmarks.fault_injection.forked import ForkServer

SCRIPTS = sorted(path.stem for path in (commands.ROOT / "experiments").glob("*.py") if path.stem != "__init__")
NOT_PROGRAMS = ("side_by_side",)  # what the report is made of
ODD = (
    "", "-1", "0", "1e39", "nan", "inf", "-inf", "1e-300", str(2**31), str(2**32), str(2**63), str(10**20), "9" * 5000,
    "none", "true", "0x10", "1,2", "3, 3", "a/b", "../x", "/dev/null", "\x1b[31m", "\udcff", "é", "%s", "{}", "~", "*",
)  # fmt: skip
STARTS = 3  # of each script
ACCEPTED_S = 3.0


def odd_starts(script, names, generator, folder):
    """Yield command lines of which each has something odd."""
    for number in range(STARTS):
        kind = number % 3
        workdir = f"--workdir={folder / f'run{number}'}"
        if kind == 0:
            yield [f"--{generator.choice(names)}={generator.choice(ODD)}", workdir]
        elif kind == 1:
            file = folder / f"{script}{number}.flags"
            file.write_bytes(generator.choice([b"", b"--seed=\xff\x00\n--"]) + generator.randbytes(100))
            yield [f"--flagfile={file}", workdir]
        else:
            odd = ["", "gs://b/x", "b" * 300, f"{folder}/file/x", "~nobody_here/x", f"{folder}/link"]
            yield [f"--workdir={generator.choice(odd)}"]


def names_of(script):
    """Return the names of the flags of a script, from the options that its source and its Config declare."""
    code, out, _ = commands.run(f"experiments.{script}", "--help")
    names = [line.strip().split(":")[0].removeprefix("--") for line in out.splitlines() if line.startswith("  --")]
    names = [name.removeprefix("[no]") for name in names]
    return names or ["workdir"] if code == 0 else ["workdir"]


@pytest.mark.slow
def test_no_start_of_any_script_ends_in_a_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    generator, tracebacks, refused, count = random.Random(17), [], 0, 0
    with ForkServer(tmp_path) as server:
        for script in SCRIPTS:
            if script in NOT_PROGRAMS:
                continue
            names = names_of(script)
            folder = tmp_path / script
            folder.mkdir()
            for arguments in odd_starts(script, names, generator, folder):
                process = server.start(f"experiments.{script}", *arguments)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=ACCEPTED_S)
                process.kill()
                error = process.communicate()[1]
                count += 1
                refused += process.returncode == 2
                if "Traceback" in error:
                    tracebacks.append((script, arguments, error[-600:]))
    assert not tracebacks, f"{len(tracebacks)} of {count}: {tracebacks[:3]}"
    assert count > 90 and refused > count / 2, (count, refused)


def test_every_script_is_started_by_the_fuzz():
    for script in SCRIPTS:
        source = (commands.ROOT / "experiments" / f"{script}.py").read_text()
        assert ("__main__" in source) == (script not in NOT_PROGRAMS), script
