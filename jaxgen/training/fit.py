"""The training loop of every family: progress, records, checkpoints, evaluation, clean stop, exact resume.

Step k is the k-th update, k = 1 ... steps; it uses the examples `order.indices(k - 1)`. Metrics of step k are fetched
after step k + 1 was dispatched, so the host never holds the device up.
"""

import contextlib
import dataclasses
import math
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxgen.errors import UserError
from jaxgen.runs.processes import end_soon, is_first, lost, several
from jaxgen.runs.run_folder import RunFolder
from jaxgen.runs.streams import progress
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.parallel import (
    ParallelStep,
    any_process,
    replicate_data,
    replicate_state,
    shard_index,
    tree_from_first,
    unreplicate_state,
)
from jaxgen.training.same_data import require_same_data
from jaxgen.training.state import TrainState
from jaxgen.training.step import Decay, Metrics

Hook = Callable[[int, TrainState], dict[str, float]]


class NonFiniteError(FloatingPointError):
    """A loss, gradient norm or parameter is nan or infinite."""


@runtime_checkable
class Order(Protocol):
    """Which examples a step uses; `indices(step)` are those of this process."""

    def indices(self, step: int) -> Int[np.ndarray, " batch"]: ...


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """When `fit` does what, in steps. `best` names the evaluation metric whose best checkpoint is kept, by `best_mode`.

    Averages of the metrics are logged every `log_every`, hooks run every `eval_every`, checkpoints are saved every
    `checkpoint_every`; all three also happen after the last step. `work` names amounts done per step, over all devices,
    which are logged as NAME_per_s beside images_per_s. `ema_decay` is that of the moving average of the parameters, for
    a state made with ema=True.
    """

    steps: int
    log_every: int = 100
    eval_every: int = 1000
    checkpoint_every: int = 1000
    best: str | None = None
    best_mode: str = "min"
    work: Mapping[str, float] = dataclasses.field(default_factory=dict)
    ema_decay: Decay | None = None

    def __post_init__(self):
        for name in ("steps", "log_every", "eval_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; allowed: an integer, 1 or more")
        # Otherwise a checkpoint would be judged by the metrics of other parameters, or never.
        if self.best is not None and self.checkpoint_every % self.eval_every:
            raise UserError(
                f"checkpoint_every is {self.checkpoint_every}; allowed with best={self.best!r}: a multiple of "
                f"eval_every={self.eval_every}"
            )

    def due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.steps


def fit(
    state: TrainState,
    train_step: ParallelStep,
    data: dict[str, Array | np.ndarray],
    order: Order,
    run: RunFolder,
    options: FitOptions,
    hooks: Sequence[Hook] = (),
) -> TrainState:
    """Train to `options.steps` from the last checkpoint of `run`, or from `state` if there is none.

    SIGTERM and SIGINT let the step end, save, say how to go on and exit with code 0. With several processes all of them
    call it; a signal to one stops them all, a step later.

    Args:
        state: plain state of `create`; also the template of what is restored.
        train_step: of `parallel_step`, on all devices.
        data: arrays (N, ...), copied to every device once.
        order: `order.indices(k)` are the int32 (B,) examples of update k, from 0.
        run: the open run folder.
        options: when to log, evaluate and save.
        hooks: called as `hook(step, state)` with the plain state; they return metrics to log and may draw through
            `run.log`.

    Returns:
        The plain state after the last step.

    Raises:
        NonFiniteError: loss, gradient norm or parameters are not finite; the last good checkpoint stays.
        UserError: a checkpoint is damaged, the batch or carry does not divide by the number of devices, processes hold
            different data, or the run was trained on other data.
        OSError: a checkpoint cannot be written; those before it stay.
    """
    with contextlib.closing(Checkpoints(run.checkpoints, options.best, options.best_mode)) as checkpoints:
        state = tree_from_first(checkpoints.restore_latest(state) or state)
        done = int(state.step)
        require_same_data(run.path, data, trained=done > 0)
        run.log.rewind(done)
        if done >= options.steps:
            return state
        if done and is_first():
            print(f"resuming {run.path} after step {done} of {options.steps}", file=sys.stderr)
        try:
            return _train(state, train_step, data, order, run, options, hooks, checkpoints)
        except NonFiniteError as error:
            checkpoints.wait()
            steps = checkpoints.steps()
            last = "no checkpoint yet"
            if steps:
                last = f"the last good checkpoint is step {steps[-1]} in {run.checkpoints}"
            last = last if is_first() else "process 0 names the last good checkpoint"
            raise NonFiniteError(f"{error}; {last}") from None
        except Exception as error:
            if lost(error):
                end_soon()
            raise


