"""A task is a model with its data, ready to be trained; every family has one, and one function runs them all."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jaxtyping import Array

from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.fit import FitOptions, Hook, Order, fit
from jaxgen.training.parallel import ParallelStep, parallel_step, require_divisible, shard_index
from jaxgen.training.state import TrainState
from jaxgen.training.step import GradFn, StepFn, make_train_step


@runtime_checkable
class Task(Protocol):
    """What a family supplies to be trained in a run folder, in the order in which it is used."""

    def initial_state(self) -> tuple[TrainState, optax.GradientTransformation]:
        """Return the state before the first step, and the optimiser."""
        ...

    def grad_fn(self) -> GradFn:
        """Return the gradient function, `(params, carry, key, batch) -> (grads, carry, metrics)`."""
        ...

    def arrays(self) -> dict[str, Array | np.ndarray]:
        """Return the arrays (N, ...) that batches are gathered from."""
        ...

    def order(self) -> Order:
        """Return which examples each step uses."""
        ...

    def fit_options(self) -> FitOptions:
        """Return when `fit` logs, evaluates and saves."""
        ...

    def hooks(self, log: runs.Logger) -> Sequence[Hook]:
        """Return what is evaluated on the way."""
        ...

    def report(self, state: TrainState, folder: runs.RunFolder) -> runs.Report:
        """Draw and measure what was trained; figures and samples go into the run folder."""
        ...


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What `train` starts from, checked."""

    state: TrainState
    step: ParallelStep
    arrays: dict[str, Array | np.ndarray]
    order: Order
    options: FitOptions


def prepared(task: Task) -> Prepared:
    """Build what a task is trained with and check that it fits together, before a run folder is opened.

    Raises:
        UserError: options that contradict each other, a batch or carry that does not divide by the number of devices,
            or what the gradient function refuses when it is traced, such as an engine that this machine lacks.
    """
    options = task.fit_options()
    order = task.order()
    index = shard_index(order.indices(0))
    state, tx = task.initial_state()
    require_divisible(state.carry)
    arrays, grad_fn = task.arrays(), task.grad_fn()
    _trace(make_train_step(grad_fn, tx, ema_decay=options.ema_decay), state, arrays, index.shape[1])
    return Prepared(state, parallel_step(grad_fn, tx, options.ema_decay), arrays, order, options)


def check(task: Task) -> None:
    """Raise the UserError that `prepared` raises; for commands that train several tasks, each to be checked first."""
    prepared(task)


def _trace(step: StepFn, state: TrainState, arrays: dict[str, Array | np.ndarray], local: int) -> None:
    """Trace the step of one device, which computes nothing."""

    def shapes(array: Array | np.ndarray, length: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((length, *array.shape[1:]), array.dtype)

    batch = {name: shapes(array, local) for name, array in arrays.items()}
    batch["position"] = jax.ShapeDtypeStruct((local,), np.uint32)
    devices = jax.device_count()
    carry = jax.tree.map(lambda x: shapes(x, x.shape[0] // devices), state.carry)
    jax.eval_shape(step, state.replace(carry=carry), batch)


def train(task: Task, folder: runs.RunFolder, start: Prepared | None = None) -> TrainState:
    """Train a task to its end from where the run folder is; return the plain state after the last step.

    Args:
        task: the task.
        folder: the open run folder.
        start: what `prepared(task)` returned, if it was called before.
    """
    start = start or prepared(task)
    hooks = task.hooks(folder.log)
    return fit(start.state, start.step, start.arrays, start.order, folder, start.options, hooks)


def restore_state(
    workdir: str | Path, template: TrainState, made_by: str, which: str = "last", best: tuple[str, str] | None = None
) -> TrainState:
    """Return the state of a checkpoint of a run folder, which may still be written to by its run.

    Args:
        workdir: the run folder.
        template: a state with the shapes and dtypes of the one that was saved, such as the initial state.
        made_by: the program that trains such runs, such as "experiments.ebm_cd", for the advice in the error.
        which: "last", or "best" by the metric `best`.
        best: name of the metric and "min" or "max", as in the run's `FitOptions`.

    Raises:
        UserError: the folder holds no such checkpoint, or what `Checkpoints.restore_latest` refuses.
    """
    checkpoints = Checkpoints(Path(workdir) / "checkpoints", *(best or ()), read_only=True)
    state = checkpoints.restore_best(template) if which == "best" else checkpoints.restore_latest(template)
    if state is None:
        raise UserError(
            f"workdir is {workdir}, which holds no checkpoint yet; allowed: a run that saved one. Train on: "
            f"python -m {made_by} --flagfile={Path(workdir) / 'flags.txt'} --workdir={workdir}"
        )
    return state


def run_task(load: Any, config: Any, workdir: str | Path) -> None:
    """Load the task of a config, train it in its run folder, draw, measure, record and print.

    Args:
        load: `load(config)` returns the Task; it reads the data and refuses what does not fit.
        config: the run's Config.
        workdir: the run folder.
    """

    def prepare(config: Any) -> runs.Job:
        task = load(config)
        start = prepared(task)

        def job(folder: runs.RunFolder) -> runs.Report:
            folder.log.text(0, "config", f"```\n{runs.to_flagfile(config)}```")
            return task.report(train(task, folder, start), folder)

        return job

    runs.execute(config, workdir, prepare)
