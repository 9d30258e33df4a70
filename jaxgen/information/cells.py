"""Labelled distributions that are constant on cells, so that every quantity of information is a finite sum.

    p(x | y) = m[y, c(x)] / volume(c(x)),   sum_c m[y, c] = 1        c(x): the cell, an interval of every axis, around x
    p(y | x) = prior[y] m[y, c(x)] / sum_y' prior[y'] m[y', c(x)]    the volumes cancel

All sums are in float64 on the host.
"""

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from jaxgen.errors import UserError

EDGES = (-1.0, -0.33, 0.33, 1.0)  # of every axis of the built-in table
BASE_NOISE = 3e-4  # mass of the cells that the built-in table does not name
_TABLE = Path(__file__).parent / "cells.csv"
_TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class CellDistribution:
    """Labels y = 0..K-1 with probabilities `prior`, and X uniform inside a cell drawn from `mass[y]`.

    Attributes:
        mass: p(cell | y), with one axis per axis of X.
        edges: edges of the intervals of every axis, increasing, one more than there are intervals.
        prior: p(y).
        labels: names of the classes; class k is called labels[k].

    Raises:
        UserError: shapes that do not fit, edges that do not increase, a mass or prior that is negative, not finite or
            does not sum to 1, repeated labels.
    """

    mass: Float[np.ndarray, "K *cells"]
    edges: tuple[tuple[float, ...], ...]
    prior: Float[np.ndarray, "K"]
    labels: tuple[int, ...]

    def __post_init__(self):
        intervals = tuple(len(edge) - 1 for edge in self.edges)
        if not intervals or min(intervals) < 1 or self.mass.shape[1:] != intervals:
            raise UserError(f"mass has shape {self.mass.shape}; allowed with these edges: (labels, *{intervals})")
        for axis, edge in enumerate(self.edges):
            if not (np.isfinite(edge).all() and (np.diff(edge) > 0).all()):
                raise UserError(f"edges of axis {axis} are {tuple(edge)}; allowed: finite and increasing")
        if self.prior.shape != self.mass.shape[:1] or len(self.labels) != len(self.mass):
            raise UserError(
                f"prior has shape {self.prior.shape} and labels {len(self.labels)} entries; allowed: {len(self.mass)}"
            )
        if len(set(self.labels)) < len(self.labels):
            raise UserError(f"labels are {self.labels}; allowed: each once")
        for name, rows in (("mass", self.mass.reshape(len(self.mass), -1)), ("prior", self.prior[None])):
            if not (np.isfinite(rows).all() and (rows >= 0).all() and np.abs(rows.sum(1) - 1).max() < _TOLERANCE):
                raise UserError(f"{name} sums to {rows.sum(1)}; allowed: 0 or more, finite, sum 1 for every label")

    @classmethod
    def from_masses(
        cls,
        masses: Float[np.ndarray, "K *cells"],
        edges: Sequence[Sequence[float]],
        prior: Sequence[float] | None = None,
    ) -> "CellDistribution":
        """Normalise each label's masses; labels are 0..K-1, equally probable by default.

        Raises:
            UserError: masses negative or not finite, a label without any, and what the class refuses.
        """
        masses = np.asarray(masses, np.float64)
        if masses.ndim < 2 or not (np.isfinite(masses).all() and (masses >= 0).all()):
            raise UserError(f"masses: shape {masses.shape}, least {masses.min()}; allowed: (labels, *cells), 0 or more")
        total = masses.sum(axis=tuple(range(1, masses.ndim)), keepdims=True)
        for label in np.flatnonzero(total == 0):
            raise UserError(f"masses of label {label} sum to 0; allowed: more than 0 for every label")
        count = len(masses)
        prior = np.full(count, 1 / count) if prior is None else np.asarray(prior, np.float64)
        edges = tuple(tuple(float(value) for value in edge) for edge in edges)
        return cls(masses / total, edges, prior, tuple(range(count)))

    @classmethod
    def from_table(
        cls, path: str | Path, edges: Sequence[Sequence[float]], base_noise: float = 0.0
    ) -> "CellDistribution":
        """Read a CSV file with the header label,i1..id,mass; intervals and labels count from 0.

        Every cell starts at `base_noise`; a row sets its cell, and a later row for the same cell replaces an earlier
        one. Then each label is normalised.

        Raises:
            UserError: naming the line and field that does not fit, or a label from 0 to the largest without a row.
        """
        if not (math.isfinite(base_noise) and base_noise >= 0):
            raise UserError(f"base_noise is {base_noise}; allowed: 0 or more")
        intervals = tuple(len(edge) - 1 for edge in edges)
        rows = _read_table(Path(path), intervals)
        count = 1 + max(label for label, _, _ in rows)
        empty = sorted(set(range(count)) - {label for label, _, _ in rows})
        if empty:
            raise UserError(f"{Path(path).name}: label {empty[0]} has no row; allowed: every label up to {count - 1}")
        masses = np.full((count, *intervals), float(base_noise))
        for label, cell, mass in rows:
            masses[(label, *cell)] = mass
        return cls.from_masses(masses, edges)

    @property
    def n_labels(self) -> int:
        """Return the number of labels K."""
        return len(self.labels)

    @property
    def n_axes(self) -> int:
        """Return the number of coordinates d."""
        return len(self.edges)

    def joint(self, axes: Sequence[int] | None = None) -> Float[np.ndarray, "K cells"]:
        """Return p(y, cell), flat over the cells of `axes` in row-major order; by default of all axes.

        UserError if an axis is repeated or not one of 0..d-1.
        """
        chosen = range(self.n_axes) if axes is None else sorted(axes)
        if len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(self.n_axes)):
            raise UserError(f"axes are {tuple(axes)}; allowed: numbers 0 to {self.n_axes - 1}, each once")
        dropped = tuple(1 + axis for axis in range(self.n_axes) if axis not in chosen)
        return self.prior[:, None] * self.mass.sum(axis=dropped).reshape(self.n_labels, -1)

    def log_posterior(self) -> Float[np.ndarray, "K cells"]:
        """Return log p(y | cell) in nats, -inf where it is 0; cells of probability 0 count as uniform."""
        joint = self.joint()
        cell = joint.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(cell > 0, np.log(joint) - np.log(cell), -math.log(self.n_labels))

    def cells_of(self, x: Float[np.ndarray, "n d"]) -> Int[np.ndarray, "n"]:
        """Return the flat cell of every point; a point on an inner edge belongs to the interval above it.

        UserError if x is not (n, d) or leaves the box.
        """
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.n_axes:
            raise UserError(f"x has shape {x.shape}; allowed: (n, {self.n_axes})")
        places = []
        for axis, edge in enumerate(self.edges):
            # In the precision of x, so that a float32 draw at an edge falls on the side it was drawn for.
            edge = np.asarray(edge, x.dtype)
            if not ((x[:, axis] >= edge[0]).all() and (x[:, axis] <= edge[-1]).all()):
                raise UserError(f"x leaves [{edge[0]}, {edge[-1]}] on axis {axis}; allowed: points of the box")
            places.append(np.searchsorted(edge[1:-1], x[:, axis], side="right"))
        return np.ravel_multi_index(places, self.mass.shape[1:])

    def mix(self, weight: float) -> "CellDistribution":
        """Return (1 - weight) p(x | y) + weight times the uniform density; weight 1 removes all information."""
        if not 0.0 <= weight <= 1.0:
            raise UserError(f"weight is {weight}; allowed: 0 to 1")
        uniform = np.ones(())
        for edge in self.edges:
            uniform = np.multiply.outer(uniform, np.diff(edge) / (edge[-1] - edge[0]))
        return dataclasses.replace(self, mass=(1 - weight) * self.mass + weight * uniform)

    def subset(self, labels: Sequence[int]) -> "CellDistribution":
        """Return the classes with these names, in this order, renumbered 0..k-1, with renormalised priors.

        UserError on a name that is unknown or repeated, or on fewer than two.
        """
        known = {name: index for index, name in enumerate(self.labels)}
        if len(labels) < 2 or len(set(labels)) < len(labels) or not set(labels) <= set(known):
            raise UserError(f"labels are {tuple(labels)}; allowed: two or more of {tuple(known)}, each once")
        rows = [known[label] for label in labels]
        prior = self.prior[rows] / self.prior[rows].sum()
        return dataclasses.replace(self, mass=self.mass[rows], prior=prior, labels=tuple(labels))


