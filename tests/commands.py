"""Commands run in this process, which saves a second of starting Python and JAX, or in processes of their own."""

import contextlib
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from jaxgen import runs

ROOT = Path(__file__).resolve().parents[1]
TOY = Path(__file__).with_name("toy_experiment.py")

# experiments.ebm_cd in seconds. Tests that agree on the shapes share what is compiled.
SHORT_RUN = [
    "--classes=3", "--steps=30", "--eval_every=10", "--checkpoint_every=10", "--log_every=5", "--neighbourhood=4",
    "--batch_size=32", "--chains=32", "--cd_steps=2", "--fresh_chains=64", "--fresh_sweeps=20",
]  # fmt: skip


def run(module: str, *flags: str) -> tuple[int, str, str]:
    """`python -m module flags`: exit code, stdout, stderr."""
    imported = sys.modules.pop(module, None)  # by another test: runpy warns of running it once more
    with mock.patch.object(sys, "argv", [module, *flags]):
        ending = _ending(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))
    if imported is not None:
        sys.modules[module] = imported
    return ending


def call(config_type: type, main: Callable, *flags: object) -> tuple[int, str, str]:
    """Call a program by its Config and function, which sees what a test has patched: exit code, stdout, stderr."""
    return _ending(lambda: runs.main(config_type, main, ["program", *map(str, flags)]))


def _ending(program: Callable) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            program()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()


def start(program: Path | str, *arguments: str, devices: int = 1, **environment: str) -> subprocess.Popen:
    """Start a Python program, or with a name the module of that name, in a process of its own, on so many devices."""
    changed = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        **environment,
    }
    what = [program] if isinstance(program, Path) else ["-m", program]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *what, *arguments], cwd=ROOT, env=changed, text=True, **pipes)


def run_alone(program: Path | str, *arguments: str, within_s: float = 300.0, **started) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a program in a process of its own; see `start` and `ended`."""
    return ended(start(program, *arguments, **started), within_s)


def ended(process: subprocess.Popen, within_s: float = 120.0) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a process of `start`; it is killed if it does not end in time."""
    try:
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"blocked for {within_s} s: {process.communicate()[1][-2000:]}") from None
    return process.returncode, out, err
