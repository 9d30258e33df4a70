"""Files appear whole or not at all: written under a temporary name, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".tmp-"


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; it takes the name `path` when the block ends without error.

    The folder is made if it is missing. The suffix is kept, since np.savez and matplotlib choose the format by it. An
    error in the block leaves what was at `path` before.

        with atomic_write(run.samples / "step_100.npz") as temporary:
            np.savez(temporary, images=images)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
