"""The results so far of a command that takes minutes, so that the same command goes on after it was stopped.

    pieces = Pieces(workdir / ".likelihood", {"config": .., "step": ..})
    arrays = pieces.get("class 3", lambda: anneal(..))        computed once, then read from the folder
    pieces.clear()                                            when all is measured

Every piece is one NPZ file that is written whole or not at all, so a kill at any moment loses at most one piece.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.errors import UserError
from jaxgen.runs.atomic import atomic_write
from jaxgen.runs.files import read_npz

_SECONDS = "seconds"
_SUFFIX = ".piece.npz"


class Pieces:
    """The pieces of one command in a folder of its own.

    Args:
        folder: made at the first piece.
        identity: what the pieces depend on, as JSON values; pieces of another identity are removed.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]):
        self._folder = Path(folder)
        text = json.dumps(identity, sort_keys=True, default=str)
        self._stem = hashlib.sha256(text.encode()).hexdigest()[:12]
        self._start = self._clock = time.perf_counter()
        self._before = 0.0
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if not path.name.startswith(self._stem):
                path.unlink()

    @property
    def seconds(self) -> float:
        """Return the wall time of this start and of the pieces that earlier starts computed."""
        return self._before + time.perf_counter() - self._start

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Return a piece, or None if there is none that can be read."""
        path = self._path(name)
        if not path.exists():
            return None
        try:
            arrays = read_npz(path, "piece", "a file that this command wrote")
        except UserError:
            return None
        self._before += float(arrays.pop(_SECONDS, 0.0))
        return arrays

    def save(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Write a piece in place of an earlier state of it."""
        self._folder.mkdir(exist_ok=True)
        now = time.perf_counter()
        with atomic_write(self._path(name)) as temporary:
            np.savez(temporary, **arrays, **{_SECONDS: now - self._clock})
        self._clock = now

    def get(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Return a piece, computed and written if there is none."""
        arrays = self.load(name)
        if arrays is None:
            arrays = {key: np.asarray(value) for key, value in compute().items()}
            self.save(name, arrays)
        return arrays

    def clear(self) -> None:
        """Remove all pieces, and the folder if nothing else is in it."""
        for path in self._folder.glob(f"*{_SUFFIX}"):
            path.unlink()
        if self._folder.exists() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _path(self, name: str) -> Path:
        safe = "".join(c if c.isalnum() else "_" for c in name)
        return self._folder / f"{self._stem}_{safe}{_SUFFIX}"
