"""A distribution from a CSV file: one row per label and cell with its probability, or a weight proportional to it.

    label,i1,...,id,mass            label: 0 or more; i1..id: the cell, integers from 0; mass: p(label, cell), any scale

Cells without a row have probability 0. Axis k is cut into 1 + max(i_k) intervals of equal length between -1 and 1. All
quantities of information are exact for the table as it stands.
"""

import csv
import io
import math
from pathlib import Path

import numpy as np

from jaxgen.errors import UserError
from jaxgen.information.cells import CellDistribution
from jaxgen.runs import expanded, read_text

MOST_AXES = 8  # metadata.json holds the bounds of every subset of them
MOST_ENTRIES = 200_000  # labels times cells
_LARGEST = 1_000_000  # of a label and of a cell
_ALLOWED = "a CSV file with the header label,i1,...,id,mass and one row per label and cell"

Row = tuple[int, tuple[int, ...], float]


def load_table(path: str | Path) -> CellDistribution:
    """Return the distribution of a table: the prior of a label is its share of the mass.

    Raises:
        UserError: naming the line that does not fit; fewer than two labels with mass; more than 8 coordinates, or
            than 200,000 pairs of a label and a cell.
    """
    path = expanded(path, "table")
    rows = _read(path, read_text(path, "table", _ALLOWED))
    names = sorted({label for label, _, _ in rows})
    if len(names) < 2:
        raise UserError(f"table is {path}, with the label {names[0]} only; allowed: two labels or more")
    shape = tuple(1 + max(places) for places in zip(*(cell for _, cell, _ in rows), strict=True))
    entries = len(names) * math.prod(shape)
    if entries > MOST_ENTRIES:
        raise UserError(f"table is {path}, with {entries:,} labels times cells; allowed: {MOST_ENTRIES:,} or fewer")
    joint = np.zeros((len(names), *shape))
    index = {name: k for k, name in enumerate(names)}
    for label, cell, mass in rows:
        joint[(index[label], *cell)] = mass
    totals = joint.reshape(len(names), -1).sum(1)
    for name, total in zip(names, totals, strict=True):
        if total == 0:
            raise UserError(f"table is {path}, where the masses of label {name} sum to 0; allowed: more than 0")
    mass = joint / totals.reshape(-1, *[1] * len(shape))
    edges = tuple(tuple(np.linspace(-1.0, 1.0, count + 1).tolist()) for count in shape)
    return CellDistribution(mass, edges, totals / totals.sum(), tuple(names))


def _read(path: Path, text: str) -> list[Row]:
    """Return (label, cell, mass) of every row. UserError naming the line."""
    try:
        header, *lines = list(csv.reader(io.StringIO(text))) or [[]]
    except csv.Error as error:
        raise UserError(f"table is {path}, which is no CSV file ({error}); allowed: {_ALLOWED}") from None
    wanted = ["label", *(f"i{axis + 1}" for axis in range(len(header) - 2)), "mass"]
    if header != wanted or not 1 <= len(header) - 2 <= MOST_AXES:
        raise UserError(
            f"table is {path}, whose first line is {','.join(header)!r}; allowed: label,i1,...,id,mass with 1 to "
            f"{MOST_AXES} coordinates"
        )
    rows: dict[tuple[int, tuple[int, ...]], float] = {}
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        try:
            label, *cell = (int(word) for word in line[:-1])
            mass = float(line[-1])
            fits = len(line) == len(wanted) and all(0 <= number < _LARGEST for number in (label, *cell))
            fits = fits and math.isfinite(mass) and mass >= 0
        except ValueError:
            fits = False
        if not fits:
            raise UserError(
                f"table is {path}, line {number}: {','.join(line)}; allowed: {len(wanted) - 1} integers from 0 to "
                f"{_LARGEST - 1:,}, and a finite mass, 0 or more"
            )
        if (label, tuple(cell)) in rows:
            raise UserError(f"table is {path}, line {number}: label {label}, cell {cell} again; allowed: each once")
        rows[label, tuple(cell)] = mass
    if not rows:
        raise UserError(f"table is {path}, which has no rows; allowed: {_ALLOWED}")
    return [(label, cell, mass) for (label, cell), mass in rows.items()]
