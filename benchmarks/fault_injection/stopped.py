"""Long commands that evaluate a trained model, stopped repeatedly until they reach their end.

Such a command saves its results so far as pieces (`runs.Pieces`). After every stop, by SIGKILL and by SIGTERM in turn,
all pieces must still be there, the next start must resume, and at the end the record must equal that of an undisturbed
command.
"""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np

from benchmarks.fault_injection.damage import row
from benchmarks.fault_injection.forked import ForkServer
from benchmarks.fault_injection.full_disk import START_S
from jaxgen import data

TRAINED = (
    "--digits=3", "--neighbourhood=4", "--batch_size=32", "--chains=32", "--cd_steps=1", "--steps=20",
    "--fresh_chains=64", "--fresh_sweeps=20",
)  # fmt: skip
MOST_STOPS = 6
LONGEST_S = 1800.0
# Each command with its flags, the folder of its pieces and its record.
COMMANDS = {
    "ebm_likelihood": (("--chains=64", "--temperatures=500", "--sweeps=100"), ".likelihood", "likelihood.json"),
    "ebm_convergence": (
        ("--chains=8", "--sweeps=500", "--slow_chains=2", "--slow_sweeps=100", "--replicas=4"),
        ".convergence", "convergence.json",
    ),
    "evaluate": (("--labels=false",), ".evaluate", "evaluation.json"),
}  # fmt: skip


def stopped_row(seed: int, server: ForkServer, command: str, trained: Path, folder: Path) -> dict:
    """Stop a command after a new piece and a random moment more, up to MOST_STOPS times; then let it end."""
    generator = random.Random(seed)
    flags, pieces, record = COMMANDS[command]
    if command == "evaluate":
        flags = (*flags, f"--samples={trained / 'judged.npz'}")
    else:
        shutil.copytree(trained, folder / "stopped")
        shutil.copytree(trained, folder / "alone")
    here, survived, stops, blocked, lost = folder / "stopped", 0, 0, 0, 0
    while stops < MOST_STOPS:
        before = _pieces(here / pieces)
        process = server.start(f"experiments.{command}", *flags, f"--workdir={here}")
        if not _changed(here / pieces, before, process) and process.poll() is not None:
            blocked += process.poll() != 0
            break
        time.sleep(generator.uniform(0.0, 0.3))
        number = (signal.SIGKILL, signal.SIGTERM)[stops % 2]
        if process.poll() is None:
            os.kill(process.pid, number)
        process.wait(START_S)
        if process.returncode == 0:
            break
        stops += 1
        kept = before.keys() <= _pieces(here / pieces).keys()
        lost += not kept
        survived += kept and process.returncode in (-signal.SIGKILL, 130)
    for workdir in (here, folder / "alone"):
        process = server.start(f"experiments.{command}", *flags, f"--workdir={workdir}")
        blocked += process.wait(LONGEST_S) != 0
    same = not blocked and _numbers(here / record) == _numbers(folder / "alone" / record)
    note = f"{lost} with results lost; the record is that of a command left alone" if same else "the records differ"
    return row("stopped after each result, resumed", command, stops, survived * same, note)


def trained_run(server: ForkServer, folder: Path) -> Path:
    """Train the small model that the commands judge, with samples beside it for `evaluate`; return its folder."""
    process = server.start("experiments.ebm_cd", *TRAINED, f"--workdir={folder}")
    if process.wait(START_S):
        raise RuntimeError(process.communicate()[1][-2000:])
    samples_to_judge(folder / "judged.npz")
    return folder


def samples_to_judge(path: Path) -> None:
    """Write the fewest samples that `evaluate` takes: test images with noise."""
    images = data.load("mnist").test_images[:2000].astype(int)
    noisy = images + np.random.default_rng(0).integers(-40, 40, images.shape)
    np.savez(path, images=noisy.clip(0, 255).astype(np.uint8))


def _pieces(folder: Path) -> dict[str, int]:
    """Return the pieces with their times of change."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.piece.npz")}


def _changed(folder: Path, before: dict[str, int], process) -> bool:
    """Wait for a piece that is new or new written; return whether it came before the process ended."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        if not _pieces(folder).items() <= before.items():
            return True
        time.sleep(0.02)
    return False


def _numbers(path: Path) -> object:
    """Return what a record says, without what was timed and where and when it was made."""
    content = json.loads(path.read_text()) if path.exists() else {}
    rows = [row for row in content.get("rows", []) if "second" not in row["quantity"]]
    return rows or content
