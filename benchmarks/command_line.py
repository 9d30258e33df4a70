"""The command line that the speed benchmarks share: common flags, --help, errors, and the table in README.md."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from benchmarks import timing
from jaxgen.runs.tables import markdown, write_between

README = Path(__file__).with_name("README.md")


def define_flags(quick: str) -> flags.FlagValues:
    """Return the common flags, in a FlagValues of their own; `quick` is the help text of --quick."""
    values = flags.FlagValues()
    where = {"flag_values": values}
    flags.DEFINE_integer("repeats", timing.LEAST_REPEATS, "rounds", lower_bound=timing.LEAST_REPEATS, **where)
    flags.DEFINE_boolean("quick", False, quick, **where)
    flags.DEFINE_string("json", None, "write everything measured to this file", **where)
    flags.DEFINE_boolean("write", False, "put the tables into benchmarks/README.md", **where)
    flags.DEFINE_boolean("help", False, "show this help", short_name="?", **where)
    return values


def run(
    name: str,
    description: str,
    values: flags.FlagValues,
    argv: Sequence[str],
    measure: Callable[[], bool],
    check: Callable[[], None] = lambda: None,
) -> int:
    """Parse the flags, then measure.

    Args:
        name: of the benchmark; stands before its error messages.
        description: the first part of --help.
        values: the flags, of `define_flags` and of the benchmark itself.
        argv: the command line.
        measure: measures, prints and writes; returns whether every law was right.
        check: raises flags.Error for values that do not go together.

    Returns:
        The exit code: 0; 1 if a law was wrong; 2 for flags that are not allowed.
    """
    try:
        extra = values(list(argv))[1:]
        if extra:
            raise flags.Error(f"unexpected arguments: {' '.join(extra)}; allowed: --name=value, see --help")
        check()
    except flags.Error as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    if values["help"].value:
        print(f"{description.strip()}\n{values.get_help()}")
        return 0
    return 0 if measure() else 1


def write_table(name: str, record: dict, rows: Sequence[dict], columns: Sequence[str], packages: Sequence[str]) -> None:
    """Put a table into README.md, below the command, the device and the versions of `packages`."""
    versions = ", ".join(f"{package} {record['versions'][package]}" for package in packages)
    head = f"`{record['command']}` on {record['device']}, {record['cores']} cores, load {record['load_at_start']}"
    text = f"{head} at the start; {versions}, XLA_FLAGS={record['xla_flags']}.\n\n{markdown(rows, columns)}"
    write_between(README, name, text)
