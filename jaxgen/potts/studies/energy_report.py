"""Joules a sample by named baselines beside the projection to thermodynamic hardware: record and figure.

ratio = baseline / hardware,     hardware = cycles | cycles + read | cycles + read + load
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from jaxgen import gibbs, runs, visualization
from jaxgen.potts.studies import thermodynamic as chip
from jaxgen.potts.studies.operations import Work

PARTS = ("cycles alone", "with read-out", "with read-out and a load a sample")
_COLOURS = {"energy counter": "C2", "time x stated power": "C0", "published rate x stated power": "C1"}
_CHIP_COLOUR = "C3"
_ENGINEERING = EngFormatter("J", places=1)


class Baseline(NamedTuple):
    """joules: of one sample. kind: one of the keys of _COLOURS. note: how it was found."""

    name: str
    joules: float
    kind: str
    note: str


class EnergyStudy(NamedTuple):
    """What is compared: a sample is `sweeps` sweeps from noise of one image of a lattice."""

    lattice: gibbs.Lattice
    levels: int
    sweeps: int
    baselines: Sequence[Baseline]

    @property
    def projection(self) -> chip.Projection:
        return chip.project(self.lattice, self.levels, self.sweeps)

    @property
    def updates(self) -> int:
        """Of sites, a sample."""
        return self.sweeps * self.lattice.n_sites

    def ratios(self, baseline: Baseline) -> dict[str, float]:
        """How many times the hardware's joules a baseline takes, by what the hardware is charged with."""
        cycles, read, load = self.projection
        charged = (cycles, cycles + read, cycles + read + load)
        return {part: baseline.joules / joules for part, joules in zip(PARTS, charged, strict=True)}


def published_baselines(lattice: gibbs.Lattice, levels: int, sweeps: int) -> list[Baseline]:
    """Those of `thermodynamic.PUBLISHED`."""
    found = []
    for name, (flips, watts) in chip.PUBLISHED.items():
        joules = chip.published_joules(name, lattice, levels, sweeps)
        note = f"{flips.value * 1e-9:g} flips/ns: {flips.source}; {watts.source}; {levels - 1} spins a pixel"
        found.append(Baseline(name, joules, "published rate x stated power", note))
    return found


def energy_rows(
    study: EnergyStudy, work: Work, by_hand: tuple[Mapping[str, float], float] | None, chains: int
) -> list[runs.Row]:
    """The numbers of a record, each noted as counted, measured, published or projected.

    Args:
        study: what is compared.
        work: of one update, by the compiler.
        by_hand: operations by part and bytes, where there is such a count.
        chains: that share the tables.
    """
    row = runs.Row
    rows = [
        row("operations an update, by the compiler", work.operations, "", "", "counted: lattice engine, one site"),
        row("bytes an update, by the compiler", work.bytes, "bytes", "", f"counted: {chains} chains share the tables"),
        row("operations a sample", work.operations * study.updates, "", "", f"counted: {study.sweeps} sweeps"),
        row("bytes a sample", work.bytes * study.updates, "bytes", "", f"counted: {study.sweeps} sweeps"),
    ]
    if by_hand is not None:
        parts, moved = by_hand
        total = sum(parts.values())
        text = ", ".join(f"{name} {count:g}" for name, count in parts.items())
        ratio = f"{total / work.operations:.3f} of the compiler's; {text}"
        rows.insert(1, row("operations an update, by hand", float(total), "", "", ratio))
        ratio = f"{moved / work.bytes:.2f} of the compiler's; "
        ratio += "it seems to count a word anew at every shift it is read at"
        rows.insert(3, row("bytes an update, by hand", moved, "bytes", "", ratio))
    rows += [
        row(f"{one.name}: joules a sample", one.joules, "J", "", f"{one.kind}; {one.note}") for one in study.baselines
    ]
    return rows + _chip_rows(study) + _ratio_rows(study)


