"""The energy of a computation, from an energy counter where there is one, otherwise from a stated power.

    counter:  E = (counter after - counter before) mod its range        GPU: NVML; CPU: RAPL, the whole package
    stated:   E = P_core (CPU time after - CPU time before)              P_core: watts per core; CPU time of all threads

A counter includes everything that runs on the device meanwhile, and idle power; the stated power covers this process
alone, without memory and power supply.
"""

import ctypes
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

POWERCAP = Path("/sys/class/powercap")


class Meter(NamedTuple):
    """A source of energy readings.

    Attributes:
        source: description of the source.
        measured: False if the energy follows from a stated power.
        read: returns the joules so far, one number per counter.
        ranges: value in joules at which each counter wraps around to 0.
    """

    source: str
    measured: bool
    read: Callable[[], Sequence[float]]
    ranges: Sequence[float]


class Spent(NamedTuple):
    """Joules and seconds that `calls` calls took together."""

    joules: float
    seconds: float
    calls: int


def find_meter(core_watts: float) -> Meter:
    """Return a meter: NVML for a GPU, RAPL for a CPU with readable counters, otherwise `core_watts` per busy core."""
    meter = nvml_meter() if jax.default_backend() == "gpu" else rapl_meter(POWERCAP)
    return meter or stated_meter(core_watts)


def stated_meter(core_watts: float) -> Meter:
    """Return a meter of E = core_watts x CPU time of this process."""
    source = f"stated power: {core_watts:g} W per core x CPU time of the process"
    return Meter(source, False, lambda: [core_watts * time.process_time()], [math.inf])


def rapl_meter(folder: Path) -> Meter | None:
    """Return the energy counters of the CPU packages under `folder`; None if there are none that can be read."""
    packages = sorted(folder.glob("intel-rapl:[0-9]")) + sorted(folder.glob("intel-rapl:[0-9][0-9]"))

    def read() -> list[float]:
        return [1e-6 * int((package / "energy_uj").read_text()) for package in packages]

    try:
        read()
        ranges = [1e-6 * int((package / "max_energy_range_uj").read_text()) for package in packages]
    except OSError:
        return None
    return Meter(f"RAPL, {len(packages)} whole package(s)", True, read, ranges) if packages else None


def nvml_meter(library: ctypes.CDLL | None = None) -> Meter | None:
    """Return the energy counter of the first GPU, read through the library of the driver; None where that fails.

    GPUs since Volta count the millijoules since the driver was loaded.
    """
    try:
        nvml = library or ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    device, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        return None

    def read() -> list[float]:
        code = nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy))
        if code:
            raise OSError(f"NVML gave error {code} for the energy counter")
        return [1e-3 * energy.value]

    try:
        read()
    except OSError:
        return None
    return Meter("NVML, the whole GPU", True, read, [math.inf])


def measure_joules(meter: Meter, run: Callable[[int], object], seconds: float) -> Spent:
    """Measure the joules of `run(0)`, `run(1)`, .. for about `seconds`, at least one call, after a warm-up call.

    `run` must finish its work before it returns. Counters are updated every 1 to 100 ms: measure for a second or more.
    """
    run(0)
    calls, begin, before = 0, time.perf_counter(), meter.read()
    while calls == 0 or time.perf_counter() - begin < seconds:
        run(calls)
        calls += 1
    after, end = meter.read(), time.perf_counter()
    pairs = zip(after, before, meter.ranges, strict=True)
    return Spent(sum((a - b) % limit for a, b, limit in pairs), end - begin, calls)
