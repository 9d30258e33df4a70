"""Runs on disks that are too small: they must end at once, in one line, and leave whole checkpoints."""

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.fault_injection.damage import row
from jaxgen import training

DISKS = ("200k", "600k", "1m")
START_S = 300.0
END_S = 60.0


def run_folder(workdir: Path) -> Path:
    """Return the folder that holds the checkpoints: pmflow has one per model."""
    inner = sorted(workdir.glob("models/*/checkpoints"))
    return inner[0].parent if inner else workdir


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Mount a tmpfs at `folder` if this process may, and yield whether it did."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield bool(mounted)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def disk_row(command: str, start: Callable[[Path], Any], folder: Path) -> dict:
    """Run a command on disks that are too small, until it ends; what it saved must be whole."""
    folder.mkdir()
    survived, tried, longest, why = 0, 0, 0.0, ""
    for size in DISKS:
        with small_disk(folder / size, size) as mounted:
            if not mounted:
                return row("disk full", command, 0, 0, "not tried: this user may not mount a tmpfs")
            workdir = folder / size / "run"
            process, tried = start(workdir), tried + 1
            until_full(folder / size, process)
            full = time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=END_S)
            longest = max(longest, time.monotonic() - full)
            process.kill()
            error = process.communicate()[1]
            if process.returncode == 0:  # the disk was large enough for all of the run
                tried -= 1
                continue
            lines = [
                line
                for line in error.splitlines()
                if line and not re.search("step/s|s/step", line) and not line.startswith("jax ")
            ]
            told = process.returncode == 2 and len(lines) == 1 and "make room" in lines[0]
            survived += told and readable(workdir)
            why = why or ("" if told else f"; says {' | '.join(lines)[-120:]}")
    return row(f"disk of {', '.join(DISKS)} full", command, tried, survived, f"ended within {longest:.0f} s{why}")


def until_full(disk: Path, process: Any) -> None:
    """Wait until less than a checkpoint's smallest overhead is free, or the process has ended."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and shutil.disk_usage(disk).free > 2**17 and time.monotonic() < deadline:
        time.sleep(0.1)


def readable(workdir: Path) -> bool:
    """Return whether all checkpoints that have the name of a step are as they were sealed."""
    folder = run_folder(workdir) / "checkpoints"
    if not folder.exists():
        return True
    before = sorted(path.name for path in folder.iterdir() if path.name.isdecimal())
    checkpoints = training.Checkpoints(folder)  # sets aside what is damaged
    after = [str(step) for step in checkpoints.steps()]
    checkpoints.close()
    return sorted(after) == before
