"""Programs started by a fork of a process that has imported everything: a start costs one second, not five.

The fork server is `python -m benchmarks.fault_injection.forked`; it imports but computes nothing, so that a fork loses
no threads. It reads one JSON line per request: {"module", "arguments", "log"} starts a program and answers its process
id; {"wait"} answers a process's exit code, or null if it still runs.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = (
    "jax", "flax.linen", "optax", "orbax.checkpoint", "tensorboardX", "matplotlib.figure", "tqdm", "scipy.stats",
    "jaxgen.potts", "jaxgen.vae", "jaxgen.diffusion", "jaxgen.pmflow", "jaxgen.energy_learning", "jaxgen.information",
)  # fmt: skip


class Forked:
    """A running program, with the methods of subprocess.Popen that the fault benchmark uses."""

    def __init__(self, server: "ForkServer", pid: int, log: Path):
        self._server, self.pid, self._log = server, pid, log
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"wait": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Return the exit code. subprocess.TimeoutExpired if it runs on."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.02)
        return self.returncode

    def kill(self) -> None:
        """Send SIGKILL."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 600.0) -> tuple[str, str]:
        """Wait for the end and return ("", what it wrote to stderr)."""
        self.wait(timeout)
        return "", self._log.read_text(errors="replace")


class ForkServer:
    """The fork server; use it in a `with` statement."""

    def __init__(self, scratch: Path):
        self._scratch, self._count = scratch, 0
        # With fonts of its own: a list that names missing files makes matplotlib warn, where one line is expected.
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(scratch / "matplotlib")}
        command = [sys.executable, "-m", "benchmarks.fault_injection.forked"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)

    def start(self, module: str, *arguments: str, devices: int = 1) -> Forked:
        """Start `python -m module arguments` on so many devices of the CPU."""
        self._count += 1
        log = self._scratch / f"log{self._count}"
        request = {"module": module, "arguments": arguments, "log": str(log), "devices": devices}
        return Forked(self, self.ask(request), log)

    def ask(self, request: dict) -> int | None:
        """Return the server's answer."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *exception) -> None:
        self._process.stdin.close()
        self._process.wait()


def serve() -> None:
    """Answer requests until the input ends."""
    for name in IMPORTS:
        __import__(name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                os.environ["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={request['devices']}"
                _become(request["module"], request["arguments"], request["log"])
        print(json.dumps(answer), flush=True)


def _become(module: str, arguments: list[str], log: str) -> None:
    """Run a module as the main program of this process, and end."""
    with open(os.devnull) as nothing, open(log, "w") as errors, open(os.devnull, "w") as nowhere:
        for number, file in enumerate((nothing, nowhere, errors)):
            os.dup2(file.fileno(), number)
    sys.argv = [module, *arguments]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
