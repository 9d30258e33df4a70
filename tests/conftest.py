"""Make the repository and the tests' helpers importable, keep compiled programs on disk, memory small, workers busy."""

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import signal
import sys
from pathlib import Path

import pytest
import threadpoolctl

TESTS = Path(__file__).resolve().parent
GROWTH = 300_000_000  # bytes that compiled programs may take in a worker
# Most of the default run is compiling, most of that the optimisation of machine code that then runs for milliseconds.
# The default run leaves it out; what is asked for with -m, as in .ci/run, is compiled as it is for users. XLA ends the
# process at a flag that it does not know, so other releases than those that were tried compile as for users too.
QUICK_COMPILATION = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

# A shell that starts the tests in the background has them ignore SIGINT, and every process they start as well.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)

# On the few cores that the workers share, the threads of one linear algebra spin for each other: eigenvalues of 64 x 64
# took 80 ms of CPU time in place of 1. The variables are for libraries to come; pytest's plugins have loaded NumPy's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
threadpoolctl.threadpool_limits(1)

# Before JAX starts, so that both workers and the processes that tests start share what is compiled.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "jaxgen" / "tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import shape_checks  # noqa: E402

shape_checks.install()  # before jaxgen is imported


@pytest.fixture(autouse=True, scope="module")
def _forget_after_a_module():
    """Programs of one module are of no use to the next and would add up to gigabytes."""
    yield
    forget_compiled_programs()


@pytest.fixture(autouse=True)
def _forget_when_large():
    """Some modules compile more than a gigabyte of programs by themselves."""
    yield
    if resident() > forget_compiled_programs.left + GROWTH:
        forget_compiled_programs()


def forget_compiled_programs():
    """Forget what JAX compiled; on Linux the C library then gives the free memory back."""
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library than that of GNU
            ctypes.CDLL(None).malloc_trim(0)
    forget_compiled_programs.left = resident()


def resident() -> int:
    """Return the bytes of memory that this process holds, 0 on a system that does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


forget_compiled_programs.left = resident()


def pytest_configure(config):
    """Choose how programs are compiled, before JAX starts, and let xdist keep the order below.

    Of itself xdist starts the files of few tests, which are the long ones, last.
    """
    if config.option.markexpr == "not slow" and importlib.metadata.version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] = " ".join([*QUICK_COMPILATION, os.environ.get("XLA_FLAGS", "")]).strip()
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    with shape_checks.for_test(item):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Start the files that hold slow tests first, so that at the end no worker waits for a long file."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    """Leave what was imported out of all garbage collections to come, which took 0.4 s each for it."""
    gc.collect()
    gc.freeze()
