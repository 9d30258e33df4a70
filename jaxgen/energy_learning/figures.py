"""Figures of trained networks: learning curves, what XOR networks compute, gradients beside the exact ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxgen import runs, visualization
from jaxgen.energy_learning.comparison import ErrorCurve
from jaxgen.energy_learning.energies.network import Params
from jaxgen.energy_learning.evaluate import evaluate, free_states
from jaxgen.energy_learning.task import XOR_X, XOR_Y, EnergyTask, Examples

GRID = 41


def curves_figure(path: str | Path, records: Sequence[dict[str, float]]) -> None:
    """Draw energy, cost, label-free error, gradient norm and residuals of a run from the records of metrics.jsonl."""
    panels = {
        "energy": {"training": runs.curve(records, "energy"), "label-free": runs.curve(records, "cold_energy")},
        "cost": {"training, free phase": runs.curve(records, "loss"), "label-free": runs.curve(records, "cold_cost")},
        "share of wrong answers": {
            "training, free phase": runs.curve(records, "error"),
            "label-free, cold": runs.curve(records, "cold_error"),
            "label-free, warm": runs.curve(records, "warm_error"),
        },
        "gradient norm": {"": runs.curve(records, "grad_norm")},
        "residual": {
            "free phase": runs.curve(records, "free_residual"),
            "nudged phase": runs.curve(records, "nudged_residual"),
        },
    }
    panels = {title: {k: c for k, c in curves.items() if c[0]} for title, curves in panels.items()}
    panels = {title: curves for title, curves in panels.items() if curves}
    visualization.curves_figure(path, panels, xlabel="step", log=["cost", "gradient norm"])


def xor_figure(path: str | Path, task: EnergyTask, params: Params) -> None:
    """Draw the decision surface and the truth table of every network, read without labels from the cold start."""
    side = np.linspace(-0.25, 1.25, GRID, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    surface = evaluate(task, params, Examples(grid, np.zeros(len(grid), int), 2)).output
    table = evaluate(task, params, task.test)
    lead = (surface[..., 1] - surface[..., 0]).reshape(-1, GRID, GRID)
    columns = min(5, len(lead))
    rows = -(-len(lead) // columns)
    figure = Figure(figsize=(2.5 * columns + 0.8, 3.4 * rows), dpi=100, layout="constrained")
    grid_axes = figure.subplots(rows, columns, squeeze=False)
    bound = max(1.0, float(np.abs(lead).max()))
    for axes in grid_axes.ravel()[len(lead) :]:
        axes.set_axis_off()
    for k, axes in zip(range(len(lead)), grid_axes.ravel(), strict=False):
        picture = axes.pcolormesh(side, side, lead[k], cmap="PuOr", vmin=-bound, vmax=bound, rasterized=True)
        if lead[k].min() < 0 < lead[k].max():
            axes.contour(side, side, lead[k], [0.0], colors="black", linewidths=1)
        for (a, b), label in zip(XOR_X, XOR_Y, strict=True):
            axes.plot(a, b, "o" if label else "s", color="white", markeredgecolor="black", markersize=8)
        axes.set_title(f"network {k}", fontsize=9)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=7)
        lines = [
            f"{int(a)} {int(b)} → {o[0]:+.2f} {o[1]:+.2f} {'correct' if o.argmax() == label else 'WRONG'}"
            for (a, b), label, o in zip(XOR_X, XOR_Y, table.output[k], strict=True)
        ]
        axes.set_xlabel("\n".join(lines), fontsize=7, family="monospace")
    figure.colorbar(picture, ax=grid_axes, label="output 1 - output 0", shrink=0.6)
    figure.suptitle("XOR without labels, from a cold start (circles: 1, squares: 0; below: x → outputs)", fontsize=10)
    visualization.save_figure(path, figure)


def drawing_figure(path: str | Path, task: EnergyTask, params: Params, network: int = 0) -> None:
    """Draw one network of an XOR run with its weights, biases and free states on each of the four inputs."""
    layers = range(1, task.model.network.depth + 1)
    weights = [np.asarray(params[f"layer_{number}"]["kernel"][network]) for number in layers]
    biases = [np.asarray(params[f"layer_{number}"]["bias"][network]) for number in layers]
    states = free_states(task, params, jnp.asarray(XOR_X))
    panels = []
    for example, (a, b) in enumerate(XOR_X):
        activations = [XOR_X[example], *(np.asarray(s[example, network]) for s in states)]
        panels.append((f"input {int(a)} {int(b)}", weights, biases, activations))
    visualization.network_figure(path, panels, title=f"{task.config.scheme}, network {network}, free equilibrium")


def slopes_figure(path: str | Path, curves: Mapping[str, ErrorCurve]) -> None:
    """Draw the relative error of each estimator against beta, with its fitted slope in the legend."""
    figure = Figure(figsize=(8.4, 4.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab10"].colors
    for number, (name, curve) in enumerate(curves.items()):
        style = "os^Dv"[number % 5] + ("-" if number < 5 else "--")
        label = f"{name}: slope {curve.slope:.2f}"
        axes.loglog(curve.beta, curve.error, style, markersize=5, color=colours[number % 10], label=label)
    axes.set_xlabel("beta")
    axes.set_ylabel("relative error of the gradient")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    visualization.save_figure(path, figure)


def cosine_figure(path: str | Path, steps: Sequence[int], cosines: Mapping[str, Float[np.ndarray, "steps L"]]) -> None:
    """Draw one panel per scheme: the cosine of its gradient with the exact one, per layer, during training."""
    columns = min(4, len(cosines))
    rows = -(-len(cosines) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.7 * rows), dpi=110, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in grid.ravel()[len(cosines) :]:
        axes.set_axis_off()
    for axes, (name, values) in zip(grid.ravel(), cosines.items(), strict=False):
        for layer in range(values.shape[1]):
            axes.plot(steps, values[:, layer], ".-", linewidth=1.2, label=f"layer {layer + 1}")
        axes.axhline(0.0, color="grey", linewidth=0.8)
        axes.set_ylim(-0.2, 1.08)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("update", fontsize=8)
        axes.grid(alpha=0.3)
    grid[0, 0].set_ylabel("cosine", fontsize=9)
    grid[0, 0].legend(fontsize=8)
    visualization.save_figure(path, figure)
