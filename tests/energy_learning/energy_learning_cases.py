"""Small random networks and the references that the theorems are held against, float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import energy_learning as el

RELAXED = el.Minimiser(3000, 1e-14)
PHASES = el.Phases(RELAXED, RELAXED)
BETAS = [0.4, 0.2, 0.1, 0.05, 0.025]


def double(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def batch(n=5, inputs=4, outputs=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.eye(outputs)[rng.integers(0, outputs, n)]
    return {"x": jnp.asarray(rng.uniform(size=(n, inputs))), "y": jnp.asarray(y)}


def hopfield(unit=el.sigmoid, cost=el.squared_error, widths=(6, 5, 3), scale=None, **options):
    """A model and parameters with biases that are not 0, and clipped units that are not all at a bound."""
    scale = scale or (0.5 if unit is el.clipped else 1.0)
    model, params = started(el.Hopfield(el.dense_network(widths, scale), unit, cost, **options))
    if unit is el.clipped:
        params = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf + 0.3 * ("bias" in str(path)), params)
    return model, params


def coding(cost=el.squared_error, activation=jnp.tanh, widths=(6, 5, 3), **options):
    options = {"step_size": 0.3} | options
    return started(el.PredictiveCoding(el.dense_network(widths), activation, cost, **options))


def started(model, x=None):
    params = double(model.network.init(jax.random.key(3), batch()["x"] if x is None else x))
    rng = np.random.default_rng(7)
    noise = lambda path, leaf: leaf + 0.2 * rng.normal(size=leaf.shape) * ("bias" in str(path))  # noqa: E731
    return model, jax.tree_util.tree_map_with_path(noise, params)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def gradient(grad_fn, params, data, carry=None):
    return flat(jax.jit(grad_fn)(params, carry, jax.random.key(0), data)[0])


def sweep_beta(make, params, data, betas):
    """The gradient of make(beta) for every beta, compiled once."""
    compiled = jax.jit(lambda beta: make(beta)(params, None, jax.random.key(0), data)[0])
    return [flat(compiled(beta)) for beta in betas]


def off(estimated, expected):
    """Relative error."""
    return float(np.linalg.norm(estimated - expected) / np.linalg.norm(expected))


def slope(errors, betas):
    return float(np.polyfit(np.log(betas), np.log(errors), 1)[0])


def unrolled(model, params, data, nudge=None, clamped=None, sweeps=150):
    """States after a fixed number of sweeps, differentiable in params; `clamped`, an output to hold."""
    drive = model.drive(params, data["x"])
    states = model.start(params, drive)
    if clamped is not None:
        states = (*states[:-1], clamped)
    sweep = model.sweep(params, drive, nudge, clamped is not None)
    return jax.lax.scan(lambda states, _: (sweep(states), None), states, length=sweeps)[0]


def total_energy(model, params, data, beta=0.0, clamped=None):
    """Mean over the batch of the minimum of E + beta C."""
    nudge = el.Nudge(beta, data["y"]) if beta else None
    states = unrolled(model, params, data, nudge, clamped)
    cost = model.cost.value(model.output(params, states), data["y"])
    return (model.energy(params, data["x"], states) + beta * cost).mean()


@functools.lru_cache
def case(unit=el.sigmoid, cost=el.squared_error, scale=None):
    """(model, params, data, gradient of the cost at the free equilibrium by the implicit adjoint)."""
    (model, params), data = hopfield(unit, cost, scale=scale), batch()
    return model, params, data, gradient(el.recurrent_backprop(model, PHASES), params, data)


def equilibrium_cost(model, params, data):
    states = unrolled(model, params, data)
    return model.cost.value(model.output(params, states), data["y"]).mean()


def autodiff(function, params):
    return flat(jax.jit(jax.grad(function))(params))


def directional(function, params, seed=11, step=1e-4):
    """(direction, central difference along it): what a gradient's product with the direction must be."""
    rng = np.random.default_rng(seed)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params)
    moved = functools.partial(lambda t: jax.tree.map(lambda leaf, d: leaf + t * d, params, direction))
    function = jax.jit(function)
    # Fourth order, so that rounding rather than truncation is what is left.
    near = function(moved(step)) - function(moved(-step))
    far = function(moved(2 * step)) - function(moved(-2 * step))
    return flat(direction), float((8 * near - far) / (12 * step))
