"""A drawing of a layered network: units coloured by activation, connections by weight."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from jaxgen.errors import UserError
from jaxgen.visualization.grids import save_figure

_WEIGHTS = matplotlib.colormaps["RdBu"]
_LABELLED = 16  # connections; with more, numbers would hide one another


def draw_network(
    axes: Axes,
    weights: Sequence[Float[np.ndarray, "_below _above"]],
    biases: Sequence[Float[np.ndarray, "_above"]],
    activations: Sequence[Float[np.ndarray, "_units"]],
    *,
    bound: float | None = None,
) -> None:
    """Draw units in columns, input on the left, with activations, biases beside them; few weights also in numbers.

    Args:
        axes: where to draw.
        weights: W_1 ... W_L, (units below, units above).
        biases: b_1 ... b_L.
        activations: of layers 0 ... L, the input first; colours run over [0, 1].
        bound: the weight of the strongest colour, by default the largest magnitude there is.

    Raises:
        UserError: numbers of layers or widths that do not fit each other.
    """
    import networkx as nx  # a third of a second of start-up that no other picture needs

    _check(weights, biases, activations)
    graph = nx.DiGraph()
    for layer, values in enumerate(activations):
        graph.add_nodes_from(((layer, unit), {"layer": layer}) for unit in range(len(values)))
    for layer, weight in enumerate(weights):
        for below, above in np.ndindex(*weight.shape):
            graph.add_edge((layer, below), (layer + 1, above), weight=float(weight[below, above]))
    # The layout puts layers side by side; units are spread over the whole height in each of them.
    position = {
        node: (x, -(node[1] + 0.5) / len(activations[node[0]]))
        for node, (x, _) in nx.multipartite_layout(graph, subset_key="layer").items()
    }
    strength = [weight for _, _, weight in graph.edges.data("weight")]
    bound = bound or max(map(abs, strength)) or 1.0
    diameter = min(32.0, 180.0 / max(map(len, activations)))  # points
    nx.draw_networkx_edges(
        graph, position, ax=axes, edge_color=strength, edge_cmap=_WEIGHTS, edge_vmin=-bound, edge_vmax=bound,
        width=[0.5 + 3 * min(1.0, abs(weight) / bound) for weight in strength], arrows=True, arrowstyle="-",
        node_size=diameter**2,
    )  # fmt: skip
    if graph.number_of_edges() <= _LABELLED:
        labels = {(a, b): f"{weight:.2f}" for a, b, weight in graph.edges.data("weight")}
        # Off the middle, where the lines between two layers cross.
        texts = nx.draw_networkx_edge_labels(graph, position, labels, ax=axes, font_size=7, label_pos=0.72)
        for text in texts.values():
            text.set_zorder(4)  # above the edges, which are patches of the same order
    flat = [float(value) for values in activations for value in values]
    nx.draw_networkx_nodes(
        graph, position, ax=axes, node_size=diameter**2, node_color=flat, cmap="cividis", vmin=0, vmax=1,
        edgecolors="black",
    )  # fmt: skip
    for (layer, unit), value in zip(graph.nodes, flat, strict=True):
        shade = "white" if value < 0.5 else "black"
        axes.text(*position[layer, unit], f"{value:.2f}", ha="center", va="center", fontsize=diameter / 4, color=shade)
        if layer:
            bias = f"b {biases[layer - 1][unit]:.2f}"
            beside = {"textcoords": "offset points", "xytext": (0.6 * diameter, 0.3 * diameter), "fontsize": 6}
            beside |= {"zorder": 5, "bbox": {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}}
            axes.annotate(bias, position[layer, unit], **beside)
    axes.margins(0.1)
    axes.set_axis_off()


def network_figure(path: str | Path, panels: Sequence[tuple], *, title: str | None = None) -> None:
    """Write a figure of several drawings of networks with common colours.

    Args:
        path: .png, .pdf or .svg.
        panels: (title, weights, biases, activations), as for `draw_network`.
        title: of the whole figure.

    Raises:
        UserError: no panels, or what `draw_network` refuses.
    """
    if not panels:
        raise UserError("panels is empty; allowed: one or more")
    for panel in panels:
        _check(*panel[1:])
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.6 * columns + 0.8, 3.8 * rows), dpi=110, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    bound = max(float(np.abs(weight).max()) for _, weights, _, _ in panels for weight in weights) or 1.0
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, weights, biases, activations) in zip(grid.ravel(), panels, strict=False):
        draw_network(axes, weights, biases, activations, bound=bound)
        axes.set_title(name, fontsize=10)
    figure.colorbar(ScalarMappable(Normalize(-bound, bound), _WEIGHTS), ax=grid, label="weight", shrink=0.7)
    figure.colorbar(ScalarMappable(Normalize(0, 1), "cividis"), ax=grid, label="activation", shrink=0.7)
    if title:
        figure.suptitle(title, fontsize=12)
    save_figure(path, figure)


def _check(weights: Sequence, biases: Sequence, activations: Sequence) -> None:
    if not weights or len(weights) != len(biases) or len(activations) != len(weights) + 1:
        raise UserError(
            f"weights, biases and activations have {len(weights)}, {len(biases)} and {len(activations)} layers; "
            "allowed: L, L and L + 1, L of 1 or more"
        )
    for layer, weight in enumerate(weights):
        expected = (len(activations[layer]), len(activations[layer + 1]))
        if np.shape(weight) != expected or np.shape(biases[layer]) != expected[1:]:
            raise UserError(
                f"weights[{layer}] has shape {np.shape(weight)} and biases[{layer}] {np.shape(biases[layer])}; "
                f"allowed between these layers: {expected} and {expected[1:]}"
            )
