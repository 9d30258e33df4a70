"""Checkpoints of a TrainState through orbax: the last two and the best one are kept, and nothing is pickled.

    checkpoints/<step>/state/        the arrays, as orbax writes them
    checkpoints/<step>/seal.json     format, step, metrics, the CRC-32 of every file and the shape of every array

A checkpoint is written under a temporary name, sealed and then renamed: what has a step for a name is whole. Before one
is deleted it is renamed away, so that a kill at any moment leaves no half of one. A checkpoint that is damaged later is
named, renamed to damaged-<step>, and not used. The state is saved un-stacked: a run goes on with another number of
devices or processes.

Checkpoints of format 1, whose arrays lie in `default/`, are read as well; those without a seal were never finished.

Of several processes only process 0 reads and writes; in the others a Checkpoints is empty and saves nothing.
"""

import concurrent.futures
import errno
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError, quoted
from jaxgen.runs.atomic import clear_temporary, naming, remove_whole, temporary_name
from jaxgen.runs.processes import is_first
from jaxgen.training.orbax_io import orbax, orbax_args, quiet
from jaxgen.training.seal import (
    ARRAYS,
    FORMAT,
    SEAL,
    DamagedError,
    crc,
    digests,
    has_structure,
    plain,
    shapes,
    upgraded,
)
from jaxgen.training.state import TrainState, data_to_keys, keys_to_data

KEPT = 2
_OVERHEAD = 2**16  # bytes of a checkpoint besides its arrays
_LOOKS = 20  # of a reader, at checkpoints that a running training replaces meanwhile


