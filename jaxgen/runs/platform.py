"""What an experiment sets before JAX compiles anything."""

import hashlib
import os
import platform
import sys
from pathlib import Path

import jax


def configure() -> None:
    """Keep compiled programs on disk and say what the program runs on.

    The cache lies in ~/.cache/jaxgen/xla/<machine>, one folder a kind of processor, because code compiled for one may
    use instructions that another lacks. JAX_COMPILATION_CACHE_DIR, where set, is obeyed.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = Path.home() / ".cache" / "jaxgen" / "xla" / machine_id()
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if jax.process_index() == 0:
        print(f"jax {jax.__version__} on {jax.device_count()} x {device_name()}", file=sys.stderr)


def machine_id() -> str:
    """Twelve hex digits that differ between processors with different instruction sets."""
    lines = _cpuinfo()
    features = "".join(sorted(lines.get("flags", lines.get("Features", "")).split()))
    return hashlib.sha256(f"{platform.machine()} {cpu_name()} {features}".encode()).hexdigest()[:12]


def cpu_name() -> str:
    """The processor's model name, as the system tells it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def device_name() -> str:
    """The first device in words: a GPU's own name, or the CPU's model and the cores this process may use."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    return f"{cpu_name()} ({len(os.sched_getaffinity(0))} cores)"


def _cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    text = path.read_text().split("\n\n")[0] if path.exists() else ""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