def _chip_rows(study: EnergyStudy) -> list[runs.Row]:
    cycles, read, load = study.projection
    low = chip.project(study.lattice, study.levels, study.sweeps, chip.CELL_JOULES).cycles
    n = chip.p_bits(study.lattice, study.levels)
    degree = chip.p_bit_degree(study.lattice, study.levels)
    first = f"projected: {study.sweeps} sweeps of {n} p-bits; "
    return [
        runs.Row("hardware: cycles of a sample, E_cell", low, "J", "", first + _cited(chip.CELL_JOULES)),
        runs.Row("hardware: cycles of a sample, SPICE", cycles, "J", "", first + _cited(chip.CYCLE_JOULES)),
        runs.Row("hardware: reading a sample", read, "J", "", "projected: " + _cited(chip.READ_JOULES)),
        runs.Row("hardware: loading the model", load, "J", "", "projected: " + _cited(chip.WRITE_JOULES)),
        runs.Row("hardware: samples that take as much as one load", load / (cycles + read), "", "", "projected"),
        runs.Row(
            "hardware: sweeps that take as much as one read-out",
            study.sweeps * read / cycles,
            "sweeps",
            "",
            "projected",
        ),
        runs.Row("couplings of a p-bit in thermometer code", degree, "", f"<= {chip.CHIP_DEGREE}, the chip's"),
    ]


def _cited(constant: chip.Constant) -> str:
    return f"{constant.value:g} J, {constant.source}"


def _ratio_rows(study: EnergyStudy) -> list[runs.Row]:
    rows, with_read = [], []
    for one in study.baselines:
        alone, read, loaded = study.ratios(one).values()
        with_read.append(read)
        note = f"{alone:.3g} for cycles alone, {loaded:.3g} with a load a sample; {one.kind}, projected hardware"
        rows.append(
            runs.Row(f"{one.name} / hardware with read-out", read, "x", f"{chip.CLAIM:,} claimed of a GPU", note)
        )
    spread = max(with_read) / min(with_read)
    names = [study.baselines[with_read.index(end(with_read))].name for end in (max, min)]
    rows.append(runs.Row("largest of these ratios / smallest", spread, "x", "", f"{names[0]} / {names[1]}"))
    return rows


def energy_figure(path: str | Path, study: EnergyStudy, title: str) -> None:
    """Joules a sample of baselines and hardware, and their ratios, on logarithmic axes."""
    figure = Figure(figsize=(13, 1.6 + 0.42 * (len(study.baselines) + 4)), dpi=110, layout="constrained")
    joules, ratio = figure.subplots(1, 2)
    cycles, read, load = study.projection
    low = chip.project(study.lattice, study.levels, study.sweeps, chip.CELL_JOULES).cycles
    projected = {"cycles, E_cell of 2 fJ": low, "cycles, SPICE": cycles, "read-out of a sample": read,
                 "one load of the model": load}  # fmt: skip
    bars = [(one.name, one.joules, _COLOURS[one.kind]) for one in study.baselines]
    bars += [(f"hardware: {name}", value, _CHIP_COLOUR) for name, value in projected.items()]
    for place, (_, value, colour) in enumerate(bars):
        joules.barh(-place, value, color=colour, height=0.7)
        joules.annotate(
            _ENGINEERING(value), (value, -place), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    joules.set_yticks([-place for place in range(len(bars))], [name for name, _, _ in bars], fontsize=8)
    joules.set_xscale("log")
    joules.set_xlim(min(value for _, value, _ in bars) / 5, max(value for _, value, _ in bars) * 50)
    joules.set_title(f"one sample of {study.sweeps} sweeps", fontsize=10)
    joules.set_xlabel("joules", fontsize=9)
    kinds = {one.kind: _COLOURS[one.kind] for one in study.baselines} | {"projected from constants": _CHIP_COLOUR}
    handles = [joules.barh(0, 0, color=colour, label=kind) for kind, colour in kinds.items()]
    joules.legend(handles=handles, fontsize=8, loc="lower right")
    _draw_ratios(ratio, study)
    figure.suptitle(title, fontsize=11)
    visualization.save_figure(path, figure)


def _draw_ratios(axes, study: EnergyStudy) -> None:
    places = [-place for place in range(len(study.baselines))]
    for part, marker in zip(PARTS, ("o", "s", "^"), strict=True):
        axes.plot([study.ratios(one)[part] for one in study.baselines], places, marker, label=part, markersize=7)
    axes.axvline(chip.CLAIM, color="black", linestyle="--", linewidth=1, label=f"{chip.CLAIM:,} claimed of a GPU")
    axes.set_yticks(places, [one.name for one in study.baselines], fontsize=8)
    axes.set_ylim(-len(places) + 0.3, 0.7)
    axes.set_xscale("log")
    axes.set_xlabel("ratio, by what the projected hardware is charged with", fontsize=9)
    axes.set_title("joules of the baseline / joules of the hardware", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
