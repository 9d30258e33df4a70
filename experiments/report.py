"""Build experiments/RESULTS.md from experiments/results/*.json.

python -m experiments.report            write the file
python -m experiments.report --check    exit with code 1 if the file is not what would be written

The file has contents, comparisons over all families and one section per family: its headline table, then one table per
title, with its figures. Records of one title differ by seed and share a table. `side_by_side.json` says what is
compared, which numbers are headlines, and what the files of figures/ show.
"""

import re
import sys
from collections.abc import Collection, Sequence
from fnmatch import fnmatch
from pathlib import Path

from absl import flags

from experiments import side_by_side
from experiments.side_by_side import number
from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.runs import atomic_write
from jaxgen.runs.tables import markdown

HERE = Path(__file__).parent
HEAD = """# Results

Written by `python -m experiments.report` from `experiments/results/*.json`; do not edit by hand. Where several seeds
were run, a cell holds their mean and, in parentheses, the lowest and the highest value; a range in a note goes from the
lowest to the highest number of all seeds.
"""
FIELDS = ("family", "title", "rows", "command", "seed", "device", "versions", "wall_time_s")
ROW_FIELDS = ("quantity", "value", "unit", "target", "note")
_NUMBER = re.compile(r"([-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?)")


def build(folder: Path) -> str:
    """Return the text of RESULTS.md, from `folder`/results and side_by_side.json.

    Raises:
        UserError: a record lacks a field, or side_by_side.json names a number that no record has or a figure that is
            not in `folder`/figures.
    """
    records = {path.stem: _read(path) for path in sorted((folder / "results").glob("*.json"))}
    if not records:
        return HEAD + "\nNo results yet.\n"
    spec, parts = {}, []
    if (folder / "side_by_side.json").exists():
        spec = runs.read_json(folder / "side_by_side.json", "the comparison", "the file of the repository")
        parts += [side_by_side.generators(spec, records), side_by_side.claims(spec["claims"], records)]
    figures = spec.get("figures", [])
    for entry in figures:
        side_by_side.matching(entry["records"], records)
        if not (folder / "figures" / entry["file"]).is_file():
            raise UserError(f"side_by_side.json: no file {entry['file']!r} in figures/")
    for family in sorted({record["family"] for record in records.values()}):
        parts.append(f"## {family}\n")
        if entries := spec.get("headlines", {}).get(family):
            parts.append(_headlines(entries, records))
        for title, group in _by_title(records, family).items():
            parts += [_table(title, list(group.values())), *_pictures(figures, group)]
    used = {", ".join(f"{name} {version}" for name, version in r["versions"].items()) for r in records.values()}
    parts.append("## Versions\n\n" + "\n".join(f"- {names}" for names in sorted(used)) + "\n")
    return "\n".join([HEAD, _contents(records, bool(spec)), *parts])


def _read(path: Path) -> dict:
    record = runs.read_json(path, "the record", "what runs.write_record writes")
    missing = [field for field in FIELDS if field not in record]
    if missing:
        raise UserError(f"{path.name} has no field {missing[0]!r}; allowed: what runs.write_record writes")
    rows = record["rows"]
    whole = isinstance(rows, list) and all(isinstance(row, dict) and row.keys() >= set(ROW_FIELDS) for row in rows)
    if not whole or not isinstance(record["versions"], dict):
        raise UserError(f"{path.name} has rows or versions of another form; allowed: what runs.write_record writes")
    return record


def _by_title(records: dict[str, dict], family: str) -> dict[str, dict[str, dict]]:
    """Return the records of a family, by title and then by name."""
    titles: dict[str, dict[str, dict]] = {}
    for name, record in records.items():
        if record["family"] == family:
            titles.setdefault(record["title"], {})[name] = record
    return titles


def _pictures(figures: Sequence[dict], names: Collection[str]) -> list[str]:
    """Return the figures whose records are among these names, each with its caption."""
    shown = [entry for entry in figures if any(fnmatch(name, entry["records"]) for name in names)]
    return [f"![{entry['caption']}](figures/{entry['file']})\n\n*{entry['caption']}*\n" for entry in shown]


def _contents(records: dict[str, dict], compared: bool) -> str:
    """Return the list of links to all sections and tables."""
    lines = ["## Contents\n"]
    lines += [_link(title) for title in (side_by_side.GENERATORS, side_by_side.CLAIMS) if compared]
    for family in sorted({record["family"] for record in records.values()}):
        lines += [_link(family), *(f"  {_link(title)}" for title in _by_title(records, family))]
    return "\n".join([*lines, _link("Versions")]) + "\n"


def _link(title: str) -> str:
    return f"- [{title}](#{anchor(title)})"


def anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading: lower case, hyphens for spaces, no other punctuation."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _headlines(entries: Sequence[dict], records: dict[str, dict]) -> str:
    """Return a family's headline table: the numbers that `side_by_side.json` lists, each with a link to its table."""
    lines = []
    for entry in entries:
        rows = side_by_side.rows_of(entry["records"], entry["quantity"], records)
        group = [record for name, record in records.items() if fnmatch(name, entry["records"])]
        lines.append(
            {
                "result": entry["result"],
                "value": f"{_spread([row['value'] for row in rows])} {rows[0]['unit']}".rstrip(),
                "target": rows[0]["target"],
                "seeds": _seeds([seed for record in group for seed in _seeds_of(record)]),
                "details": f"[{group[0]['title']}](#{anchor(group[0]['title'])})",
            }
        )
    return _markdown(lines) + "\n"


def _table(title: str, records: Sequence[dict]) -> str:
    """Return one table of records with the same title, below the commands that made them."""
    rows = [{row["quantity"]: row for row in record["rows"]} for record in records]
    lines = []
    for quantity in dict.fromkeys(name for of_record in rows for name in of_record):
        present = [of_record[quantity] for of_record in rows if quantity in of_record]
        lines.append(
            {
                "quantity": quantity,
                "value": f"{_spread([row['value'] for row in present])} {present[0]['unit']}".rstrip(),
                "target": present[0]["target"],
                "note": _merged([row["note"] for row in present]),
            }
        )
    return "\n".join([f"### {title}\n", *_origins(records), "", _markdown(lines)]) + "\n"


def _markdown(lines: Sequence[dict]) -> str:
    """Return the Markdown table of these lines without the columns that are empty throughout."""
    return markdown(lines, [column for column in lines[0] if any(line[column] for line in lines)])


def _origins(records: Sequence[dict]) -> list[str]:
    """Return one line per command, device and commit: records that differ only by seed share it."""
    groups: dict[tuple[str, str, str, bool], list[dict]] = {}
    for record in records:
        shared = re.sub(r"--seed=\d+", "--seed=SEED", record["command"]) if len(records) > 1 else record["command"]
        commit = f", commit {record['commit']}" if "commit" in record else ""
        groups.setdefault((shared, record["device"], commit, _trained_before(record)), []).append(record)
    lines = []
    for (command, device, commit, trained_before), group in groups.items():
        seeds = _seeds([record["seed"] for record in group if record["seed"] is not None])
        seeds = f"seed{'s' * (len(group) > 1)} {seeds}, " if seeds else ""
        time = _seconds([record["wall_time_s"] for record in group]) + " each" * (len(group) > 1)
        if trained_before:
            time += f" after {_seconds([_training_time(record) for record in group])} of training by an earlier start"
        lines.append(f"- `{command}`: {seeds}{device}, {time}{commit}")
    return lines


def _seconds(times: Sequence[float]) -> str:
    """Return wall times as text, "12 s" or "12 to 15 s"."""
    ends = [f"{time:.0f}" for time in (min(times), max(times))]
    return " to ".join(dict.fromkeys(ends)) + " s"


def _training_time(record: dict) -> float:
    """Return the training time of a record in seconds, 0 if it states none."""
    return next((row["value"] for row in record["rows"] if row["quantity"] == "training time"), 0.0)


def _trained_before(record: dict) -> bool:
    """Return whether the start that wrote the record cannot have trained: it took less time than the training."""
    return _training_time(record) > record["wall_time_s"]


def _seeds_of(record: dict) -> list[int]:
    """Return the seeds of a record: its own, and the following ones where its config has a number of seeds."""
    if record["seed"] is None:
        return []
    return [record["seed"] + k for k in range(record.get("config", {}).get("seeds") or 1)]


def _seeds(seeds: Sequence[int]) -> str:
    """Return seeds as text, an unbroken range as "0 to 7"."""
    ordered = sorted(set(seeds))
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered))


def _spread(values: Sequence[float | int | str]) -> str:
    """Return the mean of several seeds with the lowest and highest value; a single value, or text, as it is."""
    texts = list(dict.fromkeys(map(number, values)))
    if len(texts) == 1 or any(isinstance(value, str) for value in values):
        return ", ".join(texts)
    return f"{number(sum(values) / len(values))} ({number(min(values))} to {number(max(values))})"


def _merged(notes: Sequence[str]) -> str:
    """Return the notes of several seeds as one: numbers that differ become "lowest to highest".

    Of ranges "a to b" that differ, the lowest a and the highest b remain.
    """
    notes = list(dict.fromkeys(filter(None, notes)))
    parts = [_NUMBER.split(note) for note in notes]
    if len({tuple(part[::2]) for part in parts}) != 1:
        return " / ".join(notes)
    between = parts[0][::2]
    merged = []
    for place, column in enumerate(zip(*parts, strict=True)):
        if place % 2 == 0:
            merged.append(column[0])
            continue
        ordered = sorted(column, key=lambda text: float(text.replace(",", "")))
        low, high = ordered[0], ordered[-1]
        before, after = between[place // 2 : place // 2 + 2]
        ends = (low,) if after == " to " else (high,) if before == " to " else (low, high)
        merged.append(" to ".join(dict.fromkeys(ends)))
    return "".join(merged)


def main(argv: list[str]) -> int:
    """Write the file, or compare it with --check; return the exit code: 0, 1 if it differs, 2 for a bad input."""
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
