"""Tables that compare numbers of different records: generators, claims of the original notebooks, headlines.

`side_by_side.json` lists what is compared; every number and every verdict comes from the records. Used by
`experiments.report`.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

from jaxgen.errors import UserError
from jaxgen.potts.studies.energy.study import EnergyConfig
from jaxgen.runs.tables import markdown

GENERATORS, CLAIMS = "Generators side by side", "Claims of the original notebooks"
Records = Mapping[str, dict]
CORE_WATTS = EnergyConfig.core_watts
_CORES = re.compile(r"\((\d+) cores?\)")


def generators(spec: dict, records: Records) -> str:
    """Return one table per group of comparable generators, with the best Potts model against the best other generator.

    Raises:
        UserError: the specification names a record or a quantity that does not exist.
    """
    columns = spec["columns"]
    parts = [
        f"## {GENERATORS}\n\nOnly generators of the same images and number of grey levels are comparable. A "
        "log-likelihood is exact up to the estimate of log Z, or a lower bound where the name says so. All Frechet "
        "distances of one dataset use the same network. Where a generator was trained with several seeds, the mean is "
        f"given. The energy on a CPU is {CORE_WATTS:g} W per core, a stated power, over the samples per second; the "
        "projection to thermodynamic hardware rests on published constants alone, in favour of the hardware "
        "(`python -m experiments.ebm_energy --help`).\n"
    ]
    for group in dict.fromkeys(entry["group"] for entry in spec["generators"]):
        entries = [entry for entry in spec["generators"] if entry["group"] == group]
        values = {entry["name"]: {c["name"]: _value(entry, c["name"], records) for c in columns} for entry in entries}
        rows = [
            {"generator": name} | {c["title"]: "-" if of[c["name"]] is None else number(of[c["name"]]) for c in columns}
            for name, of in values.items()
        ]
        parts += [f"### {group}\n", markdown(rows, list(rows[0])) + "\n"]
        potts = {entry["name"] for entry in entries if entry.get("potts")}
        verdicts = [
            _verdict(c, {name: of[c["name"]] for name, of in values.items()}, potts) for c in columns if "better" in c
        ]
        verdicts = [verdict for verdict in verdicts if verdict]
        if verdicts:
            parts.append(markdown(verdicts, list(verdicts[0])) + "\n")
    return "\n".join(parts)


def _value(entry: dict, column: str, records: Records) -> float | None:
    """Return the mean of a column's quantity; for the column "energy", the mJ per sample that the rate implies."""
    if column != "energy":
        return mean_of(entry, column, records)
    rate = mean_of(entry, "rate", records)
    if rate is None:
        return None
    devices = [_CORES.search(records[name]["device"]) for name in matching(entry["records"], records)]
    cores = [int(device[1]) for device in devices if device]
    return 1000 * CORE_WATTS * sum(cores) / len(cores) / rate if cores else None


def _verdict(column: dict, values: Mapping[str, float | None], potts: set[str]) -> dict[str, str]:
    """Return the row that compares the best Potts model with the best other generator, or the best two without one.

    It is empty where there are not two generators to compare.
    """
    known = {name: value for name, value in values.items() if value is not None}
    sign = 1 if column["better"] == "higher" else -1
    quantity = f"{column['title']} ({column['better']} is better)"
    if not potts and len(known) > 1:
        first, second = sorted(known, key=lambda name: sign * known[name], reverse=True)[:2]
        texts = [f"{name}: {number(known[name])}" for name in (first, second)]
        return {"quantity": quantity, "best generator": texts[0], "second": texts[1]}
    ours, others = known.keys() & potts, known.keys() - potts
    if not ours or not others:
        return {}
    best, rival = (max(sorted(names), key=lambda name: sign * known[name]) for names in (ours, others))
    if column["compare"] == "difference":
        apart = f"by {abs(known[best] - known[rival]):.3g}"
    else:
        low, high = sorted((known[best], known[rival]))
        apart = f"by a factor of {float(f'{high / low:.3g}'):,.10g}"
    word = "better" if sign * (known[best] - known[rival]) > 0 else "worse"
    return {
        "quantity": quantity,
        "best Potts model": f"{best}: {number(known[best])}",
        "best other generator": f"{rival}: {number(known[rival])}",
        "the Potts model is": f"{word} {apart}",
    }


def claims(entries: Sequence[dict], records: Records) -> str:
    """Return the table of claims: what was stated, what it rests on, what was measured here, and whether it holds.

    Raises:
        UserError: a claim names a record or a quantity that does not exist.
    """
    rows = []
    for entry in entries:
        row = _row(records, entry["record"], entry["quantity"])
        holds = "-"
        if "at_most" in entry:
            holds = "yes" if row["value"] <= entry["at_most"] else "no"
        measured = f"{entry['quantity']}: {number(row['value'])} {row['unit']}".rstrip()
        measured += f" ({row['note']})" if row["note"] else ""
        rows.append(
            {"claim": entry["claim"], "what it rests on": entry["about"], "measured here": measured, "holds": holds}
        )
    return f"## {CLAIMS}\n\n" + markdown(rows, list(rows[0])) + "\n"


def mean_of(entry: dict, column: str, records: Records) -> float | None:
    """Return the mean of a quantity over the records that match the entry's pattern; None where it names none."""
    if column not in entry:
        return None
    pattern, quantity = entry["records"], entry[column]
    if not isinstance(quantity, str):  # a pair, for a quantity of other records
        pattern, quantity = quantity
    rows = rows_of(pattern, quantity, records)
    return sum(row["value"] for row in rows) / len(rows)


def rows_of(pattern: str, quantity: str, records: Records) -> list[dict]:
    """Return the rows of a quantity in the records whose names match a pattern, such as "vae_binary_seed*".

    Raises:
        UserError: no record matches, or one lacks the quantity.
    """
    return [_row(records, name, quantity) for name in matching(pattern, records)]


def matching(pattern: str, records: Records) -> list[str]:
    """Return the names of the records that match a pattern. UserError if there are none."""
    names = [name for name in records if fnmatch(name, pattern)]
    if not names:
        raise UserError(f"side_by_side.json: no record {pattern!r} in results/")
    return names


def _row(records: Records, name: str, quantity: str) -> dict:
    for row in records.get(name, {"rows": []})["rows"]:
        if row["quantity"] == quantity:
            return row
    raise UserError(f"side_by_side.json: no quantity {quantity!r} in results/{name}.json")


def number(value: float | int | str) -> str:
    """Return a number to four significant digits, without an exponent from 10,000 to 10 million; text as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{float(f'{value:.4g}'):,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"
