"""The figure of how samplers mix: energies by start, autocorrelation, share of readable chains."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxgen import gibbs, visualization
from jaxgen.potts.studies.trajectory import Mixing, smoothed_shares


def convergence_figure(
    path: str | Path,
    samplers: Mapping[str, Mixing],
    shares: Mapping[str, Sequence[tuple[int, float]]],
    real: float,
) -> None:
    """Draw energies by sweep from each start, the autocorrelation of each sampler, and the readable share by sweep.

    Args:
        path: .png, .pdf or .svg.
        samplers: runs by name; energies are drawn for the first, whose chains come in equal parts from each start.
        shares: for each start, pairs (sweeps, share of chains read as a class).
        real: the share of training images that is read as a class.
    """
    figure = Figure(figsize=(15, 4.6), dpi=90, layout="constrained")
    energy, correlation, readable = figure.subplots(1, 3)
    first = next(iter(samplers.values()))
    sweeps = np.arange(1, first.observed.shape[1] + 1)
    for name, chains in zip(shares, np.split(first.observed[0], len(shares), axis=1), strict=True):
        (line,) = energy.plot(sweeps, chains.mean(1), label=f"from {name}", linewidth=1.2)
        low, high = np.quantile(chains, (0.1, 0.9), axis=1)
        energy.fill_between(sweeps, low, high, color=line.get_color(), alpha=0.15)
    energy.set_title("energy by start: mean, and 80 % of the chains")
    energy.set_ylabel("E(x)")
    for name, mixing in samplers.items():
        for series, style, what, tau in zip(
            mixing.settled, ("-", "--"), ("energy", "component"), mixing.times, strict=True
        ):
            rho = gibbs.autocorrelation(series)[: len(series) // 2]
            label = f"{name}, {what}: tau {tau:.0f}" if np.isfinite(tau) else f"{name}, {what}: tau not known"
            colour = f"C{list(samplers).index(name)}"
            correlation.plot(np.arange(1, len(rho)), rho[1:], style, color=colour, label=label, linewidth=1.2)
    correlation.set_ylim(-0.1, 1)
    correlation.set_title("autocorrelation at equilibrium; tau: its time in sweeps")
    for name, curve in shares.items():
        sweeps, smooth = smoothed_shares(curve)
        (line,) = readable.plot(sweeps + 1, smooth, label=f"from {name}", linewidth=1.4)
        readable.plot(sweeps + 1, [share for _, share in curve], ".", color=line.get_color(), markersize=3, alpha=0.5)
    readable.axhline(real, color="black", linestyle="--", linewidth=1, label="training images")
    readable.set_ylim(0, 1.02)
    readable.set_title("share recognised by a classifier (smoothed)")
    for axis, label in ((energy, "sweeps"), (correlation, "lag (sweeps)"), (readable, "sweeps + 1")):
        axis.set_xscale("log")
        axis.set_xlabel(label, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    visualization.save_figure(path, figure)
