"""Files appear whole or not at all: they are written under a temporary name, then renamed."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".tmp-"
_TEMPORARY = re.compile(r"\.tmp-\d+-.+")
# What the checkpoint library leaves where a run of an older version was killed.
_ORBAX_TEMPORARY = re.compile(r"\d+\.orbax-checkpoint-tmp.*")


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it takes the name `path` when the block ends without error.

    The folder is made if it is missing. The suffix is kept, since np.savez and matplotlib choose the format by it. An
    error in the block leaves what was at `path` before; an OSError names `path`.

        with atomic_write(run.samples / "step_100.npz") as temporary:
            np.savez(temporary, images=images)
    """
    path = Path(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Give an OSError that names no file, as one of a full disk does, the name of the file that was written."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def temporary_name(path: Path) -> Path:
    """Return the name beside `path` under which this process prepares it."""
    return path.with_name(f"{PREFIX}{os.getpid()}-{path.name}")


def remove_whole(folder: Path) -> None:
    """Delete a folder that has a meaning by its name: it is renamed first, so that a kill leaves no half of it."""
    away = temporary_name(folder)
    shutil.rmtree(away, ignore_errors=True)
    folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def clear_temporary(folder: Path) -> None:
    """Delete what killed processes left under a folder that this process alone writes to."""
    for path in list(folder.rglob("*")):
        if _TEMPORARY.fullmatch(path.name) or _ORBAX_TEMPORARY.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
