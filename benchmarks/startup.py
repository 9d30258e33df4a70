"""How long from the command to the first training step, without and with a compilation cache, and how much memory?

  python -m benchmarks.startup [--record=experiments/results/startup.json]

Starts `python -m experiments.ebm_cd` on the digit 3 twice with one new cache folder, waits for the first record in
metrics.jsonl, and kills it; then lets a short run finish and asks the system for its peak resident memory.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxgen import runs
from jaxgen.runs import option


@dataclasses.dataclass(frozen=True)
class StartupConfig:
    """Where the numbers go."""

    record: str = option("", "file for the numbers as a record for experiments/results", group="benchmark")


FLAGS = ["--flagfile=experiments/flags/ebm_digit3.flags", "--log_every=1"]


def first_step(workdir: Path, environment: dict[str, str]) -> float:
    """Return the seconds from starting the program to the record of step 1."""
    start = time.perf_counter()
    process = _start(workdir, environment)
    record = workdir / "metrics.jsonl"
    while not (record.exists() and record.read_text().count("\n")):
        if process.poll() is not None:
            raise RuntimeError(f"ebm_cd ended with exit code {process.returncode} before its first step")
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    process.kill()
    process.wait()
    return seconds


def peak_memory(workdir: Path, environment: dict[str, str]) -> float | None:
    """Return the peak resident memory in GiB of a run of 50 steps with its final samples; None where unknown."""
    if _start(workdir, environment, "--steps=50", "--eval_every=25", "--checkpoint_every=25").wait():
        raise RuntimeError("ebm_cd failed")
    return runs.platform.children_peak_memory()


def _start(workdir: Path, environment: dict[str, str], *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.ebm_cd", *FLAGS, *flags, f"--workdir={workdir}"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def run(config: StartupConfig, workdir: Path) -> None:
    """Measure, print and, if asked, record."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
        rows = []
        for name, target in (("empty cache", "< 20 s"), ("filled cache", "< 8 s")):
            seconds = first_step(Path(folder) / name.replace(" ", "_"), environment)
            rows.append(runs.Row(f"start to first training step, {name}", seconds, "s", target))
        memory = peak_memory(Path(folder) / "memory", environment)
        if memory is not None:
            rows.append(runs.Row("peak resident memory", memory, "GiB", "< 2 GiB", "50 steps and the final samples"))
    print(*rows, sep="\n")
    if config.record:
        runs.write_record(
            config.record,
            title="start-up time and memory, digit 3",
            family="Potts energy-based model",
            rows=rows,
            config=config,
            wall_time_s=time.perf_counter() - start,
        )


if __name__ == "__main__":
    runs.main(StartupConfig, run)
