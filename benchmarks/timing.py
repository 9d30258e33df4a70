"""Timing for all benchmarks: interleaved peers, separate compilation, median and range of the repeats."""

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from jaxgen.runs import command_line, device_name
from jaxgen.runs import platform as machine

PACKAGES = ("jax", "jaxlib", "thrml", "numpy", "torch", "numba", "adabmDCA")
LEAST_REPEATS = 7


def disable_compilation_cache() -> None:
    """Disable the compilation cache, so that a compile time is not the time of reading a file."""
    jax.config.update("jax_enable_compilation_cache", False)


def seconds(run: Callable[[int], object], seed: int = 0) -> float:
    """Return the seconds of one call; `run` finishes its work before it returns."""
    begin = time.perf_counter()
    run(seed)
    return time.perf_counter() - begin


def calls_for(run: Callable[[int], object], target_s: float) -> int:
    """Return how many calls take about `target_s`, at least one.

    The first call, which may warm caches up, does not count.
    """
    run(0)
    return max(1, round(target_s / seconds(run)))


def interleaved(
    runs: Sequence[Callable[[int], object]], calls: Sequence[int], repeats: int
) -> Float[np.ndarray, "repeats runs"]:
    """Return the seconds per call, round after round through all runs, so that slow spells affect all alike."""
    times = np.zeros((repeats, len(runs)))
    with tqdm(total=times.size, desc="timing", unit="run") as bar:
        for r in range(repeats):
            for i, (run, count) in enumerate(zip(runs, calls, strict=True)):
                begin = time.perf_counter()
                for call in range(count):
                    run(r * count + call)
                times[r, i] = (time.perf_counter() - begin) / count
                bar.update()
    return times


def resident_growth(run: Callable[[int], object]) -> int | None:
    """Return by how many bytes a call raises the peak resident memory above what was held before; Linux only."""
    reset = Path("/proc/self/clear_refs")
    try:
        with contextlib.suppress(AttributeError):  # glibc: else the call is served from what earlier ones freed
            ctypes.CDLL(None).malloc_trim(0)
        reset.write_text("5")
        before = _status("VmRSS")
        run(0)
        return _status("VmHWM") - before
    except OSError:
        return None


def _status(field: str) -> int:
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def environment() -> dict:
    """Return what a number of this run depends on besides the code."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    load = machine.load_average()
    return {
        "command": command_line(),
        "device": device_name(),
        "cores": machine.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "load_at_start": None if load is None else round(load, 2),
        "versions": versions,
    }
