"""A result.json: numbers with everything that is needed to get them again, and no path of the machine."""

import dataclasses
import datetime
import json
import math
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.runs.atomic import atomic_write
from jaxgen.runs.platform import device_name

PACKAGES = ("jax", "jaxlib", "flax", "optax", "thrml", "numpy")


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of a result: what, how much, of what unit, what was hoped for, and a remark."""

    quantity: str
    value: float | int | str
    unit: str = ""
    target: str = ""
    note: str = ""

    def __str__(self) -> str:
        forms = {int: "{:,}", str: "{}"}
        value = forms.get(type(self.value), "{:.5g}").format(self.value)
        target = f"({self.target})" * bool(self.target)
        return "  ".join(filter(None, (f"{self.quantity}: {value} {self.unit}".rstrip(), target, self.note)))


def write_record(
    path: str | Path, *, title: str, family: str, rows: Sequence[Row], wall_time_s: float, config: Any = None
) -> None:
    """Write the record of one experiment as JSON, in the form `experiments/report.py` reads.

    Args:
        path: the JSON file.
        title: what was done.
        family: section of the report.
        rows: the numbers.
        wall_time_s: seconds the whole program took.
        config: the run's Config, if it had one; its `seed` field, if any, becomes the record's.

    Raises:
        UserError: no rows, or a value that is not finite: what failed is written in words.
    """
    if not rows:
        raise UserError("rows is empty; allowed: one Row or more")
    for row in rows:
        if isinstance(row.value, float) and not math.isfinite(row.value):
            raise UserError(f"value of {row.quantity!r} is {row.value}; allowed: a finite number, or text that says so")
    fields = {} if config is None else dataclasses.asdict(config)
    fields = {name: _without_path(value) for name, value in fields.items()}
    record = {
        "title": title,
        "family": family,
        "rows": [dataclasses.asdict(row) for row in rows],
        "command": command_line(),
        **({} if (commit := source_commit()) is None else {"commit": commit}),
        "seed": fields.get("seed"),
        "config": fields,
        "device": device_name(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "wall_time_s": round(wall_time_s, 1),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, allow_nan=False, default=_number) + "\n")


def source_commit() -> str | None:
    """Return the commit of the source, "-dirty" added where tracked files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # A folder of packages that lies within another project's checkout is no checkout of jaxgen.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != here:
            return None
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "jaxgen", "experiments", "benchmarks")
        return git("rev-parse", "--short=12", "HEAD") + "-dirty" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> str:
    """Return this program's command line as one would type it in the repository, without --workdir."""
    spec = sys.modules["__main__"].__spec__
    program = f"-m {spec.name}" if spec else Path(sys.argv[0]).name
    words, skip = [], False
    for word in sys.argv[1:]:
        name, equals, value = word.partition("=")
        if skip or name.lstrip("-") == "workdir":
            skip = not skip and not equals
            continue
        words.append(f"{name}={_without_path(value)}" if equals else _without_path(word))
    return " ".join(["python", program, *words])


def _without_path(value: Any) -> Any:
    """Return an absolute path relative to the working directory, or its last part; anything else as it is."""
    if not isinstance(value, str) or not Path(value).is_absolute():
        return value
    path, here = Path(value), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name


def _number(value: Any) -> float | int:
    """Return a numpy or JAX scalar as a Python number."""
    return value.item()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
