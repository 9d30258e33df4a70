"""Which faults do runs survive? Faults are injected into short runs of every family's command, and counted.

  python -m benchmarks.faults --json=faults.json --write              20 kills per family, about 20 minutes
  python -m benchmarks.faults --kills=125 --write                     1,000 kills, some hours
  python -m benchmarks.faults --families=vae --kills=2 --processes_killed=0

A fault is survived if the run resumes from the newest whole checkpoint, if damage is named and a good checkpoint used,
or if a full disk or bad numbers end the run within a minute in one line. After all the kills of a family, its records
must equal, step by step, those of an undisturbed run. All other faults count as lost.
"""

import contextlib
import dataclasses
import functools
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from benchmarks import timing
from benchmarks.fault_injection.crashes import crash_row
from benchmarks.fault_injection.damage import checkpoint_row, data_row, nan_row, row
from benchmarks.fault_injection.forked import ForkServer
from benchmarks.fault_injection.full_disk import START_S, disk_row, run_folder
from benchmarks.fault_injection.readers import reader_row
from benchmarks.fault_injection.stopped import COMMANDS, stopped_row, trained_run
from jaxgen import runs, training
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option
from jaxgen.runs.processes import LOST_AFTER_S
from jaxgen.runs.tables import aligned, markdown, write_between, write_json

NAME = "faults"
README = Path(__file__).with_name("README.md")
COLUMNS = ("fault", "command", "tried", "survived", "lost", "note")
# A checkpoint every few steps, with pictures where the family draws some: most moments lie in the writing of one.
OFTEN = ("--log_every=1", "--eval_every=2", "--checkpoint_every=2")
FAMILIES = {
    "ebm_cd": (
        "--classes=3", "--neighbourhood=4", "--batch_size=32", "--chains=32", "--cd_steps=1", "--steps=100000", *OFTEN,
    ),
    "ebm_denoising": ("--hidden=16", "--noise_steps=1", "--batch_size=8", "--warmup=2", "--steps=100000", *OFTEN),
    "ebm_restricted": ("--hidden=16", "--batch_size=32", "--warmup=2", "--steps=100000", *OFTEN, "--eval_every=60"),
    "vae": ("--network=mlp", "--width=32", "--latent=4", "--batch_size=32", "--steps=100000", *OFTEN),
    "diffusion": ("--size=tiny", "--batch_size=8", "--timesteps=10", "--sample_steps=10", "--epochs=100", *OFTEN),
    "pmflow": ("--models=mlp", "--seeds=1", "--epochs=10000", "--train_examples=64", "--batch_size=32"),
    "energy_learning": ("--flagfile=experiments/flags/xor.flags", "--seeds=1", "--epochs=3000"),
    "information_bound": (
        "--num_samples=400", "--width=32", "--depth=1", "--batch_size=64", "--epochs=100000", "--eval_samples=1000",
        "--points_per_cell=2",
    ),
}  # fmt: skip
TWO = "information_bound"  # the command of the runs in two processes
Start = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class FaultsConfig:
    """How much is tried."""

    seed: int = seed_option("seed of the random moments", group="benchmark")
    families: str = option(",".join(FAMILIES), "commands, separated by commas", group="benchmark")
    kills: int = option(20, "kills of each command in one process", group="benchmark", low=1, high=1_000_000)
    processes_killed: int = option(
        4, "kills of one process of two, the one and the other in turn", group="benchmark", low=0, high=1_000_000
    )
    readings: int = option(50, "readings beside a writing run", group="benchmark", low=1, high=1_000_000)
    stopped: bool = option(True, "stop and resume long commands", group="benchmark")
    json: str = option("", "file for the rows", group="benchmark")
    write: bool = option(False, "write the table into benchmarks/README.md", group="benchmark")


def numbers(workdir: Path) -> dict[int, dict[str, float]]:
    """Return what was recorded at every step, without times and speeds."""
    path = run_folder(workdir) / "metrics.jsonl"
    records = runs.read_metrics(path) if path.exists() else []
    timed = ("_per_s", "_seconds", "seconds")
    return {r["step"]: {k: repr(v) for k, v in r.items() if k != "time" and not k.endswith(timed)} for r in records}


def sealed(workdir: Path) -> int:
    """Return the step of the newest checkpoint that is whole, 0 without any."""
    seals = (run_folder(workdir) / "checkpoints").glob("*/seal.json")
    return max((int(seal.parent.name) for seal in seals if seal.parent.name.isdecimal()), default=0)