def _train(
    state: TrainState,
    train_step: ParallelStep,
    data: dict[str, Array | np.ndarray],
    order: Order,
    run: RunFolder,
    options: FitOptions,
    hooks: Sequence[Hook],
    checkpoints: Checkpoints,
) -> TrainState:
    """`fit` from a state that is already the right one to start from."""
    first = int(state.step) + 1
    stacked = replicate_state(state)
    data = replicate_data(data)
    meter = _Meter(options.work, checkpoints.window(first - 1))
    bar = progress(options.steps, unit="step", initial=first - 1, disable=not is_first())
    with bar, _stop_requests() as received:
        stop = _Stop(received)
        for step in range(first, options.steps + 1):
            index = order.indices(step - 1)
            stacked, metrics = train_step(stacked, data, shard_index(index))
            meter.push(step, metrics, len(index))
            checkpoints.check()
            log = options.due(step, options.log_every)
            evaluate = bool(hooks) and options.due(step, options.eval_every)
            stopping = stop.asked()
            save = stopping or options.due(step, options.checkpoint_every)
            if log or evaluate or save:
                with meter.paused():
                    record = meter.averages() if log else {}
                    bar.set_postfix({name: record[name] for name in record if name == "loss"}, refresh=False)
                    state = unreplicate_state(stacked) if evaluate or save else state
                    evaluated = _evaluate(hooks, step, state) if evaluate else {}
                    if log or evaluate:
                        run.log.scalars(step, _merge(record, evaluated))
                    if save:
                        _require_finite(step, state)
                        checkpoints.save(step, state, evaluated, meter.window())
            bar.update()
            if stopping:
                checkpoints.wait()
                run.log.close()
                bar.close()
                if is_first():
                    again = shlex.join(["python", *sys.orig_argv[1:]])
                    why = received[0] if received else "a signal to another process"
                    print(f"{why}: step {step} is saved in {run.path}; to go on, run again: {again}", file=sys.stderr)
                sys.exit(0)
    return state


def _evaluate(hooks: Sequence[Hook], step: int, state: TrainState) -> dict[str, float]:
    evaluated = {}
    for hook in hooks:
        evaluated = _merge(evaluated, hook(step, state) or {})
    return evaluated


def _merge(record: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    twice = sorted(record.keys() & more.keys())
    if twice:
        raise UserError(f"metric names {', '.join(twice)} come twice at one step; allowed: one value a name")
    return {**record, **more}


def _require_finite(step: int, state: TrainState) -> None:
    """Refuse to save a broken state: a finite gradient can still end in parameters that are not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params):
        if not np.isfinite(np.asarray(leaf)).all():
            raise NonFiniteError(f"params{jax.tree_util.keystr(path)} is not finite after step {step}")


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[str]]:
    """Yield a list that the names of SIGTERM and SIGINT are added to; a second signal acts as it would without this."""
    received: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    watched = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in watched}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, frame: Any) -> None:
        received.append(signal.Signals(number).name)
        restore()

    for number in watched:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()


class _Stop:
    """Whether to stop after this step: of several processes all must, at the same one, when any received a signal."""

    def __init__(self, received: list[str]):
        self._received = received
        self._any = any_process() if several() else None
        self._pending: Array | bool = False

    def asked(self) -> bool:
        """Call it every step. Of several processes the answer is that of the step before, so as not to wait for it."""
        if self._any is None:
            return bool(self._received)
        before, self._pending = self._pending, self._any(bool(self._received))
        return bool(before)


class _Meter:
    """Sums of the metrics since the last record, fetched one step late, and the speed without pauses.

    Args:
        work: amounts done per step, by name.
        window: what `window()` was at the step that the run resumes after, so that its next record averages what that
            of an uninterrupted run does.
    """

    def __init__(self, work: Mapping[str, float], window: Mapping[str, Any]):
        self._work = work
        self._pending: tuple[int, Metrics] | None = None
        self._sums = {name: float(total) for name, total in window.get("sums", {}).items()}
        self._count = int(window.get("count", 0))
        self._images = 0
        self._timed = 0
        self._seconds = 0.0
        self._clock: float | None = None

    def push(self, step: int, metrics: Metrics, images: int) -> None:
        self.fetch()
        self._pending = (step, metrics)
        if self._clock is None:
            # The first step compiles; its time says nothing about the speed.
            self.fetch()
            self._clock = time.perf_counter()
        else:
            self._images += images
            self._timed += 1

    def fetch(self) -> None:
        """Take in the pending metrics, waiting for their step. NonFiniteError if the loss or the gradient norm is."""
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        for name, value in jax.device_get(metrics).items():
            if name in ("loss", "grad_norm") and not math.isfinite(value):
                raise NonFiniteError(f"{name} is {float(value)} at step {step}")
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1

    def window(self) -> dict[str, Any]:
        """Return the sums under way, to be saved; call it paused."""
        return {"count": self._count, "sums": dict(self._sums)}

    def averages(self) -> dict[str, float]:
        """Return the means since the last call, and the speeds once there are two steps or more; call it paused."""
        means = {name: total / self._count for name, total in self._sums.items()}
        if self._images:
            means["images_per_s"] = self._images / self._seconds
            means |= {f"{name}_per_s": amount * self._timed / self._seconds for name, amount in self._work.items()}
        self._sums, self._count, self._images, self._timed, self._seconds = {}, 0, 0, 0, 0.0
        return means

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Wait for the pending step, then keep the block out of the speed."""
        self.fetch()
        self._seconds += time.perf_counter() - self._clock
        yield
        self._clock = time.perf_counter()
