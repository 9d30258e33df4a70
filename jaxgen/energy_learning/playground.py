"""The XOR playground: initial weights and biases, scheme and beta by slider, the trained network beside them.

    names    w1[i,j], b1[j], w2[j,k], b2[k] of a 2-2-2 network: from input i to hidden unit j to output k

The sliders set the initial parameters. `trial` is the whole computation; `sliders` adds ipywidgets to it, and
`static_figure` draws one trial without them.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxgen import training
from jaxgen.energy_learning.config import EnergyLearningConfig
from jaxgen.energy_learning.energies.network import Params
from jaxgen.energy_learning.evaluate import evaluate
from jaxgen.energy_learning.schemes import SCHEMES
from jaxgen.energy_learning.task import XOR_X, XOR_Y, EnergyTask, Examples
from jaxgen.errors import UserError

SHAPES = {"w1": (2, 2), "b1": (2,), "w2": (2, 2), "b2": (2,)}
NAMES = tuple(f"{name}[{','.join(map(str, place))}]" for name, shape in SHAPES.items() for place in np.ndindex(*shape))
# Initial values from which the default scheme learns XOR; it does from about half of all, as backprop does.
DEFAULTS = dict(zip(NAMES, (0.0, 1.8, -1.4, 1.8, -0.8, -0.3, 1.3, -0.4, 0.2, -1.9, 1.0, 0.2), strict=True))
PLAYABLE = tuple(name for name, scheme in SCHEMES.items() if name != "ep_n_point")


class Trial(NamedTuple):
    """Parameters before and after, and by epoch the energy, cost and share of wrong answers of the free phase."""

    start: Params
    params: Params
    energy: Float[np.ndarray, "epochs"]
    cost: Float[np.ndarray, "epochs"]
    error: Float[np.ndarray, "epochs"]
    output: Float[np.ndarray, "4 2"]
    task: EnergyTask


def start_params(values: Mapping[str, float]) -> Params:
    """Return the 2-2-2 network with these weights and biases. UserError for a name that is missing or unknown."""
    if set(values) != set(NAMES):
        strange = sorted(set(values) ^ set(NAMES))
        raise UserError(f"values has or lacks {strange[0]}; allowed: exactly {', '.join(NAMES)}")
    flat = iter(values[name] for name in NAMES)
    arrays = {
        name: jnp.array([next(flat) for _ in np.ndindex(*shape)], jnp.float32).reshape(shape)
        for name, shape in SHAPES.items()
    }
    return {f"layer_{k}": {"kernel": arrays[f"w{k}"], "bias": arrays[f"b{k}"]} for k in (1, 2)}


def trial(
    values: Mapping[str, float], scheme: str = "ep_centred", beta: float = 0.1, epochs: int = 300, rate: float = 0.03
) -> Trial:
    """Train a 2-2-2 network on XOR with Adam from the given weights and biases, and read it without labels.

    UserError for a name, scheme or beta that is not allowed.
    """
    start = start_params(values)
    task, step, tx = _compiled(scheme, beta, rate)
    state = training.create(jax.random.key(0), jax.tree.map(lambda leaf: leaf[None].copy(), start), tx)
    history = []
    batch = task.arrays() | {"position": jnp.arange(4, dtype=jnp.uint32)}
    for _ in range(epochs):
        state, metrics = step(state, batch)
        history.append(metrics)
    curves = {name: np.array([float(metrics[name]) for metrics in history]) for name in ("energy", "loss", "error")}
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    output = evaluate(task, state.params, task.test).output[0]
    return Trial(start, params, curves["energy"], curves["loss"], curves["error"], output, task)


def trial_figure(result: Trial) -> Any:
    """Return a figure: the network before and after on input (1, 0), the curves, and the decision surface."""
    from matplotlib.figure import Figure  # here, so that the rest does without it

    figure = Figure(figsize=(12.5, 6.6), dpi=90, layout="constrained")
    axes = figure.subplots(2, 3)
    for place, (title, params) in enumerate((("before", result.start), ("after", result.params))):
        _draw(axes[0, place], params, result.task, f"{title}: states on input 1 0, without the label")
    for place, name in ((axes[1, 0], "energy"), (axes[1, 1], "cost"), (axes[1, 2], "error")):
        place.plot(getattr(result, name), linewidth=1.2)
        place.set_title({"error": "share of wrong answers, label-free"}.get(name, name), fontsize=10)
        place.set_xlabel("epoch", fontsize=9)
        place.grid(alpha=0.3)
    side = np.linspace(-0.25, 1.25, 31, dtype=np.float32)
    points = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    stacked = jax.tree.map(lambda leaf: leaf[None], result.params)
    output = evaluate(result.task, stacked, Examples(points, np.zeros(len(points), int), 2)).output[0]
    lead = (output[:, 1] - output[:, 0]).reshape(31, 31)
    bound = max(1e-3, float(np.abs(lead).max()))
    picture = axes[0, 2].pcolormesh(side, side, lead, cmap="PuOr", vmin=-bound, vmax=bound)
    figure.colorbar(picture, ax=axes[0, 2], label="output 1 - output 0")
    for (a, b), label in zip(XOR_X, XOR_Y, strict=True):
        axes[0, 2].plot(a, b, "o" if label else "s", color="white", markeredgecolor="black")
    answers = [f"{int(a)}{int(b)}→{o.argmax()}" for (a, b), o in zip(XOR_X, result.output, strict=True)]
    correct = int((result.output.argmax(1) == XOR_Y).sum())
    axes[0, 2].set_title(f"answers {' '.join(answers)}: {correct} of 4 correct", fontsize=10)
    return figure


def static_figure(path: str | Path, values: Mapping[str, float] = DEFAULTS, scheme: str = "ep_centred") -> None:
    """Write the figure of one trial."""
    from jaxgen import visualization

    visualization.save_figure(path, trial_figure(trial(values, scheme)))


def sliders():
    """Return an ipywidgets box: one slider per weight and bias, scheme, beta, epochs, and a button that trains.

    The box has the attributes `values()`, the values of the sliders, and `run()`, the action of the button.
    """
    import ipywidgets as widgets
    from IPython.display import display

    slider = functools.partial(widgets.FloatSlider, min=-4.0, max=4.0, step=0.1, continuous_update=False)
    weights = {name: slider(value=DEFAULTS[name], description=name) for name in NAMES}
    scheme = widgets.Dropdown(options=PLAYABLE, value="ep_centred", description="scheme")
    beta = widgets.FloatLogSlider(value=0.1, min=-3, max=0, step=0.1, description="beta")
    epochs = widgets.IntSlider(value=300, min=10, max=2000, step=10, description="epochs")
    button, out = widgets.Button(description="train"), widgets.Output()

    def values() -> dict[str, float]:
        return {name: control.value for name, control in weights.items()}

    def run(_: object = None) -> Trial:
        result = trial(values(), scheme.value, beta.value, epochs.value)
        out.clear_output(wait=True)
        with out:
            display(trial_figure(result))
        return result

    button.on_click(run)
    rows = [widgets.HBox([weights[name] for name in NAMES[k : k + 4]]) for k in range(0, len(NAMES), 4)]
    box = widgets.VBox([*rows, widgets.HBox([scheme, beta, epochs, button]), out])
    box.values, box.run, box.controls = values, run, {**weights, "scheme": scheme, "beta": beta, "epochs": epochs}
    return box


@functools.lru_cache(maxsize=32)
def _compiled(scheme: str, beta: float, rate: float):
    """Return task, jitted step and optimiser of a playground network."""
    energy = "sigmoid" if scheme not in SCHEMES or SCHEMES[scheme].equilibrium else "predictive_coding"
    config = EnergyLearningConfig(
        seeds=1,
        widths="2",
        energy=energy,
        scheme=scheme,
        beta=beta,
        step_size=0.1,
        nudged_sweeps=50,
        learning_rate=rate,
    )
    task = EnergyTask.load(config)
    tx = optax.adam(rate)
    return task, jax.jit(training.make_train_step(task.grad_fn(), tx)), tx


def _draw(axes, params: Params, task: EnergyTask, title: str) -> None:
    from jaxgen import visualization

    x = jnp.asarray(XOR_X[2:3])
    drive = task.model.drive(params, x)
    states, _ = task.settings.phases.free(task.model.sweep(params, drive), task.model.start(params, drive))
    layers = [params["layer_1"], params["layer_2"]]
    visualization.draw_network(
        axes,
        [np.asarray(layer["kernel"]) for layer in layers],
        [np.asarray(layer["bias"]) for layer in layers],
        [XOR_X[2], *(np.asarray(s[0]) for s in states)],
    )
    axes.set_title(title, fontsize=10)
