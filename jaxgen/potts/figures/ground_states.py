"""The annealing of spin glasses whose lowest energy is known."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from jaxgen import visualization


def ground_state_figure(
    path: str | Path,
    annealing: tuple[Int[np.ndarray, "times"], Float[np.ndarray, "times chains"]],
    success: tuple[Int[np.ndarray, "lengths"], Float[np.ndarray, "lengths instances"]],
    spins: int,
) -> None:
    """Draw the energies of all chains during one annealing, and the share that ends in a ground state by its length.

    Args:
        path: .png, .pdf or .svg.
        annealing: (sweeps done, energies above the lowest).
        success: (sweeps per annealing, shares).
        spins: by which energies are divided.
    """
    figure = Figure(figsize=(11, 4.2), dpi=90, layout="constrained")
    energy, share = figure.subplots(1, 2)
    sweeps, above = annealing[0], annealing[1] / spins
    energy.plot(sweeps, above, color="C0", alpha=0.06, linewidth=0.7)
    energy.plot(sweeps, np.median(above, 1), color="C0", linewidth=1.8, label="median")
    energy.plot(sweeps, above.min(1), color="C3", linewidth=1.8, label="lowest")
    energy.axhline(0, color="black", linestyle="--", linewidth=1, label="planted ground state")
    energy.set_title(f"one instance, {above.shape[1]} chains of one annealing")
    energy.set_xlabel("sweeps; the inverse temperature rises in equal steps")
    energy.set_ylabel("energy above the ground state, per spin")
    energy.legend(fontsize=8)
    lengths, shares = success
    share.plot(lengths, shares, "o-", color="C0", alpha=0.4, linewidth=1, markersize=3)
    share.plot(lengths, shares.mean(1), "o-", color="C3", linewidth=1.8, label="mean of the instances")
    share.set_xscale("log")
    share.set_xticks(lengths)
    share.xaxis.set_major_formatter(ScalarFormatter())
    share.minorticks_off()
    share.set_ylim(-0.02, 1.02)
    share.set_title("by length of the annealing, a line per instance")
    share.set_xlabel("sweeps per annealing")
    share.set_ylabel("share of chains that end in a ground state")
    share.legend(fontsize=8)
    for axis in (energy, share):
        axis.grid(alpha=0.3)
    visualization.save_figure(path, figure)
