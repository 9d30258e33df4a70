"""Theorems of predictive coding: what equals backprop, what does not, and where that tends instead."""

import dataclasses

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
    coding,
    directional,
    double,
    gradient,
    off,
    slope,
    sweep_beta,
    total_energy,
    unrolled,
)  # fmt: skip

from jaxgen import energy_learning as el

COSTS = {"squared_error": el.squared_error, "cross_entropy": el.cross_entropy}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def forward(params, x, start=0):
    """The forward pass from layer `start` on, written out: tanh in hidden layers, the last linear."""
    depth = len(params)
    for number in range(start + 1, depth + 1):
        net = x @ params[f"layer_{number}"]["kernel"] + params[f"layer_{number}"]["bias"]
        x = net if number == depth else jnp.tanh(net)
    return x


def prefix(params, x, layers):
    for number in range(1, layers + 1):
        x = jnp.tanh(x @ params[f"layer_{number}"]["kernel"] + params[f"layer_{number}"]["bias"])
    return x


def loss(params, data, cost=el.squared_error):
    return cost.value(forward(params, data["x"]), data["y"]).mean()


def stiffness(params, x):
    """S = sum over l of J_{L<-l} J_{L<-l}^T, J_{L<-L} = I, of one example, by full Jacobians."""
    depth = len(params)
    jacobians = [jax.jacobian(lambda z, n=n: forward(params, z, n))(prefix(params, x, n)) for n in range(1, depth)]
    return sum((j @ j.T for j in jacobians), jnp.eye(params[f"layer_{depth}"]["bias"].size))


@pytest.mark.parametrize("cost", ["squared_error", pytest.param("cross_entropy", marks=pytest.mark.slow)])
def test_z_il_and_fixed_prediction_are_backprop(cost):
    (model, params), data = coding(COSTS[cost]), batch()
    exact = autodiff(lambda params: loss(params, data, COSTS[cost]), params)
    assert off(gradient(el.backprop(model), params, data), exact) < 1e-15
    direction, difference = directional(lambda params: loss(params, data, COSTS[cost]), params)
    assert direction @ exact == pytest.approx(difference, rel=1e-9)
    assert off(gradient(el.z_il(model), params, data), exact) < 1e-15
    assert off(gradient(el.fixed_prediction(model, RELAXED), params, data), exact) < 1e-13
    whole = dataclasses.replace(model, step_size=1.0)
    assert off(gradient(el.fixed_prediction(whole, el.Minimiser(1)), params, data), exact) < 1e-15
    # With another step, or stopped early, they are not.
    assert off(gradient(el.z_il(model, 0.9), params, data), exact) > 0.03
    assert off(gradient(el.fixed_prediction(model, el.Minimiser(1)), params, data), exact) > 0.3


def test_z_il_with_step_gamma_shrinks_layer_l_by_gamma_to_the_power_l():
    (model, params), data = coding(), batch()
    exact = jax.grad(lambda params: loss(params, data))(params)
    shrunk = jax.jit(el.z_il(model, 0.9))(params, None, jax.random.key(0), data)[0]
    for number in (1, 2, 3):
        expected = 0.9 ** (3 - number) * exact[f"layer_{number}"]["kernel"]
        np.testing.assert_allclose(shrunk[f"layer_{number}"]["kernel"], expected, atol=1e-15)


@pytest.mark.parametrize("cost", ["squared_error", pytest.param("cross_entropy", marks=pytest.mark.slow)])
def test_the_centred_soft_nudge_tends_to_backprop_as_beta_squared(cost):
    (model, params), data = coding(COSTS[cost]), batch()
    exact = autodiff(lambda params: loss(params, data, COSTS[cost]), params)
    betas = [0.05 / 2**k for k in range(5)]
    estimates = sweep_beta(
        lambda beta: el.equilibrium_propagation(model, el.centred(beta), PHASES), params, data, betas
    )
    errors = [off(one, exact) for one in estimates]
    assert slope(errors, betas) == pytest.approx(2, abs=0.05) and errors[-1] < 1e-3


def test_the_hard_nudge_tends_elsewhere():
    """The limit, reached as beta, is not backprop but backprop with the output's delta replaced by S^-1 delta."""
    (model, params), data = coding(), batch()
    exact = autodiff(lambda params: loss(params, data), params)
    matrix = jax.vmap(lambda x: stiffness(params, x))(data["x"])
    delta = jnp.linalg.solve(matrix, (forward(params, data["x"]) - data["y"])[..., None])[..., 0]
    limit = autodiff(lambda params: (delta * forward(params, data["x"])).sum() / len(delta), params)
    estimates = sweep_beta(lambda beta: el.hard_nudge(model, beta, RELAXED), params, data, BETAS)
    errors = [off(one, limit) for one in estimates]
    assert slope(errors, BETAS) == pytest.approx(1, abs=0.1) and errors[-1] < 0.03
    apart = [off(one, exact) for one in estimates]
    assert min(apart) > 0.3 and abs(slope(apart, BETAS)) < 0.05


def test_predictive_coding_is_the_gradient_of_its_held_energy():
    (model, params), data = coding(), batch()

    def held(params):
        states = unrolled(model, params, data, clamped=data["y"], sweeps=400)
        return model.energy(params, data["x"], states).mean()

    estimated = gradient(el.pc_equilibrium(model, RELAXED), params, data)
    assert off(estimated, autodiff(held, params)) < 1e-11
    direction, difference = directional(held, params, step=1e-3)
    assert direction @ estimated == pytest.approx(difference, abs=1e-9)
    np.testing.assert_array_equal(estimated, gradient(el.hard_nudge(model, 1.0, RELAXED), params, data))


