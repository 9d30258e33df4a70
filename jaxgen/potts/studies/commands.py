"""Commands run in turn, each in a folder of its own; finished ones are skipped, and a failure stops no other."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.runs import tables


class Part(NamedTuple):
    """A command of a study.

    Attributes:
        module: name of the script, as in experiments.NAME.
        folder: its --workdir, inside the folder of the study.
        product: file in that folder that the command writes last.
        flags: flags of the command; {study} stands for the study's folder.
        quick: flags that are added with --quick.
    """

    module: str
    folder: str
    product: str
    flags: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()


def run_parts(parts: Sequence[Part], study: Path, quick: bool) -> str:
    """Run the commands whose product is missing, and write summary.md into the folder of the study.

    Returns:
        The summary: a Markdown table with one row per command.

    Raises:
        UserError: some commands failed; raised after all others have run, and names them.
    """
    rows, failed = [], []
    for number, part in enumerate(parts, 1):
        product = study / part.folder / part.product
        words = command(part, study, quick)
        print(f"[{number}/{len(parts)}] {shlex.join(['python', *words[1:]])}", flush=True)
        start = time.perf_counter()
        if product.exists():
            print("    done before", flush=True)
            seconds = "done before"
        else:
            call(words)
            seconds = f"{time.perf_counter() - start:.0f}"
        name = f"{part.module} in {part.folder}"
        failed += [] if product.exists() else [name]
        file = str(product.relative_to(study)) if product.exists() else "failed"
        rows.append({"part": name, "seconds": seconds, "file": file})
    summary = tables.markdown(rows, ["part", "seconds", "file"]) + "\n"
    with runs.atomic_write(study / "summary.md") as temporary:
        temporary.write_text(summary)
    if failed:
        print(summary, end="")
        raise UserError(f"failed: {', '.join(failed)}; the same command tries them again")
    return summary


def command(part: Part, study: Path, quick: bool) -> list[str]:
    """Return the command line of a part of the study."""
    given = [flag.format(study=study) for flag in part.flags] + list(part.quick if quick else ())
    return [sys.executable, "-m", f"experiments.{part.module}", *given, f"--workdir={study / part.folder}"]


def call(words: Sequence[str]) -> None:
    """Run a command to its end.

    SIGTERM and SIGINT are passed on to the command, so that it can save; then this process exits with code 0.
    """
    received: list[int] = []
    child = subprocess.Popen(words, start_new_session=True)

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        child.send_signal(number)

    watched = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, pass_on) for number in watched]
    try:
        child.wait()
    finally:
        for number, handler in zip(watched, before, strict=True):
            signal.signal(number, handler)
    if received:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(0)
