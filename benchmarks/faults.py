"""What does a run survive? Every fault is really done, to small runs of `experiments.information_bound`, and counted.

  python -m benchmarks.faults --json=faults.json --write                20 kills, some minutes
  python -m benchmarks.faults --kills=3 --processes_killed=2

survived: the run went on from the newest whole checkpoint, or damage was refused by the file's name with the way on, or
bad numbers stopped it by step and name; and after all the faults of a row the run ended with the numbers, step by step,
of one that was left alone. lost: the others. `--write` puts the table into benchmarks/README.md.
"""

import contextlib
import dataclasses
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from benchmarks import timing
from benchmarks.damage import checkpoint_row, data_row, nan_row, row
from jaxgen import runs, training
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option
from jaxgen.runs.processes import LOST_AFTER_S
from jaxgen.runs.tables import aligned, markdown, write_between, write_json

NAME = "faults"
README = Path(__file__).with_name("README.md")
COLUMNS = ("fault", "tried", "survived", "lost", "note")
# A checkpoint every epoch of five steps: most moments of such a run lie in the writing of one.
EPOCHS = 600
PROGRAM = [
    "-m", "experiments.information_bound", "--num_samples=400", "--width=32", "--depth=1", "--batch_size=64",
    f"--epochs={EPOCHS}", "--eval_samples=1000", "--points_per_cell=2",
]  # fmt: skip
START_S = 120.0
Start = Callable[..., subprocess.Popen]


@dataclasses.dataclass(frozen=True)
class FaultsConfig:
    """How much is tried."""

    seed: int = seed_option("seed of the random moments", group="benchmark")
    kills: int = option(20, "kills of a run in one process", group="benchmark", low=1, high=1_000_000)
    processes_killed: int = option(
        4, "kills of one process of two, the one and the other in turn", group="benchmark", low=0, high=1_000_000
    )
    json: str = option("", "file for the rows", group="benchmark")
    write: bool = option(False, "write the table into benchmarks/README.md", group="benchmark")


def program(workdir: Path, *flags: str) -> subprocess.Popen:
    """The small run in a process of its own."""
    command = [sys.executable, *PROGRAM, f"--workdir={workdir}", *flags]
    environment = os.environ | {"PYTHONPATH": str(README.parents[1])}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def numbers(workdir: Path) -> dict[int, dict[str, float]]:
    """What was recorded at every step, without times and speeds."""
    records = runs.read_metrics(workdir / "metrics.jsonl") if (workdir / "metrics.jsonl").exists() else []
    return {r["step"]: {k: v for k, v in r.items() if k != "time" and not k.endswith("_per_s")} for r in records}


def sealed(workdir: Path) -> int:
    """The newest checkpoint that is whole, 0 without any."""
    return max((int(seal.parent.name) for seal in (workdir / "checkpoints").glob("*/seal.json")), default=0)


def writing(workdir: Path) -> bool:
    """Return whether a checkpoint was under way, or being deleted: a temporary folder is there."""
    return any(path.name.startswith(".tmp-") for path in (workdir / "checkpoints").iterdir())


def went_on(error: str, least: int) -> bool:
    """Whether a start says that it resumed at `least` or later; with 0 it may also have begun anew."""
    found = re.search(r"resuming .* after step (\d+)", error)
    return int(found[1]) >= least if found else least == 0


def until_recorded(workdir: Path, after: int, process: subprocess.Popen) -> None:
    """Wait until a process just started has recorded two steps past `after`. RuntimeError if it ends before.

    Two, because a library is imported at the first record, and the moments counted from here would all lie in that.
    """
    path, begin = workdir / "metrics.jsonl", time.time()
    while True:
        # Until the start has rewritten the file, it holds records of the run before.
        if path.exists() and path.stat().st_mtime > begin and sum(step > after for step in numbers(workdir)) > 1:
            return
        if process.poll() is not None or time.time() > begin + START_S:
            process.kill()
            raise RuntimeError(f"no record after step {after}: {process.communicate()[1][-2000:]}")
        time.sleep(0.02)


@dataclasses.dataclass
class Killed:
    """Of `tried` kills, after how many the next start went on rightly, and how many hit the writing of a checkpoint."""

    tried: int = 0
    survived: int = 0
    writing: int = 0


def kill(start: Start, workdir: Path, count: int, moment: Callable[[], float]) -> Killed:
    """Start, kill -9 `moment()` seconds after the second new record, start again, `count` times.

    What the next start says is read when it is killed in its turn, and the last kill is judged by what lies on disk.
    """
    done, least = Killed(), None
    for _ in range(count):
        before = sealed(workdir)
        process = start()
        until_recorded(workdir, before, process)
        time.sleep(moment())
        process.kill()
        error = process.communicate()[1]
        done.tried += 1
        done.writing += writing(workdir)
        if least is not None:
            done.survived += went_on(error, least)
        least = sealed(workdir)
    checkpoints = training.Checkpoints(workdir / "checkpoints", read_only=True)
    done.survived += not least or checkpoints.steps()[-1] >= least
    checkpoints.close()
    return done


