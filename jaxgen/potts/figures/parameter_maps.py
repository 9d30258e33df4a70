"""Learned biases and couplings as maps, and the blocks of a colouring.

    W_ij[a, b] = w_ij[a, b] + u_i[a] + v_j[b] + const        w zero in the mean over a and over b
    h_i[a]     = b_i[a] + sum_j mean_b W_ij[a, b],            less its mean over a
    attraction = mean_a W_ij[a, a] - mean_(a /= b) W_ij[a, b]

The energy does not change when a part of a coupling that depends on one end alone moves into the bias of that end. h
and w are the biases and couplings after all such parts have moved (the zero-sum gauge), so that two runs can be
compared. The attraction is the same in every gauge: by how much an edge favours equal levels, in nats at beta = 1.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from jaxgen import gibbs, visualization

_MOST_LEVELS = 4  # maps of biases
_BLOCKS = ListedColormap(["#4c78a8", "#f2b36f", "#72b7a1", "#d67195", "#9d7fb8", "#c9c36b"])


def zero_sum(lattice: gibbs.Lattice, params: dict) -> tuple[Float[np.ndarray, "H W L"], dict]:
    """Return the biases h and, by offset, the couplings w of the same model in the zero-sum gauge."""
    bias = np.array(params["bias"], np.float64)
    flat = bias.reshape(lattice.n_sites, -1)
    couplings = {}
    for offset, coupling in gibbs.edge_couplings(lattice, params):
        coupling = np.asarray(coupling, np.float64)
        rows, columns = coupling.mean(3), coupling.mean(2)
        for sites, seen in zip(lattice.edges(offset), (rows, columns), strict=True):
            np.add.at(flat, sites, seen.reshape(len(sites), -1))
        couplings[offset] = coupling - rows[..., None] - columns[..., None, :] + coupling.mean((2, 3))[..., None, None]
    return bias - bias.mean(-1, keepdims=True), couplings


def attraction(coupling: Float[np.ndarray, "h w L L"]) -> Float[np.ndarray, "h w"]:
    """Return the mean of the diagonal minus the mean of the rest, for every edge of one offset."""
    levels = coupling.shape[-1]
    trace = np.trace(coupling, axis1=2, axis2=3)
    return trace / levels - (coupling.sum((2, 3)) - trace) / (levels * (levels - 1))


def parameter_figure(path: str | Path, lattice: gibbs.Lattice, params: dict, title: str) -> None:
    """Draw the biases of up to four levels, and the attraction and mean coupling matrix of each offset."""
    bias, couplings = zero_sum(lattice, params)
    shown = np.unique(np.linspace(0, bias.shape[-1] - 1, _MOST_LEVELS).round().astype(int))
    columns = max(len(shown), len(couplings))
    figure = Figure(figsize=(2.9 * columns + 0.8, 8.2), dpi=110, layout="constrained")
    axes = figure.subplots(3, columns, squeeze=False, height_ratios=(1, 1, 0.7))
    for axis in axes.ravel():
        axis.set_axis_off()
    bound = np.quantile(np.abs(bias[..., shown]), 0.99) or 1.0
    for axis, level in zip(axes[0], shown, strict=False):
        drawn = _map(axis, bias[..., level], bound, f"bias of level {level}{_grey(level, bias.shape[-1])}")
    figure.colorbar(drawn, ax=axes[0], label="nats; red: favoured", shrink=0.8)
    maps = {offset: attraction(coupling) for offset, coupling in couplings.items()}
    bound = max(np.quantile(np.abs(values), 0.99) for values in maps.values()) or 1.0
    for axis, (offset, values) in zip(axes[1], maps.items(), strict=False):
        drawn = _map(axis, values, bound, f"edges to the {_direction(offset)}\nmean {values.mean():.2f}")
    figure.colorbar(drawn, ax=axes[1], label="attraction (nats)\nred: equal levels favoured", shrink=0.8)
    means = {offset: coupling.mean((0, 1)) for offset, coupling in couplings.items()}
    bound = max(np.abs(mean).max() for mean in means.values()) or 1.0
    for axis, (offset, mean) in zip(axes[2], means.items(), strict=False):
        axis.set_axis_on()
        drawn = _map(axis, mean, bound, f"mean coupling to the {_direction(offset)}")
        axis.set_xlabel("level of the neighbour", fontsize=8)
        axis.set_ylabel("level of the pixel", fontsize=8)
        axis.set_xticks(range(len(mean)))
        axis.set_yticks(range(len(mean)))
    figure.colorbar(drawn, ax=axes[2], label="nats", shrink=0.9)
    figure.suptitle(title, fontsize=11)
    visualization.save_figure(path, figure)


def _map(axis, values, bound: float, title: str):
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=7)
    return axis.imshow(values, cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")


def _grey(level: int, levels: int) -> str:
    return {0: " (black)", levels - 1: " (white)"}.get(level, " (grey)")


def _direction(offset: gibbs.lattice.Offset) -> str:
    named = {(0, 1): "right", (1, 0): "pixel below", (1, 1): "lower right", (1, -1): "lower left"}
    return named.get(offset, f"site {offset[0]} down, {offset[1]} right")


def blocks_figure(path: str | Path, lattices: dict[str, gibbs.Lattice]) -> None:
    """Draw the colouring of every lattice and the neighbours of one site; sites of one colour are updated together.

    Args:
        path: .png, .pdf or .svg.
        lattices: lattices by name.
    """
    columns = min(3, len(lattices))
    rows = -(-len(lattices) // columns)
    figure = Figure(figsize=(4.0 * columns, 4.3 * rows), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, lattice) in zip(axes, lattices.items(), strict=False):
        colours = lattice.colouring
        axis.imshow(colours, cmap=_BLOCKS, vmin=0, vmax=_BLOCKS.N - 1, interpolation="nearest", alpha=0.8)
        centre = np.array([lattice.height // 2, lattice.width // 2])
        reached = {tuple(centre + sign * np.array(offset)) for offset in lattice.offsets for sign in (1, -1)}
        for y, x in reached:
            inside = 0 <= y < lattice.height and 0 <= x < lattice.width
            if inside:
                axis.plot([centre[1], x], [centre[0], y], color="black", linewidth=1.2, alpha=0.6)
                axis.plot(x, y, "o", color="white", markeredgecolor="black", markersize=5)
        axis.plot(centre[1], centre[0], "s", color="red", markeredgecolor="black", markersize=6)
        sizes = np.bincount(colours.ravel())
        axis.set_title(
            f"neighbourhood {name}: {len(sizes)} blocks of {sizes.min()}"
            + (f" to {sizes.max()}" if np.ptp(sizes) else "")
            + f" pixels\nup to {2 * len(lattice.offsets)} neighbours, here of the red pixel",
            fontsize=10,
        )
    figure.suptitle("pixels of one colour are not joined and are updated at the same time", fontsize=11)
    visualization.save_figure(path, figure)
