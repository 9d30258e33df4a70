"""Orbax as the checkpoints use it, imported only where it is used: it costs a good part of a second of start-up."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from jaxgen.runs.processes import several


def orbax() -> Any:
    """Return orbax's reader and writer, which waits for no other process."""
    import orbax.checkpoint as ocp

    options = ocp.options.MultiprocessingOptions()
    if several():
        options = ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}, barrier_sync_key_prefix="first"
        )
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=options)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep orbax from logging the stack of an error that it also raises."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def orbax_args() -> Any:
    """Return the module `args` of orbax, imported on first use."""
    import orbax.checkpoint as ocp

    return ocp.args
