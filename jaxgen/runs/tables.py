"""Tables of rows: as plain text, as Markdown, as JSON, and in a marked place of a Markdown file."""

import json
from collections.abc import Sequence
from pathlib import Path

from jaxgen.errors import UserError
from jaxgen.runs import atomic_write, expanded


def cell(value: object) -> str:
    """Return a value as table text: a float to three significant digits (whole from 1,000 on), None as nothing."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def aligned(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """Return the rows as plain text, every column as wide as its longest cell."""
    lines = [list(columns), *([cell(row.get(c)) for c in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def markdown(rows: Sequence[dict], columns: Sequence[str]) -> str:
    """Return the rows as a Markdown table; a vertical bar in a cell is escaped, a line break becomes a space."""
    lines = [columns, ["---"] * len(columns), *([cell(row.get(c)) for c in columns] for row in rows)]
    escaped = ([text.replace("|", "\\|").replace("\n", " ") for text in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


def write_json(path: str | Path, record: dict) -> None:
    """Write a benchmark's record as JSON, whole or not at all; create its folder where it is missing."""
    path = expanded(path, "json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")


def write_between(path: str | Path, name: str, text: str) -> None:
    """Replace the text between `<!-- table: name -->` and `<!-- end: name -->`; UserError where either is missing."""
    begin, end = f"<!-- table: {name} -->", f"<!-- end: {name} -->"
    head, opened, rest = Path(path).read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not opened or not closed:
        raise UserError(f"{path}: lacks {begin} or {end} after it")
    with atomic_write(path) as temporary:
        temporary.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