class Checkpoints:
    """The checkpoint folder of one run.

    Args:
        folder: made if missing. Damaged checkpoints in it are renamed to damaged-<step> and named on stderr.
        best: the evaluation metric whose best checkpoint is also kept; None keeps only the last ones.
        mode: "min" or "max", what best means.
        read_only: for a reader beside a run that may still be writing; nothing is made, renamed or saved.

    Raises:
        UserError: another mode; a checkpoint of a newer format.
    """

    def __init__(
        self,
        folder: str | Path,
        best: str | None = None,
        mode: Literal["min", "max"] = "min",
        read_only: bool = False,
    ):
        if mode not in ("min", "max"):
            raise UserError(f"mode is {mode!r}; allowed: min, max")
        self._folder = Path(folder).absolute()
        self._best = best
        self._sign = 1.0 if mode == "min" else -1.0
        self._read_only = read_only
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._writing = self._writer.submit(lambda: None)
        if read_only or not is_first():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        clear_temporary(self._folder)
        for step in self.steps():
            try:
                self._verified_seal(step)
            except DamagedError as damage:
                self._set_aside(step, damage)
        # A run killed after its last checkpoint had its name, and before older ones were deleted, saves no other.
        self._prune()

    def save(
        self, step: int, state: TrainState, metrics: dict[str, float] | None = None, window: dict | None = None
    ) -> None:
        """Start saving a plain state as `step`.

        Args:
            step: its number.
            state: a plain state, not one laid out for several devices.
            metrics: the evaluation at this very step, if there was one.
            window: what `window(step)` returns again: the averages that were under way.

        Raises:
            OSError: the checkpoint before this one could not be written; the message names the last good one.
        """
        self.wait()
        if self._read_only or not is_first():
            return
        arrays = jax.tree.map(np.asarray, keys_to_data(state))
        seal = {"format": FORMAT, "step": step, "metrics": plain(metrics or {}), "window": plain(window or {})}
        self._writing = self._writer.submit(self._write, step, arrays, seal | {"arrays": shapes(arrays)})

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, in order."""
        folders = self._folder.iterdir() if self._folder.exists() else ()
        names = [path.name for path in folders if path.name.isdecimal() and len(path.name) < 12]
        return sorted(int(name) for name in names if str(int(name)) == name)

    def restore_latest(self, template: TrainState) -> TrainState | None:
        """Return the last state saved, in the shapes and dtypes of `template`, on the first device; None without any.

        Raises:
            UserError: the checkpoint is of another model, of a newer format, or cannot be read by this orbax.
        """
        return self._restore_first(lambda: reversed(self.steps()), template)

    def restore_best(self, template: TrainState) -> TrainState | None:
        """Return the state with the best evaluation metric; None if no checkpoint was evaluated. Errors as above."""
        return self._restore_first(self._best_first, template)

    def window(self, step: int) -> dict:
        """Return the averages that were under way when `step` was saved; empty in checkpoints of format 1."""
        return self._read_seal(step)["window"] if is_first() and step in self.steps() else {}

    def check(self) -> None:
        """Raise the OSError of a save that has failed meanwhile; does not wait."""
        if self._writing.done():
            self._writing.result()

    def wait(self) -> None:
        """Return when every save is on disk. OSError if one failed."""
        self._writing.result()

    def close(self) -> None:
        """Wait, then release the folder."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    # Writing, in a thread of its own.

    def _write(self, step: int, arrays: TrainState, seal: dict) -> None:
        temporary = temporary_name(self._folder / str(step))
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            _require_room(self._folder, arrays)
            with quiet():
                orbax().save(temporary / ARRAYS[FORMAT], args=orbax_args().StandardSave(arrays))
            seal |= {"files": digests(temporary)}
            with naming(temporary / SEAL), open(temporary / SEAL, "w") as file:
                file.write(json.dumps(seal | {"crc": crc(seal)}, indent=1, allow_nan=False))
                file.flush()
                os.fsync(file.fileno())
            if (self._folder / str(step)).exists():
                remove_whole(self._folder / str(step))
            temporary.rename(self._folder / str(step))
        # orbax and tensorstore raise a dozen types for a full disk.
        except Exception as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise self._unwritten(step, error) from error
        self._prune()

    def _prune(self) -> None:
        """Delete all checkpoints but the last ones and the best one."""
        steps = self.steps()
        keep = {*steps[-KEPT:], *self._best_first()[:1]}
        for step in steps:
            if step not in keep:
                remove_whole(self._folder / str(step))

    def _unwritten(self, step: int, error: Exception) -> OSError:
        good = [other for other in self.steps() if other < step]
        last = f"the last good checkpoint is step {good[-1]}" if good else "there is no checkpoint yet"
        number = getattr(error, "errno", None)
        if number is None:
            numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
            number = next((n for n in numbers if os.strerror(n) in str(error)), errno.EIO)
        reason = os.strerror(number) if number != errno.EIO else f"{type(error).__name__} {str(error)[:200]}"
        return OSError(number, f"checkpoint not written: {reason}; {last}", str(self._folder / str(step)))

    # Reading.

    def _best_first(self) -> list[int]:
        """Return the steps that have the best metric, in the order of its value."""
        ranked = []
        for step in self.steps() if self._best is not None else ():
            try:
                value = self._read_seal(step)["metrics"].get(self._best, math.nan)
            except DamagedError:
                continue
            if math.isfinite(value):
                ranked.append((self._sign * value, -step))
        return [-step for _, step in sorted(ranked)]

    def _restore_first(self, candidates: Any, template: TrainState) -> TrainState | None:
        """Return the state of the first of the steps `candidates()` that is whole."""
        damaged: set[int] = set()
        for _ in range(_LOOKS):
            steps = [step for step in candidates() if step not in damaged] if is_first() else []
            if not steps:
                return None
            inode = self._inode(steps[0])
            try:
                state = self._restore(steps[0], template)
            except (DamagedError, UserError) as error:
                if inode == self._inode(steps[0]):
                    if isinstance(error, UserError):
                        raise
                    damaged.add(steps[0])
                    self._set_aside(steps[0], error)
                    continue
            else:
                # Arrays whose files vanish while they are read come as zeros.
                if inode is not None and inode == self._inode(steps[0]):
                    return state
            time.sleep(0.05)  # a running training has deleted it since
        raise UserError(
            f"checkpoints in {self._folder} are replaced faster than they can be read; allowed: a run that saves less "
            "often, or has ended"
        )

    def _restore(self, step: int, template: TrainState) -> TrainState:
        path = self._folder / str(step)
        seal = self._verified_seal(step)
        arrays = keys_to_data(template)
        there, here = seal["arrays"], shapes(arrays)
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                raise UserError(
                    f"checkpoint {path} is of another model: {name} is {there.get(name, 'not')} there, "
                    f"{here.get(name, 'not')} here; allowed: the model of this run, or another --workdir"
                )
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), arrays)
        folder = path / ARRAYS[seal["format"]]
        try:
            with quiet():
                arrays = orbax().restore(folder, args=orbax_args().StandardRestore(wanted))
        # orbax and tensorstore raise a dozen types for what they cannot read; its files are as they were written.
        except Exception as error:
            raise UserError(
                f"checkpoint {path} cannot be read: {type(error).__name__} {str(error)[:200]}; allowed: the packages "
                "that wrote it, see requirements.txt"
            ) from error
        # Arrays from the host are bound to no device: what is called with these and with new ones is compiled once.
        return data_to_keys(jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), arrays), like=template)

    def _verified_seal(self, step: int) -> dict:
        """Return the seal of a checkpoint whose files are as it says."""
        seal = self._read_seal(step)
        there = digests(self._folder / str(step))
        for name, digest in seal["files"].items():
            if there.get(name) != digest:
                raise DamagedError(f"{name} is {'changed' if name in there else 'missing'}")
        return seal

    def _read_seal(self, step: int) -> dict:
        folder = self._folder / str(step)
        try:
            seal = json.loads((folder / SEAL).read_bytes())
        except FileNotFoundError:
            raise DamagedError(f"{SEAL} is missing, so it was not finished") from None
        except (ValueError, RecursionError, OSError):
            raise DamagedError(f"{SEAL} is changed") from None
        if not isinstance(seal, dict):
            raise DamagedError(f"{SEAL} is changed")
        written = seal.get("format", 1)
        if isinstance(written, int) and written > FORMAT and seal.get("crc") == crc(seal):
            raise UserError(f"checkpoint {folder} has format {quoted(written)}; allowed: 1 to {FORMAT}, update jaxgen")
        if written == 1 and "crc" not in seal:
            seal = upgraded(seal, folder)
        elif written != FORMAT or seal.get("crc") != crc(seal):
            raise DamagedError(f"{SEAL} is changed")
        if not has_structure(seal):
            raise DamagedError(f"{SEAL} is changed")
        return seal | {"metrics": {name: float(value) for name, value in seal["metrics"].items()}}

    def _set_aside(self, step: int, damage: Exception) -> None:
        """Name a damaged checkpoint and, in the run itself, give it another name."""
        path = self._folder / str(step)
        if self._read_only:
            print(f"checkpoint {path} is damaged: {damage}; it is not used", file=sys.stderr)
            return
        aside, number = self._folder / f"damaged-{step}", 1
        while aside.exists():
            number += 1
            aside = self._folder / f"damaged-{step}-{number}"
        path.rename(aside)
        print(f"checkpoint {path} is damaged: {damage}; it is kept as {aside.name} and not used", file=sys.stderr)

    def _inode(self, step: int) -> int | None:
        try:
            return (self._folder / str(step)).stat().st_ino
        except OSError:
            return None


def _require_room(folder: Path, arrays: TrainState) -> None:
    """Raise OSError if the disk lacks room for the arrays, before a library writes half of them and prints stacks."""
    if shutil.disk_usage(folder).free < sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + _OVERHEAD:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
