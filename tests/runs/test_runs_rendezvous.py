"""How processes meet and notice each other's end: threads of this process stand for processes."""

import contextlib
import socket
import threading
import time

import pytest

from jaxgen.errors import UserError
from jaxgen.runs.rendezvous import Watch, meet


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def together(*calls, port=None):
    """Call `meet(address, *call)` for all calls at once; return connections or the error of each."""
    address = f"127.0.0.1:{port or free_port()}"
    results = [None] * len(calls)

    def one(place):
        try:
            results[place] = meet(address, *calls[place])
        except UserError as error:
            results[place] = str(error)

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive(), "blocked"
    return results


def close(results):
    for connections in results:
        for connection in connections.values() if isinstance(connections, dict) else ():
            connection.close()


def test_all_meet_in_any_order():
    results = together((3, 2, 10), (3, 0, 10), (3, 1, 10))
    assert [sorted(connections) for connections in results] == [[0], [1, 2], [0]]
    close(results)
    assert meet("127.0.0.1:1", 1, 0, 1) == {}


def test_a_number_that_comes_twice_is_named_in_all():
    results = together((3, 0, 10), (3, 1, 10), (3, 1, 10))
    assert all("process_id is 1 in two processes; allowed: each of 0 to 2 once" in result for result in results)


def test_numbers_of_processes_that_differ():
    results = together((3, 0, 10), (4, 1, 10))
    assert all("num_processes is 3 in process 0 and 4 in process 1; allowed: the same in all" in r for r in results)


def test_who_does_not_come_is_named_in_time():
    begin = time.monotonic()
    results = together((4, 0, 1), (4, 2, 20))
    assert time.monotonic() - begin < 10
    for result in results:
        assert (
            "where process 1, 3 did not come within 1 s; allowed: all of process 0 to 3 started, or a longer --"
            in result
        )


def test_without_process_0_the_others_end_in_time():
    (result,) = together((2, 1, 0.5))
    assert "where not all processes came within 0.5 s; allowed: an address that all reach" in result
    with pytest.raises(UserError, match=r"coordinator_address is no.such.host.invalid:1"):
        meet("no.such.host.invalid:1", 2, 1, 0.5)


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(
            UserError, match=r"whose port \d+ cannot be opened here \(Address already in use\); allowed: a free port"
        ):
            meet(f"127.0.0.1:{taken.getsockname()[1]}", 2, 0, 5)


def test_strangers_are_ignored_and_another_server_is_told():
    port = free_port()
    results = []
    first = threading.Thread(target=lambda: results.append(meet(f"127.0.0.1:{port}", 2, 0, 20)))
    first.start()
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, b"[]\n", b'{"id": "x"}\n', b""):
        for _ in range(100):
            with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(words)
                break
            time.sleep(0.02)
    results.append(meet(f"127.0.0.1:{port}", 2, 1, 20))
    first.join(timeout=20)
    assert len(results) == 2
    close(results)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=answer).start()
        with pytest.raises(UserError, match="where no run waits for process 1; allowed: the address of a process 0"):
            meet(f"127.0.0.1:{port}", 2, 1, 5)


def watched(lost_after):
    """Return two ends of a connection, and the Watch of process 1 at one of them with what it says."""
    here, there = socket.socketpair()
    said = []
    return there, Watch(1, {0: here}, lost_after, said.append), said


def until(said, seconds):
    deadline = time.monotonic() + seconds
    while not said and time.monotonic() < deadline:
        time.sleep(0.02)
    return said


def test_a_frozen_process_is_noticed_and_a_busy_one_is_not():
    there, watch, said = watched(0.6)
    for _ in range(12):
        there.send(b".")
        time.sleep(0.1)
    assert said == []
    assert until(said, 5) == [
        "process 1 ends, for process 0 has not answered for 0.6 s; the same commands again resume"
    ]
    watch.close()
    there.close()


def test_a_process_that_is_gone_is_noticed_and_one_that_said_goodbye_is_not():
    there, _, said = watched(1.2)
    there.close()
    assert until(said, 5) == ["process 1 ends, for another one, process 0, is gone; run all again to resume"]
    there, _, said = watched(0.6)
    there.send(b".!")
    there.close()
    assert until(said, 1.5) == []


def test_close_says_goodbye():
    there, watch, said = watched(5.0)
    watch.close()
    there.settimeout(1)
    assert b"!" in there.recv(100) and said == []
