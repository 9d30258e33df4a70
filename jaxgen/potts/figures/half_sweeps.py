"""Block Gibbs chains after every colour of a sweep: half-sweeps for two colours, quarter-sweeps for four.

    x_C <- draw from p(x_C | all others)          for every colour C in turn: one sweep

A step of one colour is a sweep with all other sites clamped, so the law is that of `gibbs.sample`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from matplotlib.figure import Figure

from jaxgen import gibbs, visualization
from jaxgen.errors import UserError

_TINTS = np.array([[60, 120, 220], [240, 150, 50], [60, 170, 120], [210, 80, 140]], np.float64)
_TINT = 0.30  # share of the tint where a site may change
_TINT_CHANGED = 0.75  # and where it did
_STRETCH = 50  # sweeps


class Phase(NamedTuple):
    """The states after `sweep` whole sweeps and colours 0 .. `colour` of the next; colour -1 is the start."""

    sweep: int
    colour: int
    x: UInt8[Array, "n H W"]


def phases(
    key: Key[Array, ""],
    lattice: gibbs.Lattice,
    params: dict,
    x: UInt8[Array, "n H W"],
    shown: Sequence[int],
    **conditions,
) -> list[Phase]:
    """Return the start, then the states after every colour of every sweep whose number is in `shown`.

    Args:
        key: random key.
        lattice, params: the model.
        x: first states.
        shown: ascending numbers of sweeps, from 0; sweeps between them are run whole.
        conditions: keyword arguments of `gibbs.sample` except `clamp`.

    Raises:
        UserError: numbers that do not ascend.
    """
    if list(shown) != sorted(set(shown)) or (len(shown) and shown[0] < 0):
        raise UserError(f"shown is {list(shown)}; allowed: ascending numbers of sweeps, 0 or more")
    states, done = [Phase(0, -1, x)], 0
    for number in shown:
        x = advance(jax.random.fold_in(key, 2 * number), lattice, params, x, number - done, **conditions)
        for colour in range(lattice.n_colours):
            key_colour = jax.random.fold_in(jax.random.fold_in(key, 2 * number + 1), colour)
            clamp = jnp.asarray(lattice.colouring != colour)
            x, _ = gibbs.sample(key_colour, lattice, params, x, 1, clamp=clamp, **conditions)
            states.append(Phase(number, colour, x))
        done = number + 1
    return states


def advance(
    key: Key[Array, ""], lattice: gibbs.Lattice, params: dict, x: UInt8[Array, "n H W"], n_sweeps: int, **conditions
) -> UInt8[Array, "n H W"]:
    """Return the states after n_sweeps >= 0 sweeps, in calls of _STRETCH sweeps and of 1, so that two are compiled."""
    for number in range(n_sweeps // _STRETCH + n_sweeps % _STRETCH):
        sweeps = _STRETCH if number < n_sweeps // _STRETCH else 1
        x, _ = gibbs.sample(jax.random.fold_in(key, number), lattice, params, x, sweeps, **conditions)
    return x


def phases_gif(
    path: str | Path,
    lattice: gibbs.Lattice,
    levels: int,
    states: Sequence[Phase],
    energies: Sequence[Float[np.ndarray, "n"]],
    of_training: Float[np.ndarray, "m"],
) -> None:
    """Write an animation of the chain whose last energy is nearest to the median, with its energy beside it.

    Sites that may change at a step are tinted by their colour, and those that did change strongly.

    Args:
        path: ends in .gif.
        lattice: the graph.
        levels: number of levels of the states.
        states: what `phases` returned.
        energies: E(x) of every chain for each of these states.
        of_training: E(x) of training images, drawn as a band.
    """
    chain = int(np.abs(energies[-1] - np.median(energies[-1])).argmin())
    images = [np.asarray(phase.x)[chain] for phase in states]
    curve = [float(energy[chain]) for energy in energies]
    figure, draw = _stage(lattice, levels, states, curve, of_training)
    frames = []
    for step, phase in enumerate(states):
        draw(step, _tinted(lattice, levels, images, step, phase.colour))
        frames.append(visualization.figure_array(figure))
        figure.set_layout_engine("none")  # the layout is computed once
    draw(len(states) - 1, _tinted(lattice, levels, images, len(states) - 1, -1))
    frames.append(visualization.figure_array(figure))
    early = 4 * lattice.n_colours
    times = [900] + [400 if step <= early else 160 for step in range(1, len(states))] + [3000]
    visualization.save_colour_gif(path, frames, times)


def _tinted(lattice, levels: int, images, step: int, colour: int) -> UInt8[np.ndarray, "H W 3"]:
    grey = np.repeat(images[step][..., None] * (255.0 / (levels - 1)), 3, axis=-1)
    if colour >= 0:
        free = lattice.colouring == colour
        share = _TINT * free + (_TINT_CHANGED - _TINT) * (free & (images[step] != images[step - 1]))
        grey += share[..., None] * (_TINTS[colour % len(_TINTS)] - grey)
    return grey.astype(np.uint8)


def _stage(lattice, levels: int, states, curve, of_training):
    """Return the figure of one frame, and a function that changes it to step number `step`."""
    figure = Figure(figsize=(6.4, 3.3), dpi=80, layout="constrained")
    picture, energy = figure.subplots(1, 2, width_ratios=(1, 1.15))
    shown = picture.imshow(np.zeros((lattice.height, lattice.width, 3), np.uint8), interpolation="nearest")
    picture.set_axis_off()
    # Colours are fractions of a sweep. One is added for the logarithmic axis.
    times = [1 + phase.sweep + (phase.colour + 1) / lattice.n_colours for phase in states]
    above = np.asarray(curve) - np.mean(of_training)
    energy.axhspan(
        *np.quantile(of_training - np.mean(of_training), (0.05, 0.95)), color="0.85", label="training images, 90 %"
    )
    (line,) = energy.plot([], [], color="black", linewidth=1.2)
    (dot,) = energy.plot([], [], "o", color="C3", markersize=5)
    energy.set_xscale("log")
    energy.set_xlim(0.9, times[-1] * 1.3)
    energy.set_yscale("symlog", linthresh=100)
    energy.set_ylim(min(-100, 2 * above.min()), 2 * max(100, above.max()))
    energy.set_xlabel("sweeps + 1", fontsize=9)
    energy.set_title("energy less the training images' mean", fontsize=10)
    energy.tick_params(labelsize=8)
    energy.legend(fontsize=8, loc="upper right")

    def draw(step: int, image) -> None:
        phase = states[step]
        shown.set_data(image)
        what = "noise" if phase.colour < 0 else f"colour {phase.colour + 1} of {lattice.n_colours}"
        picture.set_title(f"sweep {phase.sweep + (phase.colour >= 0)}: {what}", fontsize=10)
        line.set_data(times[: step + 1], above[: step + 1])
        dot.set_data([times[step]], [above[step]])

    return figure, draw
