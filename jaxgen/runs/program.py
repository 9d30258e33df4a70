"""The whole of an experiment script: flags to a Config, the processes of a run, errors in one line."""

import contextlib
import dataclasses
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxgen.errors import UserError
from jaxgen.runs import processes

Run = Callable[[Any, Path], None]
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def main(config_type: type, run: Run, argv: Sequence[str] | None = None, *, distributed: bool = False) -> None:
    """Read flags, then `run(config, workdir)`.

    Flags live in a FlagValues of their own, so two experiments in one process cannot collide. Bad input, on the
    command line or found by jaxgen later (UserError), ends the program with one line on stderr and exit code 2; so does
    an OSError of a named path. Any other error is a bug and keeps its traceback.

    With `distributed`, for programs that train through `fit`, several processes can do one run: each is started with
    --coordinator_address, --num_processes and --process_id. These are no part of the Config: a run goes on with another
    number of processes.

    Args:
        config_type: a frozen dataclass whose fields are declared by `option`.
        run: called with the Config and the run folder's path.
        argv: the command line, program name first (default sys.argv).
        distributed: whether to offer those three flags.

    Raises:
        SystemExit: code 2 on bad input.
    """
    from absl import flags  # here, so that the library does without it

    from jaxgen.runs.flags import from_flags

    program = sys.modules["__main__"]
    name = program.__spec__.name.rpartition(".")[2] if program.__spec__ else Path(sys.argv[0]).stem
    flag_values = _flag_values(config_type, name, distributed)
    try:
        extra = flag_values(list(sys.argv if argv is None else argv))[1:]
        if flag_values["help"].value or flag_values["helpfull"].value:
            print((program.__doc__ or name).strip() + "\n" + flag_values.get_help())
            return
        if extra:
            raise UserError(f"unexpected arguments: {' '.join(extra)}; allowed: --name=value flags, see --help")
        config, workdir = from_flags(config_type, flag_values), Path(flag_values["workdir"].value)
        if distributed:
            given = ("coordinator_address", "num_processes", "process_id")
            processes.join(*(flag_values[flag].value for flag in given))
            run = _together(run, name)
        run(config, workdir)
    except Exception as error:
        named = isinstance(error, OSError) and error.filename is not None
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            # At once: libraries with something left to write would only add their own tracebacks.
            _end(name, f"{error}; make room, and the same command again goes on from the last checkpoint", at_once=True)
        if named or isinstance(error, (flags.Error, UserError, FloatingPointError)):
            _end(name, " ".join(str(error).split()))
        if not jax.distributed.is_initialized():
            raise
        if processes.lost(error):
            _end(name, f"process {jax.process_index()} ends, for another one is gone: {str(error).splitlines()[0]}")
        traceback.print_exc()
        _end(name, f"process {jax.process_index()} ends, and with it the others")


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


def _end(name: str, message: str, at_once: bool = False) -> None:
    """One line on stderr and exit code 2."""
    print(f"{name}: {message}", file=sys.stderr, flush=True)
    # With other processes too: an orderly exit would first wait for them, and they for this one.
    if at_once or jax.distributed.is_initialized():
        sys.stdout.flush()
        os._exit(2)
    sys.exit(2)
