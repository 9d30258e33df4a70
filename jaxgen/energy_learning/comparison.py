"""Gradient estimators beside the exact gradients: their error against beta, and their direction during training.

    relative error   |g - g*| / |g*|,  fitted slope: of log error against log beta
    cosine           <g_l, g*_l> / |g_l| |g*_l|,  per layer, of the weights alone

g* is recurrent backprop for Hopfield energies and backprop for predictive coding. Slopes are fitted in float64.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxgen import data, training
from jaxgen.energy_learning.config import EnergyLearningConfig, build_model, build_settings
from jaxgen.energy_learning.energies.cost import squared_error
from jaxgen.energy_learning.energies.hopfield import Hopfield, sigmoid
from jaxgen.energy_learning.energies.minimiser import Minimiser
from jaxgen.energy_learning.energies.model import Model
from jaxgen.energy_learning.energies.network import Params, dense_network, layer_names
from jaxgen.energy_learning.energies.predictive_coding import PredictiveCoding
from jaxgen.energy_learning.estimators import equilibrium
from jaxgen.energy_learning.estimators.equilibrium import Phases
from jaxgen.energy_learning.estimators.predictive import fixed_prediction, hard_nudge, z_il
from jaxgen.energy_learning.estimators.reference import backprop, recurrent_backprop
from jaxgen.energy_learning.schemes import build_scheme
from jaxgen.training.step import GradFn

WIDTHS, INPUTS, BATCH = (6, 5, 3), 4, 5
RELAXED = Minimiser(5000, 1e-14)
PHASES = Phases(RELAXED, RELAXED)


class ErrorCurve(NamedTuple):
    """Relative errors at values of beta, the slope fitted on logarithmic axes, and its expected value in words."""

    beta: Float[np.ndarray, "points"]
    error: Float[np.ndarray, "points"]
    slope: float
    expected: str


def error_curves(seed: int, halvings: int = 5) -> dict[str, ErrorCurve]:
    """Return the curve of every estimator with a beta, on a random 4-6-5-3 network and five examples."""
    with jax.enable_x64(True):
        return _hopfield_curves(seed, halvings) | _predictive_curves(seed, halvings)


def exact_errors(seed: int) -> dict[str, float]:
    """Return relative errors to backprop of the estimators without a beta, whether they equal it or not."""
    with jax.enable_x64(True):
        model, params, batch = _predictive(seed)
        reference = _flat(_gradient(backprop(model), params, batch))
        schemes = {
            "Z-IL": z_il(model),
            "Z-IL with gamma 0.9": z_il(model, 0.9),
            "fixed prediction": fixed_prediction(model, RELAXED),
            "fixed prediction, one step of 0.3": fixed_prediction(model, Minimiser(1)),
        }
        return {name: _off(_flat(_gradient(g, params, batch)), reference) for name, g in schemes.items()}


def cosines(
    train: GradFn,
    reference: GradFn,
    params: Params,
    batches: Sequence[dict],
    every: int,
    tx: optax.GradientTransformation,
) -> Float[np.ndarray, "comparisons L"]:
    """Train by `train` on all batches but the last, and compare it there with `reference` every `every` steps."""
    *batches, probe = batches
    step = jax.jit(training.make_train_step(train, tx))
    compare = jax.jit(lambda params: (train(params, None, None, probe)[0], reference(params, None, None, probe)[0]))
    state, comparisons = training.create(jax.random.key(0), params, tx), []
    for number, batch in enumerate(batches):
        if number % every == 0:
            comparisons.append(_layer_cosines(*compare(state.params)))
        state, _ = step(state, batch)
    return np.array(comparisons)


def training_cosines(
    seed: int, width: int, steps: int, every: int, schemes: Mapping[str, tuple[str, str, str]]
) -> dict[str, Float[np.ndarray, "comparisons L"]]:
    """Return the cosines on a held-out batch of every scheme while it trains on MNIST.

    Args:
        seed: of parameters and order of batches.
        width: units of each of the two hidden layers.
        steps: updates, on batches of 128.
        every: updates between comparisons.
        schemes: name -> (scheme, energy, scheme of the exact gradient).
    """
    images, labels = data.split(data.load("mnist"), "train")
    order = data.EpochOrder(training.seed_key(seed), len(images), 128)
    batches = [_images_batch(images, labels, order.indices(step)) for step in range(steps + 1)]
    comparisons = {}
    for name, (scheme, energy, exact) in schemes.items():
        setting = EnergyLearningConfig(
            scheme=scheme, energy=energy, dataset="mnist", widths=f"{width},{width}", weight_scale=0.5, beta=0.1,
            free_sweeps=100, nudged_sweeps=100, tolerance=1e-5, step_size=0.2,
        )  # fmt: skip
        model, settings = build_model(setting, 10), build_settings(setting)
        grad_fn, reference = (build_scheme(which, model, settings) for which in (scheme, exact))
        params = model.network.init(training.seed_key(seed), batches[0]["x"])
        comparisons[name] = cosines(grad_fn, reference, params, batches, every, optax.adam(1e-3))
    return comparisons


def _images_batch(images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
    flat = images[index].reshape(len(index), -1).astype(np.float32) / 255
    return {"x": flat, "y": np.eye(10, dtype=np.float32)[labels[index]]}


def _hopfield_curves(seed: int, halvings: int) -> dict[str, ErrorCurve]:
    model = Hopfield(dense_network(WIDTHS), sigmoid, squared_error)
    params, batch = _random(model, seed)
    exact = _flat(_gradient(recurrent_backprop(model, PHASES), params, batch))
    points = {
        "EP positive": (equilibrium.positive, 0.1, "1"),
        "EP negative": (equilibrium.negative, 0.1, "1"),
        "EP centred": (equilibrium.centred, 0.4, "2"),
        "EP, 4 roots of unity": (lambda beta: equilibrium.roots_of_unity(beta, 4), 0.4, "4"),
        "EP, 6 roots of unity": (lambda beta: equilibrium.roots_of_unity(beta, 6), 0.4, "6"),
    }
    curves = {}
    for name, (make, largest, expected) in points.items():
        estimator = lambda beta, make=make: equilibrium.equilibrium_propagation(model, make(beta), PHASES)  # noqa: E731
        curves[name] = _curve(estimator, params, batch, exact, largest, halvings, expected)
    held = lambda beta: equilibrium.coupled_learning(model, beta, PHASES)  # noqa: E731
    curves["coupled learning"] = _curve(held, params, batch, exact, 0.4, halvings, "0: another gradient")
    leaked = lambda beta: equilibrium.equilibrium_propagation(  # noqa: E731
        model, [equilibrium.Point(beta, 1 / beta), equilibrium.Point(beta / 2, -1 / beta)], PHASES
    )
    curves["EP with the label leaked"] = _curve(leaked, params, batch, exact, 0.4, halvings, "0: must fail")
    return curves


def _predictive_curves(seed: int, halvings: int) -> dict[str, ErrorCurve]:
    model, params, batch = _predictive(seed)
    exact = _flat(_gradient(backprop(model), params, batch))
    limit = _flat(hard_nudge_limit(model, params, batch))
    soft = lambda beta: equilibrium.equilibrium_propagation(model, equilibrium.centred(beta), PHASES)  # noqa: E731
    hard = lambda beta: hard_nudge(model, beta, RELAXED)  # noqa: E731
    return {
        "PC soft nudge, centred": _curve(soft, params, batch, exact, 0.1, halvings, "2"),
        "PC hard nudge": _curve(hard, params, batch, exact, 0.4, halvings, "0: not backprop"),
        "PC hard nudge against S^-1 delta": _curve(hard, params, batch, limit, 0.4, halvings, "1"),
    }


def hard_nudge_limit(model: PredictiveCoding, params: Params, batch: dict[str, Array]) -> Params:
    """Return the limit of hard nudges: backprop with the delta of the output replaced by S^-1 delta.

    S = sum_l J_{L<-l} J_{L<-l}^T.
    """
    depth = model.network.depth

    def above(z: Array, layer: int) -> Array:
        states = [None] * (layer - 1) + [z[None]]
        for number in range(layer + 1, depth + 1):
            states.append(model.prediction(params, z, states, number))
        return states[-1][0]

    def output(params: Params) -> Array:
        return model.start(params, model.drive(params, batch["x"]))[-1]

    states = model.start(params, model.drive(params, batch["x"]))
    stiffness = jnp.eye(states[-1].shape[1])
    for layer in range(1, depth):
        jacobian = jax.vmap(jax.jacobian(lambda z, layer=layer: above(z, layer)))(states[layer - 1])
        stiffness = stiffness + jacobian @ jacobian.swapaxes(1, 2)
    delta = jnp.linalg.solve(stiffness, model.cost.gradient(states[-1], batch["y"])[..., None])[..., 0]
    return jax.vjp(output, params)[1](delta / len(delta))[0]


def _predictive(seed: int):
    model = PredictiveCoding(dense_network(WIDTHS), jnp.tanh, squared_error, 0.3)
    return model, *_random(model, seed)


def _random(model: Model, seed: int) -> tuple[Params, dict[str, Array]]:
    """Return parameters with biases of size 0.2, and examples."""
    rng = np.random.default_rng(seed)
    batch = {
        "x": jnp.asarray(rng.uniform(size=(BATCH, INPUTS))),
        "y": jnp.asarray(np.eye(WIDTHS[-1])[rng.integers(0, WIDTHS[-1], BATCH)]),
    }
    params = model.network.init(jax.random.key(seed), batch["x"])
    return jax.tree.map(lambda p: jnp.asarray(p + 0.2 * rng.normal(size=p.shape) * (p.ndim == 1)), params), batch


def _curve(
    make: Callable[[Array], GradFn],
    params: Params,
    batch: dict[str, Array],
    exact: Float[np.ndarray, "P"],
    largest: float,
    halvings: int,
    expected: str,
) -> ErrorCurve:
    betas = largest / 2.0 ** np.arange(halvings + 1)
    compiled = jax.jit(lambda beta: make(beta)(params, None, None, batch)[0])
    errors = np.array([_off(_flat(compiled(beta)), exact) for beta in betas])
    # Errors at the rounding of float64 say nothing about the order.
    clear = errors > 1e-11
    slope = np.polyfit(np.log(betas[clear]), np.log(errors[clear]), 1)[0]
    return ErrorCurve(betas, errors, float(slope), expected)


def _gradient(grad_fn: GradFn, params: Params, batch: Mapping[str, Array]) -> Params:
    return jax.jit(grad_fn)(params, None, None, batch)[0]


def _layer_cosines(estimated: Params, exact: Params) -> list[float]:
    pairs = [(np.ravel(estimated[name]["kernel"]), np.ravel(exact[name]["kernel"])) for name in layer_names(len(exact))]
    return [float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)) for a, b in pairs]


def _flat(tree: Params) -> Float[np.ndarray, "P"]:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _off(estimated: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(estimated - exact) / np.linalg.norm(exact))
