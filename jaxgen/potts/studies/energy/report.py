"""Joules per sample of baselines beside the projection for thermodynamic hardware, as the rows of a record.

ratio = baseline / hardware,     hardware = cycles | cycles + read | cycles + read + load
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxgen import gibbs, runs
from jaxgen.potts.studies.energy import thermodynamic as chip
from jaxgen.potts.studies.energy.operations import Work

PARTS = ("cycles alone", "with read-out", "with read-out and a load per sample")


class Baseline(NamedTuple):
    """Joules of one sample of a named baseline, its kind as in the figure, and a note on how they were obtained."""

    name: str
    joules: float
    kind: str
    note: str


class EnergyStudy(NamedTuple):
    """A comparison of energies per sample. A sample is one image after `sweeps` sweeps from noise."""

    lattice: gibbs.Lattice
    levels: int
    sweeps: int
    baselines: Sequence[Baseline]

    @property
    def projection(self) -> chip.Projection:
        """Return the projected joules of the hardware."""
        return chip.project(self.lattice, self.levels, self.sweeps)

    @property
    def updates(self) -> int:
        """Return the site updates per sample."""
        return self.sweeps * self.lattice.n_sites

    def ratios(self, baseline: Baseline) -> dict[str, float]:
        """Return joules of a baseline / joules of the hardware, by what is charged to the hardware."""
        cycles, read, load = self.projection
        charged = (cycles, cycles + read, cycles + read + load)
        return {part: baseline.joules / joules for part, joules in zip(PARTS, charged, strict=True)}


def published_baselines(lattice: gibbs.Lattice, levels: int, sweeps: int) -> list[Baseline]:
    """Return the baselines of `thermodynamic.PUBLISHED`."""
    baselines = []
    for name, (flips, watts) in chip.PUBLISHED.items():
        joules = chip.published_joules(name, lattice, levels, sweeps)
        note = f"{flips.value * 1e-9:g} flips/ns: {flips.source}; {watts.source}; {levels - 1} spins per pixel"
        baselines.append(Baseline(name, joules, "published rate x stated power", note))
    return baselines


def energy_rows(
    study: EnergyStudy, work: Work, by_hand: tuple[Mapping[str, float], float] | None, chains: int
) -> list[runs.Row]:
    """Return the rows of a record, each noted as counted, measured, published or projected.

    Args:
        study: what is compared.
        work: operations and bytes of one update, by the compiler.
        by_hand: operations by part and bytes, counted by hand; None where there is no such count.
        chains: number of chains that share the tables.
    """
    row = runs.Row
    rows = [
        row("operations per update, by the compiler", work.operations, "", "", "counted: lattice engine, one site"),
        row("bytes per update, by the compiler", work.bytes, "bytes", "", f"counted: {chains} chains share the tables"),
        row("operations per sample", work.operations * study.updates, "", "", f"counted: {study.sweeps} sweeps"),
        row("bytes per sample", work.bytes * study.updates, "bytes", "", f"counted: {study.sweeps} sweeps"),
    ]
    if by_hand is not None:
        parts, moved = by_hand
        total = sum(parts.values())
        text = ", ".join(f"{name} {count:g}" for name, count in parts.items())
        ratio = f"{total / work.operations:.3f} of the compiler's; {text}"
        rows.insert(1, row("operations per update, by hand", float(total), "", "", ratio))
        ratio = f"{moved / work.bytes:.2f} of the compiler's; "
        ratio += "it seems to count a word again at every shift at which it is read"
        rows.insert(3, row("bytes per update, by hand", moved, "bytes", "", ratio))
    rows += [
        row(f"{baseline.name}: joules per sample", baseline.joules, "J", "", f"{baseline.kind}; {baseline.note}")
        for baseline in study.baselines
    ]
    return rows + _chip_rows(study) + _ratio_rows(study)


def _chip_rows(study: EnergyStudy) -> list[runs.Row]:
    cycles, read, load = study.projection
    low = chip.project(study.lattice, study.levels, study.sweeps, chip.CELL_JOULES).cycles
    n = chip.p_bits(study.lattice, study.levels)
    degree = chip.p_bit_degree(study.lattice, study.levels)
    first = f"projected: {study.sweeps} sweeps of {n} p-bits; "
    return [
        runs.Row("hardware: cycles per sample, E_cell", low, "J", "", first + _cited(chip.CELL_JOULES)),
        runs.Row("hardware: cycles per sample, SPICE", cycles, "J", "", first + _cited(chip.CYCLE_JOULES)),
        runs.Row("hardware: reading one sample", read, "J", "", "projected: " + _cited(chip.READ_JOULES)),
        runs.Row("hardware: loading the model", load, "J", "", "projected: " + _cited(chip.WRITE_JOULES)),
        runs.Row("hardware: samples that cost as much as one load", load / (cycles + read), "", "", "projected"),
        runs.Row(
            "hardware: sweeps that cost as much as one read-out",
            study.sweeps * read / cycles,
            "sweeps",
            "",
            "projected",
        ),
        runs.Row("couplings per p-bit in thermometer code", degree, "", f"<= {chip.CHIP_DEGREE}, the chip's"),
    ]


def _cited(constant: chip.Constant) -> str:
    return f"{constant.value:g} J, {constant.source}"


def _ratio_rows(study: EnergyStudy) -> list[runs.Row]:
    rows, with_read = [], []
    for baseline in study.baselines:
        alone, read, loaded = study.ratios(baseline).values()
        with_read.append(read)
        note = f"{alone:.3g} for cycles alone, {loaded:.3g} with a load per sample; {baseline.kind}, projected hardware"
        rows.append(
            runs.Row(f"{baseline.name} / hardware with read-out", read, "x", f"{chip.CLAIM:,} claimed of a GPU", note)
        )
    spread = max(with_read) / min(with_read)
    names = [study.baselines[with_read.index(end(with_read))].name for end in (max, min)]
    rows.append(runs.Row("largest ratio / smallest ratio", spread, "x", "", f"{names[0]} / {names[1]}"))
    return rows
