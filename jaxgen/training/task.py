"""A task is a model with its data, ready to be trained; every family has one, and one function runs them all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import optax
from jaxtyping import Array, PyTree

from jaxgen import runs
from jaxgen.training.fit import FitOptions, Hook, Order, fit
from jaxgen.training.parallel import parallel_step, shard_index
from jaxgen.training.state import TrainState
from jaxgen.training.step import GradFn


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


def train(task: Task, folder: runs.RunFolder) -> TrainState:
    """Train a task to its end from where the run folder is; return the plain state after the last step."""
    state, tx = task.initial_state()
    options = task.fit_options()
    step = parallel_step(task.grad_fn(), tx, options.ema_decay)
    return fit(state, step, task.arrays(), task.order(), folder, options, task.hooks(folder.log))


def run_task(load: Any, config: Any, workdir: str | Path) -> None:
    """Load the task of a config, train it in its run folder, draw, measure, record and print.

    Args:
        load: `load(config)` returns the Task; it reads the data and refuses what does not fit.
        config: the run's Config.
        workdir: the run folder.
    """

    def prepare(config: Any) -> runs.Job:
        task = load(config)
        check(task)

        def job(folder: runs.RunFolder) -> runs.Report:
            folder.log.text(0, "config", f"```\n{runs.to_flagfile(config)}```")
            return task.report(train(task, folder), folder)

        return job

    runs.execute(config, workdir, prepare)


def check(task: Task) -> PyTree:
    """Raise the UserError that `train` would raise, before a run folder is opened."""
    task.fit_options()
    shard_index(task.order().indices(0))
