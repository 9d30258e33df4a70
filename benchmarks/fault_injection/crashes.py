"""A kill before every single file operation of a run, at moments that random kills seldom hit.

The operations (open for writing, mkdir, rename, unlink, rmdir) are counted in one whole run. Then the run is repeated
once per operation: that operation and all later ones fail with an exception that nothing catches, which leaves the disk
as a kill would. Each time the next start must end with the numbers of the whole run and leave no temporary files.
"""

import builtins
import contextlib
import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.fault_injection.damage import row
from jaxgen import data, runs, training
from jaxgen.runs import seed_option

OPERATIONS = ("mkdir", "rename", "replace", "unlink", "remove", "rmdir")
STEPS = 12


class Crash(BaseException):
    """The process is gone."""


@dataclasses.dataclass(frozen=True)
class CrashConfig:
    """The config of the run that is killed."""

    seed: int = seed_option("seed")


@contextlib.contextmanager
def crash_before(number: float) -> Iterator[list[int]]:
    """Let the file operation of this number, from 0, and all after it fail; the list holds how many there were."""
    count = [0]

    def counted(operation: Callable, *arguments, **options):
        count[0] += 1
        if count[0] > number:
            raise Crash
        return operation(*arguments, **options)

    def opened(file, mode="r", *arguments, **options):
        real = functools.partial(builtins_open, file, mode, *arguments, **options)
        return counted(real) if set(mode) & set("wax") and file != os.devnull else real()

    builtins_open = builtins.open
    with contextlib.ExitStack() as patches:
        for name in OPERATIONS:
            patches.enter_context(mock.patch.object(os, name, functools.partial(counted, getattr(os, name))))
        patches.enter_context(mock.patch.object(builtins, "open", opened))
        yield count


def small_run() -> Callable[[Path], None]:
    """Return a function that does, or resumes, a run of twelve steps in a folder; all share what is compiled."""
    tx = optax.adam(0.1)

    def grad_fn(params, carry, key, batch):
        target = batch["x"] + jax.random.normal(key)
        loss, grads = jax.value_and_grad(lambda w: jnp.mean((w - target) ** 2))(params["w"])
        return {"w": grads}, carry + grads.sum(), {"loss": loss}

    step = training.parallel_step(grad_fn, tx)
    order = data.EpochOrder(jax.random.key(1), 8, 8)
    options = training.FitOptions(STEPS, 2, 3, 3, best="size", best_mode="max")
    arrays = {"x": np.arange(8, dtype=np.float32)}

    def hook(number: int, state: training.TrainState) -> dict[str, float]:
        return {"size": float(jnp.abs(state.params["w"]).sum())}

    def run(folder: Path) -> None:
        state = training.create(jax.random.key(0), {"w": jnp.ones(8)}, tx, carry=jnp.zeros(1))
        with runs.RunFolder.open(folder, CrashConfig()) as opened:
            state = training.fit(state, step, arrays, order, opened, options, [hook])
            with runs.atomic_write(opened.path / "result.npy") as temporary:
                np.save(temporary, np.concatenate([state.params["w"], state.carry]))

    return run


def outcome(folder: Path) -> tuple:
    """Return what a run leaves: its records, its result, its checkpoints and what is unfinished."""
    records = [
        {name: value for name, value in record.items() if name != "time" and not name.endswith("_per_s")}
        for record in runs.read_metrics(folder / "metrics.jsonl")
    ]
    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    unfinished = [path.name for path in folder.rglob(".tmp-*")]
    return records, (folder / "result.npy").read_bytes(), checkpoints, unfinished


def crash_row(folder: Path, every: int = 1) -> dict:
    """Kill the small run before every file operation, or before every so many-th."""
    run = small_run()
    with crash_before(float("inf")) as count:
        run(folder / "whole")
    whole, total = outcome(folder / "whole"), count[0]
    survived, tried = 0, 0
    for number in range(0, total, every):
        broken, tried = folder / "broken", tried + 1
        with crash_before(number), contextlib.suppress(Crash):
            run(broken)
        run(broken)
        survived += outcome(broken) == whole
        shutil.rmtree(broken)
    note = f"{total} operations; records, result and checkpoints equal bit for bit, nothing left behind"
    return row("kill before a file operation", "", tried, survived, note)