def test_linear_predictive_coding_has_the_energy_of_a_weighted_residual():
    """F* = 1/2 r^T S^-1 r, r = y - forward pass."""
    (model, params), data = coding(activation=lambda a: a), batch()
    w2, w3 = params["layer_2"]["kernel"], params["layer_3"]["kernel"]
    matrix = np.eye(3) + w3.T @ w3 + (w2 @ w3).T @ (w2 @ w3)
    drive = model.drive(params, data["x"])
    start = model.start(params, drive)
    residual = np.asarray(data["y"] - start[-1])
    expected = 0.5 * np.einsum("bi,ij,bj->b", residual, np.linalg.inv(matrix), residual)
    states, info = RELAXED(model.sweep(params, drive, clamped=True), (*start[:-1], data["y"]))
    assert float(info.residual.max()) <= 1e-12
    np.testing.assert_allclose(model.energy(params, data["x"], states), expected, rtol=1e-12)
    # By least squares over all hidden states at once, which knows no sweep.
    sizes = [6, 5]
    for example in range(2):
        a = np.zeros((14, 11))
        a[:6, :6], a[6:11, :6], a[6:11, 6:], a[11:, 6:] = np.eye(6), -w2.T, np.eye(5), -w3.T
        b = np.concatenate([drive[example], params["layer_2"]["bias"], params["layer_3"]["bias"] - data["y"][example]])
        best = 0.5 * np.sum((a @ np.linalg.lstsq(a, b, rcond=None)[0] - b) ** 2)
        assert sum(sizes) == 11 and best == pytest.approx(expected[example], rel=1e-12)


def test_at_finite_beta_the_soft_nudge_is_an_exact_gradient():
    """It is the gradient of min(F + beta C) / beta; the free minimum is 0."""
    (model, params), data = coding(), batch()
    model = dataclasses.replace(model, step_size=0.2)
    estimated = gradient(el.equilibrium_propagation(model, el.positive(0.5), PHASES), params, data)
    direction, difference = directional(lambda params: total_energy(model, params, data, 0.5) / 0.5, params, step=1e-3)
    # 150 sweeps leave the energy, at its minimum, right to twice as many digits as the states.
    assert direction @ estimated == pytest.approx(difference, rel=1e-7)


@pytest.mark.parametrize("clamped", [False, True])
def test_a_sweep_by_errors_is_a_gradient_step_of_the_errors(clamped):
    """F + beta C as a function of e_1 ... e_L, by automatic differentiation through z_l = p_l(z_{l-1}) + e_l."""
    (model, params), data = coding(by_errors=True, step_size=0.2), batch()
    drive, rng, nudge = model.drive(params, data["x"]), np.random.default_rng(4), el.Nudge(0.3, data["y"])
    errors = [jnp.asarray(rng.normal(size=z.shape)) for z in model.start(params, drive)]

    def states_of(errors):
        states = []
        for number, error in enumerate(errors, 1):
            states.append(model.prediction(params, drive, states, number) + error)
        return states

    held = states_of(errors)[-1]

    def total(errors):
        if clamped:  # the last error is what is left to the held output
            hidden = states_of(errors)
            errors = [*errors[:-1], held - model.prediction(params, drive, hidden, 3)]
            return sum(0.5 * (e**2).sum() for e in errors)
        return sum(0.5 * (e**2).sum() for e in errors) + 0.3 * model.cost.value(states_of(errors)[-1], data["y"]).sum()

    slopes = jax.grad(total)(errors)
    wanted = states_of([e - 0.2 * slope for e, slope in zip(errors, slopes, strict=True)])
    wanted = [*wanted[:-1], held] if clamped else wanted
    swept = model.sweep(params, drive, None if clamped else nudge, clamped)(tuple(states_of(errors)))
    for new, expected in zip(swept, wanted, strict=True):
        np.testing.assert_allclose(new, expected, atol=1e-14)


def test_sweeps_by_errors_end_where_the_others_do_and_reach_every_layer_at_once():
    """Twelve layers: the same equilibrium, and all of the gradient after one sweep of step size 1."""
    widths = (6,) * 11 + (3,)
    (model, params), data = coding(widths=widths), batch()
    fast = dataclasses.replace(model, by_errors=True, step_size=1.0)
    exact = gradient(el.backprop(model), params, data)
    far = el.Phases(el.Minimiser(0), el.Minimiser(20_000, 1e-13))
    slow, quick = (
        gradient(el.equilibrium_propagation(one, el.centred(0.05), far), params, data) for one in (model, fast)
    )
    assert off(quick, slow) < 1e-8
    once = el.Phases(el.Minimiser(0), el.Minimiser(1))
    assert off(gradient(el.equilibrium_propagation(fast, el.centred(1e-4), once), params, data), exact) < 1e-6
    assert off(gradient(el.equilibrium_propagation(model, el.centred(1e-4), once), params, data), exact) > 0.5
    assert off(gradient(el.z_il(fast), params, data), exact) < 1e-12
    with pytest.raises(ValueError, match="by_errors is true; allowed with synchronous: false"):
        dataclasses.replace(fast, synchronous=True)


def test_activations_need_not_be_tanh():
    (model, params), data = coding(activation=jax.nn.gelu), batch()
    exact = gradient(el.backprop(model), params, data)
    assert off(gradient(el.z_il(model), params, data), exact) < 1e-15
    assert off(gradient(el.equilibrium_propagation(model, el.centred(0.01), PHASES), params, data), exact) < 3e-3
    assert double({"a": np.float32(1)})["a"].dtype == jnp.float64
