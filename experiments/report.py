"""Build experiments/RESULTS.md from experiments/results/*.json.

python -m experiments.report            write the file
python -m experiments.report --check    exit with code 1 if the file is not what would be written
"""

import json
import sys
from pathlib import Path

from absl import flags

from jaxgen.training import atomic_write

HERE = Path(__file__).parent
HEAD = """# Results

Written by `python -m experiments.report` from `experiments/results/*.json`; do not edit by hand.
"""
COLUMNS = ("what", "number", "target", "note", "command", "seed", "device", "wall time")


def build(folder: Path) -> str:
    """RESULTS.md as text: a section a family, a table row a number. ValueError naming a record that lacks a field."""
    families: dict[str, list[str]] = {}
    versions: dict[str, None] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        try:
            families.setdefault(record["family"], []).extend(_rows(record))
            versions[", ".join(f"{name} {version}" for name, version in record["versions"].items())] = None
        except KeyError as error:
            raise ValueError(f"{path.name} has no field {error}; allowed: what training.write_record writes") from error
    if not families:
        return HEAD + "\nNo results yet.\n"
    parts = [HEAD]
    for family, rows in sorted(families.items()):
        parts.append(f"## {family}\n\n{_line(COLUMNS)}\n{_line(['---'] * len(COLUMNS))}\n" + "\n".join(rows) + "\n")
    parts.append("## Versions\n\n" + "\n".join(f"- {line}" for line in versions) + "\n")
    return "\n".join(parts)


def _rows(record: dict) -> list[str]:
    """The table rows of one record, the shared columns written once."""
    shared = (f"`{record['command']}`", record["seed"], record["device"], f"{record['wall_time_s']:.0f} s")
    lines = []
    for number, row in enumerate(record["rows"]):
        what = f"{record['title']}: {row['quantity']}"
        value = f"{row['value']:.4g}" if isinstance(row["value"], float) else row["value"]
        ends = shared if number == 0 else ("same",) * len(shared)
        lines.append(_line([what, f"{value} {row['unit']}".strip(), row["target"], row["note"], *ends]))
    return lines


def _line(cells: list | tuple) -> str:
    texts = ("" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return "| " + " | ".join(texts) + " |"


def main(argv: list[str]) -> int:
    """Write or check the file; the exit code."""
    flag_values = flags.FlagValues()
    flags.DEFINE_boolean("check", False, "only compare", flag_values=flag_values)
    flags.DEFINE_string("folder", str(HERE), "holds results/ and RESULTS.md", flag_values=flag_values)
    try:
        flag_values(argv)
        target = Path(flag_values["folder"].value) / "RESULTS.md"
        text = build(target.parent / "results")
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
