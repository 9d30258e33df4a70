"""The folder of one run.

config.json  flags.txt  metrics.jsonl  tensorboard/  checkpoints/  samples/*.npz  figures/*.png
"""

import dataclasses
import os
import re
import sys
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError, quoted
from jaxgen.runs import platform
from jaxgen.runs.atomic import PREFIX, atomic_write, clear_temporary, naming
from jaxgen.runs.config import differences, from_json, options, resumable, to_flagfile, to_json, validate
from jaxgen.runs.log import Logger

LOCK = ".lock"
DATA = "data.json"  # what the run was trained on, see `training.same_data`
_ALLOWED = "allowed: a new folder or a run folder"
# Two letters or more, since one is a drive of Windows; a Path has made one slash of two.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_FOLDERS = ("figures", "samples", "checkpoints", "tensorboard")
# What a folder holds after a start that ended before its first record or result.
_BEFORE_THE_FIRST_RECORD = ("config.json", "flags.txt", LOCK, DATA)


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
        """Make the folder, or resume the run that it holds.

        The run must have the same config, but for fields that are declared with `grows=True`, such as a number of
        steps, which may be larger, or with `after_training=True`, such as a number of samples. A folder in which
        nothing has been recorded takes any config. What killed processes left half-written is deleted.

        Raises:
            UserError: the folder holds a run of another config (the fields are listed), something that is no run, or a
                run that another process is busy with; or its path is none.
            OSError: it cannot be made or written to.
        """
        validate(config)
        path = checked_workdir(workdir)
        path.mkdir(parents=True, exist_ok=True)
        strange = [entry.name for entry in path.iterdir() if entry.name != LOCK and not entry.name.startswith(PREFIX)]
        if strange and not (path / "config.json").exists():
            raise UserError(f"workdir is {path}, which holds {strange[0]} but no run; allowed: a new or a run folder")
        lock = _lock(path)
        try:
            resumed = (path / "config.json").exists()
            before = _checked_config(path, config) if resumed else None
            clear_temporary(path)
            if before != config:
                # First, because with anything else alone the folder would neither resume nor count as empty.
                _write(path / "config.json", to_json(config))
            _write(path / "flags.txt", to_flagfile(config))
            for name in _FOLDERS:
                (path / name).mkdir(exist_ok=True)
        except BaseException:
            os.close(lock)
            raise
        return cls(path=path, resumed=resumed, log=Logger(path), _lock=lock)

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Return the folder of sampled images and states."""
        return self.path / "samples"

    @property
    def figures(self) -> Path:
        """Return the folder of pictures."""
        return self.path / "figures"

    def close(self) -> None:
        """Close the log and release the folder."""
        self.log.close()
        os.close(self._lock)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def parsed_workdir(workdir: str | Path) -> Path:
    """Return the path that a user gave for a run folder, with `~` expanded. UserError for what can be no folder."""
    text = str(workdir)
    if not text.strip():
        raise UserError(f"workdir is {text!r}; {_ALLOWED}, such as runs/NAME, or . for this one")
    if _URL.match(text):
        raise UserError(f"workdir is {quoted(text)}, a URL; {_ALLOWED} on this machine")
    if "\0" in text:
        raise UserError(f"workdir is {quoted(text)}; {_ALLOWED}, whose name holds no NUL")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"workdir is {quoted(text)}, whose home folder is unknown; {_ALLOWED}, without ~") from None


def checked_workdir(workdir: str | Path) -> Path:
    """Return the path of a run folder if it exists or can be made, and can be written to; nothing is made yet.

    Commands that work for long call this before they begin.

    Raises:
        UserError: no path, a URL, a file, a broken link, or a folder that cannot be written to.
    """
    path = parsed_workdir(workdir)
    try:
        _require_writable(path)
    except OSError as error:  # a name too long, a parent that cannot be searched
        raise UserError(f"workdir is {quoted(str(path))}: {error.strerror}; {_ALLOWED}") from error
    return path


def _require_writable(path: Path) -> None:
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise UserError(f"workdir is {path}, where {place} is a broken link; {_ALLOWED}")
        try:
            mode = place.stat()
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            continue  # a parent further up is the file
        if not os.path.isdir(place):
            which = "a file" if place == path else f"where {place} is a file"
            raise UserError(f"workdir is {path}, {which}; {_ALLOWED}")
        if not os.access(place, os.W_OK | os.X_OK):
            owner = f", which belongs to user {mode.st_uid}" if hasattr(os, "getuid") else ""
            raise UserError(f"workdir is {path}, but {place} cannot be written to{owner}; {_ALLOWED} of your own")
        return


def _lock(path: Path) -> int:
    """Hold the folder's lock file; the system releases it when the process ends, however it ends."""
    with naming(path / LOCK):
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not platform.lock(descriptor):
            print(f"{path}: this file system has no locks; start no second process in this folder", file=sys.stderr)
        with naming(path / LOCK):
            os.truncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError as error:
        owner = os.read(descriptor, 20).decode("ascii", "replace") or "unknown"
        os.close(descriptor)
        raise UserError(
            f"workdir is {path}, in use by process {owner}; allowed: one process at a time, wait or choose another"
        ) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _checked_config(path: Path, config: Any) -> Any:
    """Return the config of the run in `path`, if a run of `config` may take its place."""
    try:
        before = from_json(type(config), (path / "config.json").read_text())
    except ValueError as error:  # UserError, and UnicodeDecodeError of bytes that are no text
        raise UserError(f"workdir is {path}, whose config.json does not fit this program: {error}") from error
    allowed = resumable(before, config)
    changed = [difference for difference in differences(before, config) if difference not in allowed]
    if changed and not _untouched(path):
        raise UserError(
            f"workdir is {path}, a run with another config ({'; '.join(changed)}); "
            "allowed: the same flags to resume, or another --workdir"
        )
    if allowed and not changed:
        longer = any(
            getattr(config, spec.name) != getattr(before, spec.name) for spec in options(type(config)) if spec.grows
        )
        schedules = "; schedules are those of the new value" if longer else ""
        print(f"{path} goes on with {', '.join(allowed)}{schedules}", file=sys.stderr)
    return before


def _untouched(path: Path) -> bool:
    """Return whether a run folder holds no record, checkpoint or result: event files alone hold nothing to lose."""
    for file in path.rglob("*"):
        inside = file.relative_to(path)
        if file.is_dir() or str(inside) in _BEFORE_THE_FIRST_RECORD or inside.parts[0] == "tensorboard":
            continue
        if file.name.startswith(PREFIX) or (file.name == "metrics.jsonl" and not file.stat().st_size):
            continue
        return False
    return True


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text)
