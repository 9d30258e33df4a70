"""How the processes of a run meet before JAX connects them, and how each notices that another is gone or frozen.

Process 0 opens the coordinator's port, every other process connects and names itself, and all go on when all are there.
JAX's own coordinator then takes the port over; started without this, it ends in a crash on a port that is taken, and
waits without end for a process whose number came twice. The connections stay open: each side sends a byte every few
seconds, so that silence, which a frozen process keeps, is told from waiting for a long computation.
"""

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

from jaxgen.errors import UserError

_ALIVE, _GOODBYE = b".", b"!"
_LINE = 4096  # bytes at most of a line of the greeting
_STRANGER_S = 5.0  # patience with a connection that does not greet


def meet(address: str, n: int, me: int, within_s: float) -> dict[int, socket.socket]:
    """Return the open connections to the other processes, by their number, when all n have met.

    Process 0 has one to every other, which have one to process 0.

    Raises:
        UserError: the port is taken; not all came in time; a number came twice; numbers of processes differ.
    """
    if n == 1:
        return {}
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + within_s
    if me == 0:
        return _receive(address, int(port), n, deadline, within_s)
    return {0: _arrive(address, (host.strip("[]"), int(port)), {"id": me, "n": n}, deadline, within_s)}


def _receive(address: str, port: int, n: int, deadline: float, within_s: float) -> dict[int, socket.socket]:
    try:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        server = socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=n)
    except OSError as error:
        raise UserError(
            f"coordinator_address is {address}, whose port {port} cannot be opened here "
            f"({os.strerror(error.errno)}); allowed: a free port of the host that process 0 runs on"
        ) from error
    there: dict[int, socket.socket] = {}
    with server:
        while len(there) < n - 1:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = ", ".join(str(i) for i in range(1, n) if i not in there)
                refusal = (
                    f"coordinator_address is {address}, where process {missing} did not come within {within_s:g} s; "
                    f"allowed: all of process 0 to {n - 1} started, or a longer --join_within_s"
                )
                raise _refused(refusal, there.values()) from None
            greeting = _greeting(connection)
            if greeting is None:
                connection.close()
                continue
            who, count = greeting
            if count != n:
                refusal = f"num_processes is {n} in process 0 and {count} in process {who}; allowed: the same in all"
                raise _refused(refusal, [connection, *there.values()])
            if who in there or not 0 < who < n:
                refusal = f"process_id is {who} in two processes; allowed: each of 0 to {n - 1} once"
                raise _refused(refusal, [connection, *there.values()])
            there[who] = connection
    for connection in there.values():
        _send_line(connection, {"ok": True})
    return there


def _arrive(address: str, place: tuple, greeting: dict, deadline: float, within_s: float) -> socket.socket:
    late = (
        f"coordinator_address is {address}, where not all processes came within {within_s:g} s; allowed: an address "
        "that all reach, all processes started, or a longer --join_within_s"
    )
    while True:
        try:
            connection = socket.create_connection(place, timeout=max(0.01, deadline - time.monotonic()))
            break
        except socket.gaierror as error:
            raise UserError(f"coordinator_address is {address}: {error.strerror}; allowed: host:port") from error
        except OSError as error:  # process 0 has not opened its port yet
            if time.monotonic() > deadline:
                raise UserError(late) from error
            time.sleep(0.1)
    try:
        _send_line(connection, greeting)
        # Process 0 may have begun to wait later, and refuses in its own words.
        connection.settimeout(max(0.01, deadline - time.monotonic()) + within_s)
        answer = _read_line(connection)
    except OSError as error:
        raise UserError(late) from error
    if answer is None:
        raise UserError(
            f"coordinator_address is {address}, where no run waits for process {greeting['id']}; allowed: the address "
            f"of a process 0 that is waiting, and each process_id started once"
        )
    if "refused" in answer:
        raise UserError(str(answer["refused"]))
    return connection


def _greeting(connection: socket.socket) -> tuple[int, int] | None:
    """Return number and count that a process says, or None for a stranger."""
    connection.settimeout(_STRANGER_S)
    with contextlib.suppress(OSError):
        line = _read_line(connection)
        if line and all(isinstance(line.get(name), int) for name in ("id", "n")):
            return line["id"], line["n"]
    return None


def _refused(refusal: str, connections) -> UserError:
    """Tell the waiting processes why the run does not start, and return the error."""
    for connection in connections:
        with contextlib.suppress(OSError):
            _send_line(connection, {"refused": refusal})
            connection.close()
    return UserError(refusal)


def _send_line(connection: socket.socket, content: dict) -> None:
    connection.sendall(json.dumps(content).encode() + b"\n")


def _read_line(connection: socket.socket) -> dict | None:
    """Return the object in the next line, or None if what comes is no such line."""
    content = b""
    while not content.endswith(b"\n") and len(content) < _LINE:
        piece = connection.recv(1)  # what follows the line are signs of life
        if not piece:
            break
        content += piece
    try:
        line = json.loads(content)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


class Watch:
    """Watches the connections of `meet` in a thread, and ends this process some time after another one is lost.

    Args:
        me: the number of this process.
        connections: to the processes watched, by their number.
        lost_after_s: seconds of silence after which a process counts as lost. A process whose connection closed is
            certainly gone; then this one has a sixth of that to end by itself, since the collectives fail too.
        end: called with the line that says why; default, prints it and exits with code 2.
    """

    def __init__(
        self,
        me: int,
        connections: dict[int, socket.socket],
        lost_after_s: float,
        end: Callable[[str], None] | None = None,
    ):
        self._me = me
        self._peers = dict(connections)
        self._lost_after = lost_after_s
        self._end = end or _exit
        self._closed = threading.Event()
        for connection in self._peers.values():
            connection.setblocking(False)
        self._thread = threading.Thread(target=self._watch, name="jaxgen-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Say goodbye, so that the others do not take the end of this process for a loss."""
        self._closed.set()
        self._thread.join(timeout=1.0)
        for connection in self._peers.values():
            with contextlib.suppress(OSError):
                connection.send(_GOODBYE)

    def _watch(self) -> None:
        period = min(2.0, self._lost_after / 6)
        peers = dict(self._peers)
        now = time.monotonic()
        seen, sent, gone = dict.fromkeys(peers, now), now, None
        while peers and not self._closed.is_set():
            readable, _, _ = select.select(list(peers.values()), [], [], period / 2)
            before, now = now, time.monotonic()
            if now - before > 2 * period:  # this process itself was stopped
                seen = dict.fromkeys(peers, now)
            for who, connection in list(peers.items()):
                if connection in readable:
                    content = _received(connection)
                    seen[who] = now
                    if not content or _GOODBYE in content:
                        del peers[who]
                    if not content and gone is None:
                        gone = (who, now)
                elif now - seen[who] > self._lost_after:
                    self._end(
                        f"process {self._me} ends, for process {who} has not answered for {self._lost_after:g} s; the "
                        "same commands again resume"
                    )
                    return
            if now - sent > period:
                sent = now
                for connection in peers.values():
                    with contextlib.suppress(OSError):
                        connection.send(_ALIVE)
            if gone and now - gone[1] > self._lost_after / 6:
                break
        if gone and not self._closed.wait(max(0.0, gone[1] + self._lost_after / 6 - time.monotonic())):
            self._end(f"process {self._me} ends, for another one, process {gone[0]}, is gone; run all again to resume")


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_LINE)
    except BlockingIOError:
        return _ALIVE
    except OSError:
        return b""


def _exit(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    os._exit(2)
