"""The folder of one run.

config.json  flags.txt  metrics.jsonl  tensorboard/  checkpoints/  samples/*.npz  figures/*.png
"""

import dataclasses
import fcntl
import os
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.runs.atomic import PREFIX, atomic_write
from jaxgen.runs.config import differences, from_json, to_flagfile, to_json, validate
from jaxgen.runs.log import Logger

LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """An open run folder, held by this process until `close()`; usable in a `with` statement.

    Attributes:
        path: the folder.
        resumed: whether it held a run before.
        log: its Logger.
    """

    path: Path
    resumed: bool
    log: Logger
    _lock: int

    @classmethod
    def open(cls, workdir: str | Path, config: Any) -> "RunFolder":
        """Make the folder, or take it up again if it holds a run of the same config.

        Raises:
            ValueError: it holds a run of another config (the fields are listed), something that is no run, or a run
                that another process is busy with.
        """
        validate(config)
        path = Path(workdir)
        if path.exists() and not path.is_dir():
            raise UserError(f"workdir is {path}, a file; allowed: a new folder or a run folder")
        path.mkdir(parents=True, exist_ok=True)
        strange = [entry.name for entry in path.iterdir() if entry.name != LOCK and not entry.name.startswith(PREFIX)]
        if strange and not (path / "config.json").exists():
            raise UserError(f"workdir is {path}, which holds {strange[0]} but no run; allowed: a new or a run folder")
        lock = _lock(path)
        try:
            resumed = (path / "config.json").exists()
            if resumed:
                _check_same(path, config)
            else:
                # First, because with anything else alone the folder would neither resume nor count as empty.
                _write(path / "config.json", to_json(config))
            _write(path / "flags.txt", to_flagfile(config))
            for name in ("figures", "samples", "checkpoints", "tensorboard"):
                (path / name).mkdir(exist_ok=True)
        except BaseException:
            os.close(lock)
            raise
        return cls(path=path, resumed=resumed, log=Logger(path), _lock=lock)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def close(self) -> None:
        """Write out the log and let other processes have the folder."""
        self.log.close()
        os.close(self._lock)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def _lock(path: Path) -> int:
    """Hold the folder's lock file; the system lets go of it when the process ends, however it ends."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 20).decode() or "unknown"
        os.close(descriptor)
        raise UserError(
            f"workdir is {path}, in use by process {owner}; allowed: one process at a time, wait or choose another"
        ) from error
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _check_same(path: Path, config: Any) -> None:
    try:
        before = from_json(type(config), (path / "config.json").read_text())
    except ValueError as error:
        raise UserError(f"workdir is {path}, whose config.json does not fit this program: {error}") from error
    changed = differences(before, config)
    if changed:
        raise UserError(
            f"workdir is {path}, a run with another config ({'; '.join(changed)}); "
            "allowed: the same flags to resume, or another --workdir"
        )


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)
