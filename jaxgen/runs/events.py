"""TensorBoard event files, written by the calling thread: an error of the disk is raised where the record is made.

tensorboardX makes the protocol buffers. Its own writer is not used: it writes in a thread, and when that thread dies of
a full disk, the next records wait forever for their place in its queue.

    record = length (uint64) | masked CRC-32C of it | event | masked CRC-32C of it        little-endian
"""

import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

from jaxgen.runs.atomic import naming


class EventFile:
    """One new event file in `folder`; events after `first_step` of files before it are void.

    Args:
        folder: made if it is missing.
        first_step: the first step that this file records.

    Raises:
        OSError: the file cannot be written; so do all methods.
    """

    def __init__(self, folder: Path, first_step: int):
        # Imported at the first record: it takes as long as JAX itself.
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._event = Event
        folder.mkdir(parents=True, exist_ok=True)
        self._path = _new_name(folder)
        with naming(self._path):
            # Unbuffered: what is not on disk when this returns has been reported.
            self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115 (closed by close)
        version = "brain.Event:2"
        self._write(Event(wall_time=time.time(), step=first_step, file_version=version))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=first_step, session_log=start))

    def add(self, summary: Any, step: int) -> None:
        """Write a Summary of tensorboardX."""
        self._write(self._event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Any) -> None:
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        record = length + _masked_crc(length) + content + _masked_crc(content)
        with naming(self._path):
            while record:  # an unbuffered file may take a part
                record = record[self._file.write(record) :]


def _new_name(folder: Path) -> Path:
    """Return a name that no file has; TensorBoard reads files in the order of their names."""
    start = f"events.out.tfevents.{int(time.time())}"
    end = f"{socket.gethostname()}.{os.getpid()}"
    number = 0
    while (path := folder / f"{start}.{number:03d}.{end}").exists() or list(folder.glob(f"{start}.{number:03d}.*")):
        number += 1
    return path


def _masked_crc(content: bytes) -> bytes:
    from tensorboardX.crc32c import crc32c

    crc = crc32c(content) & 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
