"""Faults of `benchmarks.faults` that need no process of their own: damaged files, and NaN in loss or gradient."""

import contextlib
import dataclasses
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import data, runs, training
from jaxgen.runs import seed_option

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "a bit flipped": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "removed": lambda content: None,
}


@dataclasses.dataclass(frozen=True)
class NanConfig:
    """The config of the run whose loss or gradient becomes NaN."""

    seed: int = seed_option("seed", group="run")


def row(fault: str, command: str, tried: int, survived: int, note: str) -> dict:
    """Return a row of the table."""
    counts = {"tried": tried, "survived": int(survived), "lost": tried - int(survived)}
    return {"fault": fault, "command": command} | counts | {"note": note}


def checkpoint_row(finished: Path, folder: Path, command: str) -> dict:
    """Damage every file of every checkpoint in turn."""
    source = finished / "checkpoints"
    steps = sorted(int(path.name) for path in source.iterdir() if path.name.isdecimal())
    survived, tried = 0, 0
    for step in steps:
        good = [other for other in steps if other != step]
        files = [path for path in sorted((source / str(step)).rglob("*")) if path.is_file() and path.stat().st_size]
        for file in files:
            for damage in DAMAGES.values():
                shutil.copytree(source, folder)
                damaged(folder / file.relative_to(source), damage(file.read_bytes()))
                tried += 1
                said = io.StringIO()
                with contextlib.redirect_stderr(said):
                    checkpoints = training.Checkpoints(folder)
                    named = f"{file.relative_to(source / str(step))} is" in said.getvalue()
                    survived += named and checkpoints.steps() == good and (folder / f"damaged-{step}").exists()
                    checkpoints.close()
                shutil.rmtree(folder)
    return row(
        "checkpoint file " + ", ".join(DAMAGES), command, tried, survived, "named, set aside, and another one used"
    )


def damaged(file: Path, content: bytes | None) -> None:
    """Replace a file by the content of a damage; None removes it."""
    file.unlink()
    if content is not None:
        file.write_bytes(content)


def data_row(folder: Path) -> dict:
    """Damage every file of a dataset in turn."""
    source = data.datasets.SOURCES["mnist"].directories[0]
    shutil.copytree(source, folder)
    survived, tried = 0, 0
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        for damage in DAMAGES.values():
            damaged(file, damage(content))
            tried += 1
            try:
                data.load("mnist", data_dir=folder)
            except (ValueError, FileNotFoundError) as error:
                survived += file.name in str(error)
            file.write_bytes(content)
    return row("data file " + ", ".join(DAMAGES), "", tried, survived, "named, with what to do")


def nan_row(folder: Path) -> dict:
    """Make the loss, or the gradient, NaN at step 25; the checkpoint of step 20 must stay."""
    survived = 0
    for what in ("loss", "grad_norm"):
        state, error = poisoned_run(folder / what, what)
        checkpoints = training.Checkpoints(folder / what / "checkpoints", read_only=True)
        restored = checkpoints.restore_latest(state)
        checkpoints.close()
        fine = restored is not None and int(restored.step) == 20 and bool(jnp.isfinite(restored.params["w"]).all())
        survived += fine and f"{what} is nan at step 25; the last good checkpoint is step 20" in error
    return row(
        "loss or gradient not a number", "", 2, survived, "stopped by step and name, the last good checkpoint kept"
    )


def poisoned_run(folder: Path, what: str) -> tuple[training.TrainState, str]:
    """Return the initial state and the error of least squares whose loss or gradient is NaN at step 25."""
    tx = optax.sgd(0.1)
    state = training.create(jax.random.key(0), {"w": jnp.ones(4)}, tx)
    poison = jax.random.key_data(jax.random.fold_in(state.key, 24))

    def grad_fn(params, carry, key, batch):
        bad = jnp.where((jax.random.key_data(key) == poison).all(), jnp.nan, 0.0)
        loss, grads = jax.value_and_grad(lambda w: jnp.mean((w - batch["x"]) ** 2))(params["w"])
        return (
            ({"w": grads}, carry, {"loss": loss + bad})
            if what == "loss"
            else ({"w": grads + bad}, carry, {"loss": loss})
        )

    order = data.EpochOrder(jax.random.key(1), 8, 8)
    options = training.FitOptions(40, 10, 10, 10)
    with runs.RunFolder.open(folder, NanConfig()) as run:
        try:
            training.fit(state, training.parallel_step(grad_fn, tx), {"x": np.zeros((8, 4))}, order, run, options)
        except training.NonFiniteError as error:
            return state, str(error)
    return state, ""
