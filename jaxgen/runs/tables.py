"""Tables of rows: on the terminal, as JSON, and in a marked place of a Markdown file."""

import json
from collections.abc import Sequence
from pathlib import Path

from jaxgen.errors import UserError
from jaxgen.runs import atomic_write


def cell(value: object) -> str:
    """A value as table text: three significant digits, more for large numbers, nothing for None."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def aligned(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """Rows as plain text in columns of equal width."""
    lines = [list(columns), *([cell(row.get(c)) for c in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def markdown(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """Rows as a Markdown table."""
    lines = [columns, ["---"] * len(columns), *([cell(row.get(c)) for c in columns] for row in rows)]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def write_json(path: str | Path, record: dict) -> None:
    """Write a benchmark's record whole or not at all; its folder is made if it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")


def write_between(path: str | Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- table: name -->` and `<!-- end: name -->`; ValueError if they are not there."""
    begin, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
    whole = Path(path).read_text()
    head, found, rest = whole.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise UserError(f"{path}: lacks {begin} or {end} after it")
    with atomic_write(path) as temporary:
        temporary.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
