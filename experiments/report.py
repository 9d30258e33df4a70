"""Build experiments/RESULTS.md from experiments/results/*.json.

python -m experiments.report            write the file
python -m experiments.report --check    exit with code 1 if the file is not what would be written

A family is a section, a title a table; records of one title, which differ by seed, share it. `side_by_side.json` says
which numbers of which records are compared, and which of our numbers answers what the sources claimed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.side_by_side import line, sections
from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.runs import atomic_write

HERE = Path(__file__).parent
HEAD = """# Results

Written by `python -m experiments.report` from `experiments/results/*.json`; do not edit by hand. Several numbers in a
cell are those of several seeds.
"""
FIELDS = ("family", "title", "rows", "command", "seed", "device", "versions", "wall_time_s")


def build(folder: Path) -> str:
    """RESULTS.md as text, of `folder`/results and side_by_side.json. ValueError naming what a record lacks."""
    records = {path.stem: _read(path) for path in sorted((folder / "results").glob("*.json"))}
    if not records:
        return HEAD + "\nNo results yet.\n"
    parts, comparison = [HEAD], folder / "side_by_side.json"
    if comparison.exists():
        parts += sections(runs.read_json(comparison, "the comparison", "the file of the repository"), records)
    for family in sorted({record["family"] for record in records.values()}):
        parts.append(f"## {family}\n")
        titles: dict[str, list[dict]] = {}
        for record in records.values():
            if record["family"] == family:
                titles.setdefault(record["title"], []).append(record)
        parts += [_table(title, group) for title, group in titles.items()]
    versions = {", ".join(f"{name} {version}" for name, version in one["versions"].items()) for one in records.values()}
    parts.append("## Versions\n\n" + "\n".join(f"- {names}" for names in sorted(versions)) + "\n")
    return "\n".join(parts)


def _read(path: Path) -> dict:
    record = runs.read_json(path, "the record", "what runs.write_record writes")
    missing = [field for field in FIELDS if field not in record]
    if missing:
        raise UserError(f"{path.name} has no field {missing[0]!r}; allowed: what training.write_record writes")
    return record


def _table(title: str, records: Sequence[dict]) -> str:
    """One table of records with the same title, how each was made above it."""
    lines = [f"### {title}\n"]
    for one in records:
        seed = "" if one["seed"] is None else f"seed {one['seed']}, "
        commit = f", commit {one['commit']}" if "commit" in one else ""
        lines.append(f"- `{one['command']}`: {seed}{one['device']}, {one['wall_time_s']:.0f} s{commit}")
    lines += ["", line(("what", "number", "target", "note")), line(["---"] * 4)]
    rows = [{row["quantity"]: row for row in one["rows"]} for one in records]
    for quantity in dict.fromkeys(name for of_record in rows for name in of_record):
        found = [of_record[quantity] for of_record in rows if quantity in of_record]
        numbers = [_number(row["value"]) for row in found]
        numbers = numbers[:1] if len(set(numbers)) == 1 else numbers
        unit, target = found[0]["unit"], found[0]["target"]
        notes = " / ".join(dict.fromkeys(row["note"] for row in found if row["note"]))
        lines.append(line([quantity, f"{', '.join(numbers)} {unit}".strip(), target, notes]))
    return "\n".join(lines) + "\n"


def _number(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(argv: list[str]) -> int:
    """Write or check the file; the exit code."""
    flag_values = flags.FlagValues()
    flags.DEFINE_boolean("check", False, "only compare", flag_values=flag_values)
    flags.DEFINE_string("folder", str(HERE), "holds results/ and RESULTS.md", flag_values=flag_values)
    try:
        flag_values(argv)
        target = Path(flag_values["folder"].value) / "RESULTS.md"
        text = build(target.parent)
    except (flags.Error, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if not flag_values["check"].value:
        with atomic_write(target) as temporary:
            temporary.write_text(text)
        return 0
    if not target.exists() or target.read_text() != text:
        print("RESULTS.md differs from results/*.json; run: python -m experiments.report", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
