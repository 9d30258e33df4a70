"""What differs between machines: processors, operating systems, file systems, terminals; what JAX is told first.

Linux, macOS and Windows differ in `os.sched_getaffinity`, `os.getloadavg`, `fcntl` and /proc. Everything that asks for
one of them asks here.
"""

import contextlib
import errno
import hashlib
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax

from jaxgen.errors import UserError, quoted

try:
    import fcntl
    import resource
except ImportError:  # Windows
    fcntl = resource = None

_HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)


def configure() -> None:
    """Keep compiled programs on disk and say what the program runs on.

    The cache lies in ~/.cache/jaxgen/xla/<machine>, one folder per kind of processor, because code compiled for one may
    use instructions that another lacks. JAX_COMPILATION_CACHE_DIR, where set, is obeyed.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla" / machine_id()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if jax.process_index() == 0:
        print(f"jax {jax.__version__} on {jax.device_count()} x {device_name()}", file=sys.stderr)


def require_backend() -> None:
    """Raise UserError if JAX cannot use the platform that JAX_PLATFORMS names."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    if asked in ("", "cpu"):
        return
    try:
        jax.devices()
    except Exception as error:  # RuntimeError of an unknown platform, AssertionError of one whose plugin is missing
        reason = " ".join(str(error).split())[:300] or "its plugin is not installed"
        raise UserError(
            f"JAX_PLATFORMS is {quoted(asked)}, which JAX cannot use here ({reason}); allowed: unset, cpu, or an "
            "installed platform, such as cuda"
        ) from error


def cache_folder() -> Path:
    """Return the folder for what can be computed again: ~/.cache/jaxgen, or a temporary one for a user without a home.

    Containers often run with a user id that has no entry in the password file and no HOME, or with a home that cannot
    be written to.
    """
    with contextlib.suppress(RuntimeError, OSError):  # RuntimeError: no home can be determined
        folder = Path.home() / ".cache" / "jaxgen"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    user = getattr(os, "getuid", lambda: "user")()
    folder = Path(tempfile.gettempdir()) / f"jaxgen-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # A folder of this name that another user has made could hold programs that were not compiled here.
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="jaxgen-"))
    return folder


def machine_id() -> str:
    """Return twelve hex digits that differ between processors with different instruction sets."""
    lines = _cpuinfo()
    features = "".join(sorted(lines.get("flags", lines.get("Features", "")).split()))
    return hashlib.sha256(f"{platform.machine()} {cpu_name()} {features}".encode()).hexdigest()[:12]


def cpu_name() -> str:
    """Return the processor's model name, as the system gives it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    """Return the names of the processor's instruction sets; empty where the system does not list them."""
    return set(_cpuinfo().get("flags", "").split())


def cpu_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """Return the mean number of running programs over the last minute; None where the system does not count."""
    with contextlib.suppress(AttributeError, OSError):  # Windows has no such function
        return os.getloadavg()[0]
    return None


def children_peak_memory() -> float | None:
    """Return the largest resident memory in GiB of a process that this one started and waited for; None on Windows."""
    if resource is None:
        return None
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit


def device_name() -> str:
    """Return the first device in words: a GPU's own name, or the CPU's model and the cores this process may use."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    return f"{cpu_name()} ({cpu_count()} cores)"


def lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file without waiting; return whether the file system has locks.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    if fcntl is None:
        return _lock_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError(*error.args) from error
        return False  # ENOLCK, ENOTSUP and the like: NFS, some containers
    return True


def _lock_windows(descriptor: int) -> bool:
    try:
        import msvcrt
    except ImportError:
        return False
    try:
        # A byte far behind the process id that the file holds: a locked byte cannot be read by others.
        os.lseek(descriptor, 2**20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        raise BlockingIOError(*error.args) from error
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; a stream may be None, closed or any object with `write`."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


def _cpuinfo() -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
