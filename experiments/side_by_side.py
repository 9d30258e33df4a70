"""Numbers of different records beside one another: generators by quality, and the sources' claims by what was measured.

What is compared stands in `side_by_side.json`; every figure and every verdict comes from the records. Used by
`experiments.report`.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

from jaxgen.errors import UserError

Records = Mapping[str, dict]


def sections(spec: dict, records: Records) -> list[str]:
    """The sections of the report. ValueError naming a record or quantity that the records do not have."""
    return [_generators(spec, records), _claims(spec["claims"], records)]


def _generators(spec: dict, records: Records) -> str:
    """A table for every number of levels, and under it how far the best Potts model is from the best of the others."""
    columns = spec["columns"]
    parts = [
        "## Generators side by side\n\nOnly models of as many grey levels are comparable. A likelihood is exact up to "
        "log Z, or a lower bound where it says so; Frechet distances are of the same network throughout. Several seeds "
        "are given as their mean.\n"
    ]
    for levels in dict.fromkeys(one["levels"] for one in spec["generators"]):
        group = [one for one in spec["generators"] if one["levels"] == levels]
        found = {one["name"]: {c["name"]: _mean(one, c["name"], records) for c in columns} for one in group}
        lines = [f"### {levels} levels\n", line(["generator", *(c["title"] for c in columns)])]
        lines.append(line(["---"] * (1 + len(columns))))
        for name, values in found.items():
            lines.append(line([name, *("-" if v is None else f"{v:.4g}" for v in values.values())]))
        lines.append("")
        potts = {one["name"] for one in group if one.get("potts")}
        for column in columns:
            values_of = {name: values[column["name"]] for name, values in found.items()}
            lines += _verdict(column, values_of, potts) if potts else _leader(column, values_of)
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _leader(column: dict, values: Mapping[str, float | None]) -> list[str]:
    """The best model and the next, where there is no Potts model to compare."""
    sign = 1 if column["better"] == "higher" else -1
    known = sorted(((sign * value, name) for name, value in values.items() if value is not None), reverse=True)
    if len(known) < 2:
        return []
    (best, name), (second, other) = known[:2]
    return [
        f"- {column['title']} ({column['better']} is better): {name} is ahead with {sign * best:.4g}, then {other} "
        f"with {sign * second:.4g}."
    ]


def _verdict(column: dict, values: Mapping[str, float | None], potts: set[str]) -> list[str]:
    """The best Potts model beside the best other model, in words that follow from the numbers."""
    known = {name: value for name, value in values.items() if value is not None}
    ours, others = known.keys() & potts, known.keys() - potts
    if not ours or not others:
        return []
    sign = 1 if column["better"] == "higher" else -1
    best, rival = (max(sorted(names), key=lambda name: sign * known[name]) for names in (ours, others))
    if column["compare"] == "difference":
        apart = f"{abs(known[best] - known[rival]):.3g} apart"
    else:
        low, high = sorted((known[best], known[rival]))
        apart = f"{high / low:.3g} times"
    word = "better" if sign * (known[best] - known[rival]) > 0 else "worse"
    return [
        f"- {column['title']} ({column['better']} is better): {best} {known[best]:.4g}, best of the others {rival} "
        f"{known[rival]:.4g}: the Potts model is {word}, {apart}."
    ]


def _claims(claims: Sequence[dict], records: Records) -> str:
    """What the sources said, what of it could be measured, and whether it held."""
    lines = ["## What the sources claimed\n", line(["claim", "what it was", "measured here", "holds"])]
    lines.append(line(["---"] * 4))
    for one in claims:
        row = _row(records, one["record"], one["quantity"])
        value = row["value"]
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        holds = "-"
        if "at_most" in one:
            holds = "yes" if value <= one["at_most"] else "no"
        measured = f"{one['quantity']}: {shown} {row['unit']}".strip() + (f" ({row['note']})" if row["note"] else "")
        lines.append(line([one["claim"], one["about"], measured, holds]))
    return "\n".join(lines) + "\n"


def _mean(generator: dict, column: str, records: Records) -> float | None:
    if column not in generator:
        return None
    names = [name for name in records if fnmatch(name, generator["records"])]
    if not names:
        raise UserError(f"side_by_side.json: no record {generator['records']!r} in results/")
    return sum(_row(records, name, generator[column])["value"] for name in names) / len(names)


def _row(records: Records, name: str, quantity: str) -> dict:
    for row in records.get(name, {"rows": []})["rows"]:
        if row["quantity"] == quantity:
            return row
    raise UserError(f"side_by_side.json: no quantity {quantity!r} in results/{name}.json")


def line(cells: Sequence) -> str:
    """A row of a Markdown table."""
    texts = ("" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return "| " + " | ".join(texts) + " |"