def ten_labels(base_noise: float = BASE_NOISE) -> CellDistribution:
    """Return the built-in table: 10 equally probable labels in 5 dimensions of 3 intervals, 243 cells."""
    return CellDistribution.from_table(_TABLE, (EDGES,) * 5, base_noise)


def _read_table(path: Path, intervals: tuple[int, ...]) -> list[tuple[int, tuple[int, ...], float]]:
    """Return (label, cell, mass) of every row. UserError naming the line."""
    with open(path, newline="") as file:
        header, *lines = csv.reader(file)
    wanted = ["label", *(f"i{axis + 1}" for axis in range(len(intervals))), "mass"]
    if header != wanted:
        raise UserError(f"{path.name}: header is {','.join(header)}; allowed: {','.join(wanted)}")
    rows = []
    for number, line in enumerate(lines, start=2):
        where = f"{path.name}, line {number}"
        if len(line) != len(wanted):
            raise UserError(f"{where}: {len(line)} columns; allowed: {len(wanted)}")
        try:
            label, *cell = (int(word) for word in line[:-1])
            mass = float(line[-1])
        except ValueError:
            raise UserError(f"{where}: {','.join(line)}; allowed: integers, then a number") from None
        if label < 0 or not all(0 <= place < size for place, size in zip(cell, intervals, strict=True)):
            raise UserError(f"{where}: label {label}, cell {cell}; allowed: 0 or more, below {list(intervals)}")
        if not (math.isfinite(mass) and mass >= 0):
            raise UserError(f"{where}: mass is {mass}; allowed: 0 or more")
        rows.append((label, tuple(cell), mass))
    if not rows:
        raise UserError(f"{path.name} has no rows; allowed: one or more per label")
    return rows