def writing(workdir: Path) -> bool:
    """Return whether a checkpoint was under way, or being deleted: a temporary folder is there."""
    folder = run_folder(workdir) / "checkpoints"
    return folder.exists() and any(path.name.startswith(".tmp-") for path in folder.iterdir())


def went_on(error: str, least: int) -> bool:
    """Return whether a start says that it resumed at `least` or later; with 0 it may also have begun anew."""
    resumed = re.search(r"resuming .* after step (\d+)", error)
    return int(resumed[1]) >= least if resumed else least == 0


def until_recorded(workdir: Path, after: int, process: Any) -> None:
    """Wait until a process just started has recorded two steps past `after`. RuntimeError if it ends before.

    Two, because libraries are imported at the first record, and the moments counted from here would all lie in that.
    """
    begin = time.time()
    while True:
        path = run_folder(workdir) / "metrics.jsonl"
        # Until the start has rewritten the file, it holds records of the run before.
        if path.exists() and path.stat().st_mtime > begin and sum(step > after for step in numbers(workdir)) > 1:
            return
        if process.poll() is not None or time.time() > begin + START_S:
            process.kill()
            raise RuntimeError(f"no record after step {after}: {process.communicate()[1][-2000:]}")
        time.sleep(0.02)


@dataclasses.dataclass
class Killed:
    """Counts of kills.

    Attributes:
        tried: all kills.
        survived: those after which the next start resumed from the newest whole checkpoint.
        writing: those in the writing, or the deletion, of a checkpoint.
        blocked: starts that ended by themselves instead of resuming.
    """

    tried: int = 0
    survived: int = 0
    writing: int = 0
    blocked: int = 0


def kill(start: Start, workdir: Path, count: int, moment: Callable[[], float]) -> Killed:
    """Start, send SIGKILL `moment()` seconds after the second new record, and start again, `count` times.

    What the next start says is read when it is killed in its turn; the last kill is judged by what lies on disk.
    """
    done, least = Killed(), None
    while done.tried < count:
        before = sealed(workdir)
        process = start()
        try:
            until_recorded(workdir, before, process)
        except RuntimeError:
            if process.returncode == 0:  # it reached its end before the kill
                shutil.rmtree(workdir)
                least = None
                continue
            done.blocked += 1
            done.tried += 1
            continue
        time.sleep(moment())
        process.kill()
        error = process.communicate()[1]
        done.tried += 1
        done.writing += writing(workdir)
        if least is not None:
            done.survived += went_on(error, least)
        elif done.tried > 1:
            done.survived += 1  # the kill before was followed by a start that reached the end
        least = sealed(workdir)
    checkpoints = training.Checkpoints(run_folder(workdir) / "checkpoints", read_only=True)
    done.survived += least is not None and (not least or checkpoints.steps()[-1] >= least)
    checkpoints.close()
    return done


def killed_row(config: FaultsConfig, command: str, start: Callable[[Path], Any], folder: Path) -> dict:
    """Kill a command at random moments, and compare its records with those of a run left alone for as long."""
    generator = random.Random(config.seed)
    done = kill(lambda: start(folder), folder, config.kills, lambda: generator.uniform(0.0, 0.5))
    broken = numbers(folder)
    alone = folder.with_name(folder.name + "_alone")
    process = start(alone)
    # As many steps as will be compared; a run left alone on a busy machine need not do all.
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        if max(numbers(alone), default=0) >= max(broken, default=0):
            break
        time.sleep(0.2)
    process.kill()
    process.communicate()
    whole = numbers(alone)
    common = sorted(broken.keys() & whole.keys())
    same = bool(common) and all(broken[step] == whole[step] for step in common)
    note = f"{done.writing} in the writing of a checkpoint, {done.blocked} starts blocked; "
    note += f"{len(common)} records equal bit for bit" if same else "records differ"
    return row("kill -9 at a random moment", command, done.tried, done.survived * same, note)


def refused_row(command: str, server: ForkServer, folder: Path) -> dict:
    """Start a command in a way that is refused, and then rightly in the same folder."""
    process = server.start(f"experiments.{command}", *FAMILIES[command], f"--workdir={folder}", devices=3)
    error = process.communicate()[1]
    refused = process.returncode == 2 and "on 3 devices" in error
    process = server.start(f"experiments.{command}", *FAMILIES[command], f"--workdir={folder}")
    accepted = True
    try:
        until_recorded(folder, 0, process)
    except RuntimeError:
        accepted = False
    process.kill()
    process.communicate()
    note = "a batch that does not divide by 3 devices; then on one" if refused else f"not refused: {error[-100:]}"
    return row("refused start, then the right one", command, 1, refused and accepted, note)


