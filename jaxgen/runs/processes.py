"""Several processes, on one host or many, that train one model together.

Every process runs the same program on its own devices. Process 0 alone keeps the run folder: it reads and writes
checkpoints, logs, figures and records, and gives the others what they need of it, so hosts need no common disk. The
others do the same work in a scratch folder that is removed. A process that fails says why and ends at once; the others
notice within LOST_AFTER_S seconds and end too. The first to come waits JOIN_WITHIN_S seconds for the others. Both times
are flags.
"""

import atexit
import contextlib
import hashlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array

from jaxgen.errors import UserError, quoted
from jaxgen.runs.rendezvous import Watch, meet

LOST_AFTER_S = 60
JOIN_WITHIN_S = 300
AUTO = "auto"


def join(
    coordinator_address: str | None,
    num_processes: int | None,
    process_id: int | None,
    join_within_s: int = JOIN_WITHIN_S,
    lost_after_s: int = LOST_AFTER_S,
) -> None:
    """Join the processes of one run; nothing if no argument is given. Call it before JAX computes anything.

    Args:
        coordinator_address: host:port on which process 0 is reached by all, or "auto" under Slurm, Open MPI, Kubernetes
            or on TPU pods, where JAX finds out all three by itself.
        num_processes: how many there are.
        process_id: which one this is, from 0.
        join_within_s: seconds for which the processes that came first wait for the others.
        lost_after_s: seconds of silence after which a process counts as lost; the others then end.

    Raises:
        UserError: some are given and others not, a value is not allowed, or the processes do not meet.
    """
    given = {"num_processes": num_processes, "process_id": process_id}
    if coordinator_address in (None, AUTO):
        for name, value in given.items():
            if value is not None:
                raise UserError(f"{name} is {value}; allowed: only with coordinator_address=host:port")
        if coordinator_address is None:
            return
    else:
        _check(coordinator_address, num_processes, process_id)
        given["coordinator_address"] = coordinator_address
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM away from `fit`, which agrees on where to stop by itself.
    jax.config.update("jax_enable_preemption_service", False)
    print(f"waiting up to {join_within_s} s for all processes to join", file=sys.stderr, flush=True)
    connections = {}
    if coordinator_address != AUTO:
        connections = meet(coordinator_address, num_processes, process_id, join_within_s)
    try:
        # JAX's own patience is longer, because it ends a process with a C++ stack and ours with a line.
        patience = 3 * lost_after_s if connections else lost_after_s // 2
        jax.distributed.initialize(
            **given, initialization_timeout=join_within_s, heartbeat_timeout_seconds=max(1, patience)
        )
    except ValueError as error:
        raise UserError(
            f"coordinator_address is {coordinator_address}, but {error}; allowed where nothing is detected: host:port "
            "with num_processes and process_id"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"coordinator_address is {coordinator_address}, where not all processes came within {join_within_s} s "
            f"({str(error).splitlines()[0]}); allowed: an address that all reach, and all processes started"
        ) from error
    if connections:
        watch = Watch(process_id, connections, lost_after_s)
        atexit.register(watch.close)
    print(
        f"process {jax.process_index()} of {jax.process_count()}, {jax.local_device_count()} of {jax.device_count()} "
        f"devices; if one process is lost, the others end within {lost_after_s} s, and the same commands again resume",
        file=sys.stderr,
    )


def _check(coordinator_address: str, num_processes: int | None, process_id: int | None) -> None:
    host, _, port = coordinator_address.rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 2**16:
        raise UserError(f"coordinator_address is {quoted(coordinator_address)}; allowed: host:port, or {AUTO}")
    if num_processes is None or num_processes < 1:
        raise UserError(f"num_processes is {num_processes}; allowed with coordinator_address: an integer, 1 or more")
    if process_id is None or not 0 <= process_id < num_processes:
        raise UserError(f"process_id is {process_id}; allowed: 0 to num_processes - 1 = {num_processes - 1}")


def is_first() -> bool:
    """Return whether this is process 0, the only one that writes."""
    return jax.process_index() == 0


def several() -> bool:
    """Return whether this run has more than one process."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def lost(error: Exception) -> bool:
    """Return whether the error indicates a lost peer process, which collectives report under several types."""
    return several() and (isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error))


def end_soon() -> None:
    """End this process in LOST_AFTER_S / 6 even if closing what is open, which may wait for a lost process, hangs."""

    def end() -> None:
        print("this process ends, for another one is lost", file=sys.stderr, flush=True)
        os._exit(2)

    timer = threading.Timer(LOST_AFTER_S / 6, end)
    timer.daemon = True
    timer.start()


@contextlib.contextmanager
def own_workdir(workdir: Path) -> Iterator[Path]:
    """Return `workdir` in process 0, and a scratch folder of the same name in the others."""
    if is_first():
        yield workdir
    else:
        with tempfile.TemporaryDirectory(prefix="jaxgen-") as scratch:
            yield Path(scratch) / (workdir.name or "run")


def bytes_from_first(content: bytes) -> bytes:
    """Return the `content` of process 0 in every process."""
    if not several():
        return content
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    buffer = np.zeros(size, np.uint8)
    if is_first():
        buffer[:] = np.frombuffer(content, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(buffer)).tobytes()


def require_same(what: str, values: dict[str, str]) -> None:
    """Raise UserError in every process if the `values` of any differ from those of process 0, naming what differs."""
    if not several():
        return
    first = json.loads(bytes_from_first(json.dumps(values).encode()))
    names = sorted(first.keys() | values.keys())
    changed = [
        f"{name}: {first.get(name)} -> {values.get(name)}" for name in names if first.get(name) != values.get(name)
    ]
    same = multihost_utils.process_allgather(np.bool_(not changed))
    if not same.all():
        others = ", ".join(map(str, np.flatnonzero(~same)))
        seen = f" ({'; '.join(changed)})" if changed else ""
        raise UserError(f"{what} of process {others} is not that of process 0{seen}; allowed: the same everywhere")


def fingerprints(data: dict[str, Array | np.ndarray]) -> dict[str, str]:
    """Return shape, type and the first digits of the SHA-256 of every array."""
    hosts = {name: np.ascontiguousarray(array) for name, array in data.items()}
    return {
        name: f"{host.dtype}{host.shape} {hashlib.sha256(host.data).hexdigest()[:16]}" for name, host in hosts.items()
    }
