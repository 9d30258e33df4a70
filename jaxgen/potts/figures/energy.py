"""The figure of joules per sample, for baselines and projected hardware."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from jaxgen import visualization
from jaxgen.potts.studies.energy import thermodynamic as chip
from jaxgen.potts.studies.energy.report import PARTS, EnergyStudy

_COLOURS = {"energy counter": "C2", "time x stated power": "C0", "published rate x stated power": "C1"}
_CHIP_COLOUR = "C3"
_ENGINEERING = EngFormatter("J", places=1)


def energy_figure(path: str | Path, study: EnergyStudy, title: str) -> None:
    """Draw joules per sample of baselines and hardware, and their ratios, on logarithmic axes."""
    figure = Figure(figsize=(13, 1.6 + 0.42 * (len(study.baselines) + 4)), dpi=110, layout="constrained")
    joules, ratio = figure.subplots(1, 2)
    cycles, read, load = study.projection
    low = chip.project(study.lattice, study.levels, study.sweeps, chip.CELL_JOULES).cycles
    projected = {"cycles, E_cell of 2 fJ": low, "cycles, SPICE": cycles, "read-out of a sample": read,
                 "one load of the model": load}  # fmt: skip
    bars = [(baseline.name, baseline.joules, _COLOURS[baseline.kind]) for baseline in study.baselines]
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
    kinds = {baseline.kind: _COLOURS[baseline.kind] for baseline in study.baselines} | {
        "projected from constants": _CHIP_COLOUR
    }
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
    axes.set_xlabel("ratio, by what is charged to the projected hardware", fontsize=9)
    axes.set_title("joules of the baseline / joules of the hardware", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