def two_row(config: FaultsConfig, server: ForkServer, folder: Path) -> dict:
    """Kill one process of two, the one and the other in turn; then resume in one process."""
    generator, survived, longest = random.Random(config.seed), 0, 0.0
    for k in range(config.processes_killed):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"--coordinator_address=127.0.0.1:{free.getsockname()[1]}"
        before = sealed(folder)
        flags = [*FAMILIES[TWO], f"--workdir={folder}", address, "--num_processes=2"]
        both = [server.start(f"experiments.{TWO}", *flags, f"--process_id={i}") for i in range(2)]
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
    process = server.start(f"experiments.{TWO}", *FAMILIES[TWO], f"--workdir={folder}")
    before = sealed(folder)
    until_recorded(folder, before, process)
    process.kill()
    resumed = went_on(process.communicate()[1], before)
    note = f"the other ended within {longest:.1f} s (limit {LOST_AFTER_S} s)"
    return row("one process of two killed", TWO, config.processes_killed, survived * resumed, note)


def beside_row(config: FaultsConfig, command: str, start: Callable[[Path], Any], folder: Path) -> dict:
    """Read the newest checkpoint of a run while it goes on writing."""
    process = start(folder)
    until_recorded(folder, 0, process)
    while not sealed(folder):
        time.sleep(0.02)
    try:
        return reader_row(command, process, folder, config.readings)
    finally:
        process.kill()
        process.communicate()


def family_rows(config: FaultsConfig, command: str, server: ForkServer, folder: Path) -> list[dict]:
    """Return the rows of one family's command."""

    def start(workdir: Path) -> Any:
        return server.start(f"experiments.{command}", *FAMILIES[command], f"--workdir={workdir}")

    return [
        killed_row(config, command, start, folder / "killed"),
        beside_row(config, command, start, folder / "read"),
        disk_row(command, start, folder / "disk"),
        refused_row(command, server, folder / "refused"),
    ]


def selected(config: FaultsConfig) -> list[str]:
    """Return the commands that the config names. UserError for any other."""
    names = [name.strip() for name in config.families.split(",")]
    if not set(names) <= FAMILIES.keys():
        raise UserError(f"families is {config.families!r}; allowed: some of {', '.join(FAMILIES)}")
    return names


def run(config: FaultsConfig, workdir: Path) -> None:
    """Inject every fault, print and write the table. UserError if a fault was not survived."""
    begin, names, rows = time.perf_counter(), selected(config), []
    with tempfile.TemporaryDirectory() as scratch, ForkServer(Path(scratch)) as server:
        folder = Path(scratch)

        def add(make: Callable[[], list[dict]]) -> None:
            rows.extend(make())
            print(aligned(rows[-1:], COLUMNS), flush=True)

        for name in names:
            (folder / name).mkdir()
            add(functools.partial(family_rows, config, name, server, folder / name))
        if (folder / names[-1] / "killed").exists():
            add(lambda: [checkpoint_row(run_folder(folder / names[-1] / "killed"), folder / "checkpoints", names[-1])])
        add(lambda: [crash_row(folder / "crashes"), data_row(folder / "data"), nan_row(folder / "nan")])
        if config.stopped:
            model = trained_run(server, folder / "trained")
            for name in COMMANDS:
                (folder / name).mkdir()
                add(lambda name=name: [stopped_row(config.seed, server, name, model, folder / name)])
        if config.processes_killed:
            add(lambda: [two_row(config, server, folder / "two")])
    print(aligned(rows, COLUMNS))
    if config.json:
        write_json(config.json, timing.environment() | {"rows": rows, "wall_time_s": time.perf_counter() - begin})
    if config.write:
        there = timing.environment()
        line = f"`{there['command']}` on {there['device']}, {time.perf_counter() - begin:.0f} s, jax {jax.__version__}."
        write_between(README, NAME, f"{line}\n\n{markdown(rows, COLUMNS)}")
    if any(row["lost"] for row in rows):
        raise UserError("something was lost; allowed: nothing, see the table above")


if __name__ == "__main__":
    runs.main(FaultsConfig, run)
