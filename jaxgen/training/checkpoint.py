"""Checkpoints of a TrainState through orbax: asynchronous, the last two and the best one kept, nothing pickled.

Layout: `checkpoints/<step>/`, with a `seal.json` there that gives the CRC-32 of every file and the shape of every
array, so that damage and another model are found before anything is read. The state is saved un-stacked: a run goes on
with another number of devices or processes.

Of several processes only process 0 reads and writes; in the others a Checkpoints is empty and saves nothing.
"""

import concurrent.futures
import json
import math
import zlib
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.errors import UserError
from jaxgen.runs.atomic import PREFIX, atomic_write
from jaxgen.runs.processes import is_first, several
from jaxgen.training.state import TrainState, data_to_keys, keys_to_data

KEPT = 2
SEAL = "seal.json"


class Checkpoints:
    """The checkpoint folder of one run.

    Args:
        folder: made if missing.
        best: the evaluation metric whose best checkpoint is also kept; None keeps only the last ones.
        mode: "min" or "max", what best means.
        read_only: for a reader beside a run that may still be writing; nothing is made, cleaned up or saved.

    Raises:
        ValueError: another mode; a damaged checkpoint in the folder, named with the way to go on.
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
        self._worst = math.inf if mode == "min" else -math.inf
        self._manager = None
        self._sealer = concurrent.futures.ThreadPoolExecutor(1)
        self._sealing = self._sealer.submit(lambda: None)
        if not is_first():
            return
        # orbax costs a good part of a second of start-up, and importing jaxgen.training should not.
        import orbax.checkpoint as ocp
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

        self._args = ocp.args
        policies = [LatestN(KEPT)]
        if best is not None:
            policies.append(BestN(get_metric_fn=self._rank, reverse=mode == "min", n=1))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(policies),
            best_fn=None if best is None else self._rank,
            best_mode=mode,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=False,
            multiprocessing_options=_alone() if several() else ocp.options.MultiprocessingOptions(),
        )
        # Every step is checked here because orbax reads all their metrics at once.
        for step in self.steps():
            self._verify(step)
        if not read_only:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None = None) -> None:
        """Start saving a plain state as `step`; `metrics` are the evaluation at this very step, if there was one.

        OSError if it, or the one before it, cannot be written: the message names the last good one.
        """
        self.wait()
        if self._manager is None:
            return
        # Without a best metric orbax takes no metrics; with one it warns unless it gets some.
        kept = None if self._best is None else {name: float(value) for name, value in (metrics or {}).items()}
        arrays = keys_to_data(state)
        if several():
            # orbax takes an array on one device for a part that the other processes hold the rest of.
            arrays = jax.tree.map(np.asarray, arrays)
        try:
            self._manager.save(step, args=self._args.StandardSave(arrays), metrics=kept)
        except Exception as error:
            raise self._unwritten(step, error) from error
        self._sealing = self._sealer.submit(self._seal, step, _shapes(arrays))

    def steps(self) -> list[int]:
        """The steps kept, in order."""
        folders = self._folder.iterdir() if self._folder.exists() else ()
        return sorted(int(path.name) for path in folders if path.name.isdecimal())

    def restore_latest(self, template: TrainState) -> TrainState | None:
        """The last state saved, in the shapes and dtypes of `template`, on the first device; None if there is none.

        Raises:
            ValueError: the checkpoint is of another model or cannot be read; names its folder and the way to go on.
        """
        steps = self.steps()
        return self._restore(steps[-1], template) if steps else None

    def restore_best(self, template: TrainState) -> TrainState | None:
        """The state with the best evaluation metric; None if no checkpoint was evaluated. Errors as above."""
        step = None if self._best is None else self._manager.best_step()
        if step is None or self._rank(self._manager.metrics(step) or {}) == self._worst:
            return None
        return self._restore(step, template)

    def wait(self) -> None:
        """Return when every save is on disk."""
        self._sealing.result()

    def close(self) -> None:
        """Wait, then release the folder."""
        self.wait()
        self._sealer.shutdown()
        if self._manager is not None:
            self._manager.close()

    def _rank(self, metrics: dict[str, float]) -> float:
        value = metrics.get(self._best, self._worst)
        return self._worst if math.isnan(value) else value

    def _seal(self, step: int, shapes: dict[str, str]) -> None:
        try:
            self._manager.wait_until_finished()
            seal = {"files": _digests(self._folder / str(step)), "arrays": shapes}
            with atomic_write(self._folder / str(step) / SEAL) as temporary:
                temporary.write_text(json.dumps(seal, indent=1))
        # orbax and tensorstore raise a dozen types for a full disk.
        except Exception as error:
            raise self._unwritten(step, error) from error

    def _read_seal(self, step: int) -> dict[str, dict]:
        """The seal of a checkpoint. A run killed just before sealing leaves none; orbax then finds what is wrong."""
        path = self._folder / str(step) / SEAL
        if not path.exists():
            return {"files": {}, "arrays": {}}
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise self._refusal(step, f"is damaged: {SEAL} is changed") from error

    def _verify(self, step: int) -> None:
        found = _digests(self._folder / str(step))
        for name, digest in self._read_seal(step)["files"].items():
            if found.get(name) != digest:
                raise self._refusal(step, f"is damaged: {name} is {'changed' if name in found else 'missing'}")

    def _restore(self, step: int, template: TrainState) -> TrainState:
        arrays = keys_to_data(template)
        there, here = self._read_seal(step)["arrays"], _shapes(arrays)
        for name in sorted(there.keys() | here.keys()) if there else ():
            if there.get(name) != here.get(name):
                what = f"is of another model: {name} is {there.get(name, 'not')} there, {here.get(name, 'not')} here"
                raise self._refusal(step, what)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), arrays)
        try:
            arrays = self._manager.restore(step, args=self._args.StandardRestore(wanted))
        # orbax and tensorstore raise a dozen types for what they cannot read; the way on is always the same.
        except Exception as error:
            raise self._refusal(step, f"is damaged: {type(error).__name__} {str(error)[:200]}") from error
        # Arrays from the host are bound to no device: what is called with these and with new ones is compiled once.
        return data_to_keys(jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), arrays), like=template)

    def _unwritten(self, step: int, error: Exception) -> OSError:
        good = [other for other in self.steps() if other < step]
        last = f"the last good checkpoint is step {good[-1]}" if good else "there is no checkpoint yet"
        return OSError(
            f"checkpoint {self._folder / str(step)} cannot be written: {type(error).__name__} {str(error)[:200]}; "
            f"{last}; make room, and the same command again goes on from there"
        )

    def _refusal(self, step: int, what: str) -> UserError:
        earlier = [other for other in self.steps() if other < step]
        way = f"resume from step {earlier[-1]}" if earlier else "start from step 0"
        if step != self.steps()[-1]:
            way = "go on without it"
        return UserError(f"checkpoint {self._folder / str(step)} {what}; remove that folder to {way}")


def _alone() -> Any:
    """orbax's options for a manager that only process 0 has: it then waits for no other."""
    import orbax.checkpoint as ocp

    return ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="first")


def _digests(folder: Path) -> dict[str, int]:
    """CRC-32 of every file under a checkpoint folder, by relative path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(PREFIX)]
    return {str(path.relative_to(folder)): zlib.crc32(path.read_bytes()) for path in files if path.name != SEAL}


def _shapes(arrays: TrainState) -> dict[str, str]:
    """The type and shape of every leaf, by its path in the state."""
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    return {jax.tree_util.keystr(path).lstrip("."): f"{leaf.dtype}{leaf.shape}" for path, leaf in leaves}