def killed_row(config: FaultsConfig, folder: Path, whole: dict) -> dict:
    """kill -9 at random moments, then to the end."""
    generator = random.Random(config.seed)
    done = kill(lambda: program(folder), folder, config.kills, lambda: generator.uniform(0.0, 0.5))
    same = finish(folder) and numbers(folder) == whole
    note = f"{done.writing} in the writing of a checkpoint; the numbers of {len(whole)} epochs are equal bit for bit"
    return row("kill -9 at a random moment", done.tried, done.survived * same, note * same)


def finish(workdir: Path) -> bool:
    """Whether the run goes on from the newest whole checkpoint to its end."""
    least, process = sealed(workdir), program(workdir)
    error = process.communicate()[1]
    return process.returncode == 0 and went_on(error, least)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """A tmpfs at `folder` if this process may mount one; says whether."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield bool(mounted)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    path = folder / "filler"
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


def fill_while_running(start: Start, workdir: Path) -> tuple[subprocess.Popen, str, int]:
    """The run and what it said when its disk filled up, and its newest whole checkpoint, its file checked, by then."""
    process = start()
    until_recorded(workdir, 0, process)
    while not sealed(workdir):
        time.sleep(0.02)
    filler = fill(workdir.parent)
    error = process.communicate(timeout=START_S)[1]
    checkpoints = training.Checkpoints(workdir / "checkpoints", read_only=True)
    least = sealed(workdir)
    checkpoints.close()
    filler.unlink()
    return process, error, least


def disk_row(folder: Path, whole: dict) -> dict:
    """A disk that fills up while the run writes."""
    with small_disk(folder, 8) as mounted:
        if not mounted:
            return row("disk full", 0, 0, "not tried: this user may not mount a tmpfs")
        process, error, least = fill_while_running(lambda: program(folder / "run"), folder / "run")
        line = next((line for line in error.splitlines() if "make room" in line), "")
        told = process.returncode == 2 and line and least > 0
        good = told and finish(folder / "run") and numbers(folder / "run") == whole
    return row("disk full (tmpfs)", 1, int(good), f"says: {re.sub(r'/[^ ]*/', '', line)[:160]}")


def two_row(config: FaultsConfig, folder: Path, whole: dict) -> dict:
    """One process of two killed, the one and the other in turn; then to the end in one process."""
    generator, survived, longest = random.Random(config.seed), 0, 0.0
    for k in range(config.processes_killed):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"--coordinator_address=127.0.0.1:{free.getsockname()[1]}"
        before = sealed(folder)
        both = [program(folder, address, "--num_processes=2", f"--process_id={i}") for i in range(2)]
        until_recorded(folder, before, both[0])
        time.sleep(generator.uniform(0.0, 0.5))
        both[k % 2].kill()
        gone = time.monotonic()
        other = both[1 - k % 2]
        with contextlib.suppress(subprocess.TimeoutExpired):
            other.wait(timeout=2 * LOST_AFTER_S)
        took = time.monotonic() - gone
        other.kill()
        error = other.communicate()[1]
        both[k % 2].communicate()
        longest = max(longest, took)
        survived += took < LOST_AFTER_S and "another" in error and sealed(folder) >= before
    ended = finish(folder) and numbers(folder).keys() == whole.keys()
    far = max(abs(numbers(folder)[step]["loss"] / whole[step]["loss"] - 1) for step in whole) if ended else 1.0
    note = (
        f"the other ended within {longest:.1f} s (limit {LOST_AFTER_S}); losses then as in one process up to {far:.0e}"
    )
    return row("one process of two killed", config.processes_killed, survived * (far < 1e-3), note)


def run(config: FaultsConfig, workdir: Path) -> None:
    """Do every fault, print and write the table."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        alone = program(folder / "alone")
        error = alone.communicate()[1]
        if alone.returncode:
            raise RuntimeError(error)
        whole = numbers(folder / "alone")
        rows = [
            killed_row(config, folder / "killed", whole),
            disk_row(folder / "disk", whole),
            checkpoint_row(folder / "alone", folder / "checkpoints"),
            data_row(folder / "data"),
            nan_row(folder / "nan"),
            two_row(config, folder / "two", whole),
        ]
    print(aligned(rows, COLUMNS))
    if config.json:
        write_json(config.json, timing.environment() | {"rows": rows, "wall_time_s": time.perf_counter() - begin})
    if config.write:
        there = timing.environment()
        line = f"`{there['command']}` on {there['device']}, {time.perf_counter() - begin:.0f} s, jax {jax.__version__}."
        write_between(README, NAME, f"{line}\n\n{markdown(rows, COLUMNS)}")
    if any(found["lost"] for found in rows):
        raise UserError("something was lost; allowed: nothing, see the table above")


if __name__ == "__main__":
    runs.main(FaultsConfig, run)
