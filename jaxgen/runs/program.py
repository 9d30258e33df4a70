"""The whole of an experiment script: flags to a Config, the processes of a run, errors in one line."""

import contextlib
import dataclasses
import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxgen.errors import UserError, shortened
from jaxgen.runs import processes
from jaxgen.runs.platform import require_backend
from jaxgen.runs.run_folder import checked_workdir, parsed_workdir
from jaxgen.runs.streams import safe_output

Run = Callable[[Any, Path], None]
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_LONGEST_MESSAGE = 1500


def main(config_type: type, run: Run, argv: Sequence[str] | None = None, *, distributed: bool = False) -> None:
    """Read flags, then call `run(config, workdir)`.

    Flags live in a FlagValues of their own, so two experiments in one process cannot collide. Bad input, on the
    command line or found by jaxgen later (UserError), ends the program with one line on stderr and exit code 2; so does
    an OSError of a named path. Any other error is a bug and keeps its traceback. Output that nobody takes is dropped:
    it stops no run. SIGTERM and Ctrl-C end a command in order, with exit code 130; `fit` saves first and exits with 0.

    With `distributed`, for programs that train through `fit`, several processes can do one run: each is started with
    --coordinator_address, --num_processes and --process_id. These are no part of the Config: a run goes on with another
    number of processes.

    Args:
        config_type: a frozen dataclass whose fields are declared by `option`.
        run: called with the Config and the run folder's path.
        argv: the command line, program name first (default sys.argv).
        distributed: whether to offer those flags.

    Raises:
        SystemExit: code 2 on bad input.
    """
    from jaxgen.runs.flags import from_flags  # here, so that the library does without absl

    program = sys.modules["__main__"]
    name = program.__spec__.name.rpartition(".")[2] if program.__spec__ else Path(sys.argv[0]).stem
    with safe_output(), _plain_warnings(name), _terminated() as stopped:
        try:
            flag_values = _flag_values(config_type, name, distributed)
            try:
                extra = flag_values(list(sys.argv if argv is None else argv))[1:]
            # A flag file may hold anything, and absl hands on what its reading raises.
            except (ValueError, RecursionError, OSError) as error:
                raise UserError(f"the flags cannot be read: {error}; allowed: --name=value, one per line") from error
            if flag_values["help"].value or flag_values["helpfull"].value:
                print((program.__doc__ or name).strip() + "\n" + flag_values.get_help())
                return
            if extra:
                raise UserError(f"unexpected arguments: {' '.join(extra)}; allowed: --name=value flags, see --help")
            config = from_flags(config_type, flag_values)
            given = flag_values["workdir"]
            workdir = checked_workdir(given.value) if given.present else parsed_workdir(given.value)
            if distributed:
                joining = ("coordinator_address", "num_processes", "process_id", "join_within_s", "lost_after_s")
                processes.join(*(flag_values[flag].value for flag in joining))
                run = _together(run, name)
            require_backend()
            run(config, workdir)
        except KeyboardInterrupt:
            reason = stopped[0] if stopped else "SIGINT"
            _end(name, f"stopped by {reason}; the same command again uses what was finished", code=130)
        except Exception as error:
            _report(name, error)


def _report(name: str, error: Exception) -> None:
    """End with one line for an error of the user's, the machine or another process; raise what is a bug."""
    from absl import flags

    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        place = f"{error.filename}: " if error.filename else ""
        text = f"{place}{error.strerror}; make room, and the same command again goes on from the last checkpoint"
        # At once: libraries with something left to write would only add their own tracebacks.
        _end(name, text, at_once=True)
    if isinstance(error, OSError) and error.filename is not None:
        _end(name, f"{error.filename}: {error.strerror}; allowed: a path that can be read and written there")
    if isinstance(error, (flags.Error, UserError, FloatingPointError)):
        _end(name, str(error))
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)[:1000]:
        _end(name, f"out of memory ({error}); allowed: less at once, say a smaller batch_size, chains or width")
    if not jax.distributed.is_initialized():
        raise error
    if processes.lost(error):
        _end(name, f"process {jax.process_index()} ends, for another one is gone: {str(error).splitlines()[0]}")
    traceback.print_exception(error)
    _end(name, f"process {jax.process_index()} ends, and with it the others")


@contextlib.contextmanager
def _plain_warnings(name: str) -> Iterator[None]:
    """Print a warning as one line, without a place in the source code."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"{name}: warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextlib.contextmanager
def _terminated() -> Iterator[list[str]]:
    """Let SIGTERM end the program as SIGINT does, through its `finally` blocks; the list gains the signal's name."""
    received: list[str] = []
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield received
        return

    def receive(number: int, frame: Any) -> None:
        received.append(signal.Signals(number).name)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, receive)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _flag_values(config_type: type, name: str, distributed: bool) -> Any:
    from absl import flags

    from jaxgen.runs.flags import define_flags

    flag_values = flags.FlagValues()
    define_flags(config_type, flag_values)
    where = {"flag_values": flag_values, "module_name": "run"}
    flags.DEFINE_string("workdir", f"runs/{name}", "run folder; a second start with the same folder resumes", **where)
    flags.DEFINE_boolean("help", False, "show this help", short_name="?", **where)
    flags.DEFINE_boolean("helpfull", False, "same as --help", **where)
    if distributed:
        where["module_name"] = "several processes"
        address = f"host:port on which process 0 is reached, or {processes.AUTO} under Slurm, Open MPI or on TPU pods"
        flags.DEFINE_string("coordinator_address", None, address, **where)
        flags.DEFINE_integer("num_processes", None, "processes of the run; each is started by itself", **where)
        flags.DEFINE_integer("process_id", None, "which process this is, from 0; 0 alone writes", **where)
        join = "seconds for which the processes that came first wait for the others"
        flags.DEFINE_integer("join_within_s", processes.JOIN_WITHIN_S, join, 1, 86_400, **where)
        lost = "seconds after which a process that does not answer counts as lost, and the others end"
        flags.DEFINE_integer("lost_after_s", processes.LOST_AFTER_S, lost, 10, 86_400, **where)
    return flag_values


def _together(run: Run, name: str) -> Run:
    """`run` in one of several processes: agreed on the config, and silent but for errors except in process 0."""

    def together(config: Any, workdir: Path) -> None:
        processes.require_same(
            "config", {"program": name} | {k: repr(v) for k, v in dataclasses.asdict(config).items()}
        )
        with contextlib.ExitStack() as stack:
            if not processes.is_first():
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            run(config, stack.enter_context(processes.own_workdir(workdir)))

    return together


def _end(name: str, message: str, at_once: bool = False, code: int = 2) -> None:
    """Print one line on stderr and exit, with code 2 for what the user can mend."""
    print(f"{name}: {shortened(' '.join(message.split()), _LONGEST_MESSAGE)}", file=sys.stderr, flush=True)
    # With other processes too: an orderly exit would first wait for them, and they for this one.
    if at_once or jax.distributed.is_initialized():
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
