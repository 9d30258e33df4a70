"""Theorems of equilibrium propagation and of contrastive Hebbian learning, each against two independent references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from energy_learning_cases import (
    BETAS,
    PHASES,
    RELAXED,
    autodiff,
    batch,
    case,
    directional,
    equilibrium_cost,
    flat,
    gradient,
    hopfield,
    off,
    slope,
    sweep_beta,
    total_energy,
)  # fmt: skip

from jaxgen import energy_learning as el

COSTS = {"squared_error": el.squared_error, "cross_entropy": el.cross_entropy}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def propagated(model, params, data, points, betas, phases=PHASES):
    return sweep_beta(lambda beta: el.equilibrium_propagation(model, points(beta), phases), params, data, betas)


@pytest.mark.parametrize(
    "unit, cost",
    [
        (el.sigmoid, el.squared_error),
        pytest.param(el.sigmoid, el.cross_entropy, marks=pytest.mark.slow),
        (el.clipped, el.squared_error),
    ],
    ids=["sigmoid", "cross-entropy", "clipped"],
)
def test_the_references_agree(unit, cost):
    """Implicit adjoint, autodiff through the solved fixed point, and finite differences."""
    model, params, data, implicit = case(unit, cost)

    def solved(params):
        return equilibrium_cost(model, params, data)

    assert off(autodiff(solved, params), implicit) < 1e-12
    direction, difference = directional(solved, params)
    assert direction @ implicit == pytest.approx(difference, rel=1e-8)


@pytest.mark.parametrize(
    "cost, points, order, tolerance",
    [
        (el.squared_error, el.positive, 1, 0.06),
        pytest.param(el.squared_error, el.negative, 1, 0.06, marks=pytest.mark.slow),
        (el.squared_error, el.centred, 2, 0.01),
        (el.squared_error, lambda beta: el.roots_of_unity(beta, 4), 4, 0.01),
        pytest.param(el.squared_error, lambda beta: el.roots_of_unity(beta, 6), 6, 0.02, marks=pytest.mark.slow),
        pytest.param(el.cross_entropy, el.positive, 1, 0.06, marks=pytest.mark.slow),
        (el.cross_entropy, lambda beta: el.roots_of_unity(beta, 4), 4, 0.01),
    ],
    ids=[
        "positive",
        "negative",
        "centred",
        "4 points",
        "6 points",
        "positive, cross-entropy",
        "4 points, cross-entropy",
    ],
)
def test_error_against_beta(cost, points, order, tolerance):
    """One-sided O(beta), centred O(beta^2), N roots of unity O(beta^N)."""
    model, params, data, exact = case(el.sigmoid, cost)
    # The one-sided error bends soonest; the high orders meet rounding if beta is too small.
    betas = [beta / 4 if order == 1 else 2 * beta if order == 6 else beta for beta in BETAS]
    errors = [off(estimated, exact) for estimated in propagated(model, params, data, points, betas)]
    assert slope(errors, betas) == pytest.approx(order, abs=tolerance)
    assert errors[0] < 0.15 and errors[-1] < betas[-1] ** order


@pytest.mark.parametrize("points, order", [pytest.param(el.positive, 1, marks=pytest.mark.slow), (el.centred, 2)])
def test_clipped_units_have_the_same_orders_once_no_unit_changes_side(points, order):
    model, params, data, exact = case(el.clipped)
    betas = [0.003 / 2**k for k in range(5)]
    errors = [off(estimated, exact) for estimated in propagated(model, params, data, points, betas)]
    assert slope(errors, betas) == pytest.approx(order, abs=0.03)


@pytest.mark.parametrize("cost", ["squared_error", pytest.param("cross_entropy", marks=pytest.mark.slow)])
def test_at_finite_beta_it_is_an_exact_gradient(cost):
    """It is the gradient of (min(E + beta C) - min E) / beta, here at beta = 1."""
    model, params, data, exact = case(el.sigmoid, COSTS[cost])

    def objective(params):
        return total_energy(model, params, data, 1.0) - total_energy(model, params, data)

    (estimated,) = propagated(model, params, data, el.positive, [1.0])
    assert off(estimated, autodiff(objective, params)) < 1e-12
    direction, difference = directional(objective, params, step=1e-3)
    assert direction @ estimated == pytest.approx(difference, rel=5e-10)
    # And by far not the gradient of C itself, or the test would not tell.
    assert off(estimated, exact) > 0.05


@pytest.mark.parametrize(
    "unit", [el.sigmoid, pytest.param(el.clipped, marks=pytest.mark.slow)], ids=["sigmoid", "clipped"]
)
def test_contrastive_hebbian_learning_is_the_gradient_of_the_energy_gap(unit):
    """It is the gradient of E_clamped - E_free, not of C."""
    model, params, data, exact = case(unit)

    def gap(params):
        return total_energy(model, params, data, clamped=data["y"]) - total_energy(model, params, data)

    estimated = gradient(el.contrastive_hebbian(model, PHASES), params, data)
    assert off(estimated, autodiff(gap, params)) < 1e-12
    # A clipped unit that changes side within the step would spoil the difference.
    step, rel = (1e-3, 3e-10) if unit is el.sigmoid else (1e-6, 1e-8)
    direction, difference = directional(gap, params, step=step)
    assert direction @ estimated == pytest.approx(difference, rel=rel)
    assert off(estimated, exact) > 0.1


def test_coupled_learning():
    """The gradient of (E_held - E_free) / beta with the held output a constant; contrastive Hebbian for beta = 1."""
    model, params, data, _ = case()
    drive = model.drive(params, data["x"])
    free, _ = RELAXED(model.sweep(params, drive), model.start(params, drive))
    held = free[-1] + 0.25 * (data["y"] - free[-1])

    def objective(params):
        return (total_energy(model, params, data, clamped=held) - total_energy(model, params, data)) / 0.25

    quarter, whole = sweep_beta(lambda beta: el.coupled_learning(model, beta, PHASES), params, data, [0.25, 1.0])
    assert off(quarter, autodiff(objective, params)) < 1e-12
    direction, difference = directional(objective, params, step=1e-3)
    assert direction @ quarter == pytest.approx(difference, rel=3e-10)
    assert off(whole, gradient(el.contrastive_hebbian(model, PHASES), params, data)) < 1e-14


def test_truncated_phases_are_truncated_backpropagation():
    """K synchronous nudged sweeps give, as beta -> 0, K steps of the adjoint (Ernoult et al., 2019, theorem 1)."""
    (model, params), data = hopfield(synchronous=True), batch()
    truncated = el.Phases(RELAXED, el.Minimiser(3))
    adjoint = gradient(el.recurrent_backprop(model, truncated), params, data)
    errors = [off(estimated, adjoint) for estimated in propagated(model, params, data, el.centred, BETAS, truncated)]
    assert slope(errors, BETAS) == pytest.approx(2, abs=0.02) and errors[-1] < 2e-4
    # Which is not the whole gradient.
    assert off(adjoint, case()[3]) > 0.005


def test_one_output_first_sweep_reaches_every_layer():
    model, params, data, _ = case()
    settings = el.Settings(0.01, 4, PHASES)
    grads = jax.jit(el.build_scheme("first_step", model, settings))(params, None, jax.random.key(0), data)[0]
    exact = jax.jit(el.recurrent_backprop(model, PHASES))(params, None, jax.random.key(0), data)[0]
    for layer in ("layer_1", "layer_2", "layer_3"):
        a, b = np.ravel(grads[layer]["kernel"]), np.ravel(exact[layer]["kernel"])
        assert 0.9 < a @ b / np.linalg.norm(a) / np.linalg.norm(b) < 1 - 1e-6


@pytest.mark.parametrize(
    "points, phases",
    [
        # The phase called free has seen half of the label.
        (lambda beta: [el.Point(beta, 1 / beta), el.Point(beta / 2, -1 / beta)], PHASES),
        # Both phases pull the same way.
        (lambda beta: [el.Point(beta, 0.5 / beta), el.Point(-beta, 0.5 / beta)], PHASES),
        # One sweep is no equilibrium.
        (el.centred, el.Phases(RELAXED, el.Minimiser(1))),
        # Nor are two phases of one sweep each.
        (el.positive, el.Phases(el.Minimiser(1), el.Minimiser(1))),
    ],
    ids=["label leaked", "wrong sign", "one nudged sweep", "one sweep each"],
)
def test_what_must_not_pass(points, phases):
    """The errors of these stay where they are, or grow, as beta is halved."""
    model, params, data, exact = case()
    errors = [off(estimated, exact) for estimated in propagated(model, params, data, points, BETAS, phases)]
    assert slope(errors, BETAS) < 0.3 and errors[-1] > 0.005


def test_continuation_reaches_the_same_nudged_equilibrium():
    model, params, data, _ = case()
    (direct,) = propagated(model, params, data, el.centred, [0.4])
    (staged,) = propagated(model, params, data, el.centred, [0.4], PHASES._replace(continuation=4))
    assert off(staged, direct) < 1e-11
    # One sweep a stage: four small steps come nearer than one.
    short = el.Phases(RELAXED, el.Minimiser(1))
    errors = []
    for stages in (1, 4):
        (estimated,) = propagated(model, params, data, el.centred, [0.4], short._replace(continuation=stages))
        errors.append(off(estimated, direct))
    assert errors[1] < errors[0]


def test_a_warm_start_reaches_the_same_equilibrium_and_is_kept():
    model, params, data, _ = case()
    grad_fn = jax.jit(el.equilibrium_propagation(model, el.centred(0.1), PHASES))
    cold, none, metrics = grad_fn(params, None, jax.random.key(0), data)
    assert none is None
    free, info = RELAXED(
        model.sweep(params, model.drive(params, data["x"])), model.start(params, model.drive(params, data["x"]))
    )
    moved = jax.tree.map(lambda s: jnp.clip(s + 0.3, 0.1, 0.9), free)
    warm, kept, again = grad_fn(params, moved, jax.random.key(0), data)
    assert off(flat(warm), flat(cold)) < 1e-10
    for state, expected in zip(kept, free, strict=True):
        np.testing.assert_allclose(state, expected, atol=1e-12)
    assert float(again["free_residual"]) <= 1e-12 and float(info.residual.max()) <= 1e-12
    assert float(metrics["loss"]) == pytest.approx(float(equilibrium_cost(model, params, data)))
    # Where the carry starts at the equilibrium there is nothing left to do.
    settled = grad_fn(params, free, jax.random.key(0), data)[2]
    assert float(settled["free_sweeps"]) <= 2 < float(metrics["free_sweeps"])
