"""Deep predictive coding: residual networks with the scales of muPC, what reaches each layer, the study of depths."""

import dataclasses
import json

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from energy_learning_cases import RELAXED, batch, flat, gradient, off, slope, started, sweep_beta

from jaxgen import energy_learning as el
from jaxgen import training
from jaxgen.energy_learning import depth_study
from jaxgen.energy_learning.reach import reach_of_errors


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


def residual(depth, width=6, step_size=0.6):
    network = el.dense_network([width] * (depth - 1) + [3])
    return started(el.PredictiveCoding(network, jnp.tanh, el.squared_error, step_size, residual=True))


def test_the_energy_of_a_residual_network_is_the_written_formula(double_precision):
    (model, params), data = residual(4), batch()
    rng = np.random.default_rng(0)
    states = tuple(jnp.asarray(rng.normal(size=(5, width))) for width in (6, 6, 6, 3))
    weights = [(params[f"layer_{k}"]["kernel"], params[f"layer_{k}"]["bias"]) for k in (1, 2, 3, 4)]
    affine = [lambda s, w=w, b=b: s @ w + b for w, b in weights]
    predictions = [
        affine[0](data["x"]),
        states[0] + affine[1](np.tanh(states[0])) / 2,
        states[1] + affine[2](np.tanh(states[1])) / 2,
        affine[3](np.tanh(states[2])) / np.sqrt(6),
    ]
    wanted = sum(0.5 * ((z - p) ** 2).sum(1) for z, p in zip(states, predictions, strict=True))
    np.testing.assert_allclose(model.energy(params, data["x"], states), wanted)


def test_residual_networks_obey_the_theorems_of_plain_ones(double_precision):
    (model, params), data = residual(4), batch()
    exact = gradient(el.backprop(model), params, data)
    for estimator in (el.z_il(model), el.fixed_prediction(model, RELAXED)):
        assert off(gradient(estimator, params, data), exact) < 1e-12
    phases, betas = el.Phases(el.Minimiser(0), RELAXED), [0.1, 0.05, 0.025]
    found = sweep_beta(lambda beta: el.equilibrium_propagation(model, el.centred(beta), phases), params, data, betas)
    errors = [off(one, exact) for one in found]
    assert slope(errors, betas) == pytest.approx(2, abs=0.05) and errors[-1] < 0.01


def test_the_scales_of_a_residual_network_hold_activations_and_gradients_as_depth_grows():
    rng = np.random.default_rng(0)
    data = {"x": jnp.asarray(rng.uniform(size=(16, 20)), jnp.float32), "y": jnp.eye(3)[rng.integers(0, 3, 16)]}

    def sizes(depth, form):
        network = el.dense_network([32] * (depth - 1) + [3])
        model = el.PredictiveCoding(network, jnp.tanh, el.squared_error, residual=form)
        params = network.init(jax.random.key(1), data["x"])
        grads = jax.jit(el.backprop(model))(params, None, None, data)[0]
        hidden = model.start(params, model.drive(params, data["x"]))[-2]
        return float(jnp.sqrt((hidden**2).mean())), float(jnp.linalg.norm(grads["layer_1"]["kernel"]))

    shallow, deep, plain = sizes(4, True), sizes(32, True), sizes(32, False)
    assert 0.8 < deep[0] / shallow[0] < 1.25 and 0.3 < deep[1] / shallow[1] < 3
    assert plain[0] < 0.2 * deep[0]


def test_a_few_large_steps_reach_twenty_layers():
    """As many sweeps as layers, of step size 0.9; a tenth of that step starves the first layers."""
    config = el.EnergyLearningConfig(
        energy="predictive_coding", scheme="pc_soft_nudge", seeds=1, widths=",".join(["16"] * 19), residual=True,
        step_size=0.9, beta=0.01, nudged_sweeps=None,
    )  # fmt: skip
    task = el.EnergyTask.load(config)
    assert task.settings.phases.nudged.iterations == 20
    params = task.initial_params()
    assert reach_of_errors(task)(params) > 0.3
    small = el.EnergyTask.load(dataclasses.replace(config, step_size=0.09, nudged_sweeps=20))
    assert reach_of_errors(small)(params) < 0.01


def test_the_reach_is_that_of_the_layer_that_gets_least():
    """One sweep of step size 1 carries all of the error to the first layer, past the layers between."""
    config = el.EnergyLearningConfig(
        energy="predictive_coding", scheme="pc_soft_nudge", seeds=1, widths="8,8,8", residual=True, step_size=1.0,
        beta=0.01, nudged_sweeps=1,
    )  # fmt: skip
    task = el.EnergyTask.load(config)
    params = task.initial_params()
    data = {"x": task.train.x, "y": task.train.y}
    found, exact = (
        jax.jit(make)(training.member(params, 0), None, None, data)[0]
        for make in (el.build_scheme("pc_soft_nudge", task.model, task.settings), el.backprop(task.model))
    )
    shares = [np.linalg.norm(flat(found[k]["kernel"])) / np.linalg.norm(flat(exact[k]["kernel"])) for k in exact]
    assert shares[0] > 0.99 and min(shares) < 0.5
    assert reach_of_errors(task)(params) == pytest.approx(min(shares), rel=1e-3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"widths": "8,9"}, "residual is true; allowed with energy predictive_coding and hidden layers of one width"),
        ({"energy": "clipped", "scheme": "ep_centred"}, "residual is true; allowed with energy predictive_coding"),
        ({"dataset": "mnist", "convolutions": "4x5"}, "residual is true; allowed with convolutions: empty"),
        (
            {"nudged_sweeps": None, "step_size": 0.7, "sweep": "synchronous"},
            "step_size is 0.7; allowed where sweeps follow from the depth: below 0.5",
        ),
    ],
)
def test_what_residual_networks_do_not_take_is_refused(change, message):
    config = el.EnergyLearningConfig(energy="predictive_coding", scheme="pc_soft_nudge", widths="8,8", residual=True)
    with pytest.raises(ValueError, match=message):
        el.EnergyTask.load(dataclasses.replace(config, **change))


def test_the_energies_of_layers_are_those_of_the_nudged_equilibrium():
    config = el.EnergyLearningConfig(
        energy="predictive_coding", scheme="pc_soft_nudge", seeds=1, widths="8,8", step_size=0.5, beta=0.002,
        nudged_sweeps=300,
    )  # fmt: skip
    task = el.EnergyTask.load(config)
    params = training.member(task.initial_params(), 0)
    # For a weak nudge the error of layer l is -beta dC/dz_l of the forward pass.
    x, y = task.train.x, task.train.y
    drive = task.model.drive(params, x)
    states = task.model.start(params, drive)

    def cost(number, z):
        chain = [*states[: number - 1], z]
        for above in range(number + 1, 4):
            chain.append(task.model.prediction(params, drive, chain, above))
        return task.model.cost.value(chain[-1], y).sum()

    slopes = [jax.grad(cost, argnums=1)(number, states[number - 1]) for number in (1, 2, 3)]
    wanted = [0.5 * float((s**2).sum(1).mean()) for s in slopes]
    np.testing.assert_allclose(depth_study.layer_energies(task, params), wanted, rtol=0.05)


def test_depths_that_are_none_are_refused(tmp_path):
    code, _, err = commands.run("experiments.energy_learning_depth", "--depths=5,1", f"--workdir={tmp_path}/new")
    assert code == 2 and "depths has 1; allowed: integers, each 2 or more" in err and not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_study_of_depth(tmp_path, monkeypatch):
    load = el.EnergyTask.load.__func__

    def small(cls, config):
        task = load(cls, config)
        for part in (task.train, task.validation, task.test):
            part.x, part.y = part.x[:256], part.y[:256]
        return task

    monkeypatch.setattr(el.EnergyTask, "load", classmethod(small))
    flags = ["--depths=3", "--width=8", "--epochs=2", f"--workdir={tmp_path}/depth"]
    code, _, err = commands.run("experiments.energy_learning_depth", *flags)
    assert code == 0, err
    rows = json.loads((tmp_path / "depth" / "result.json").read_text())["rows"]
    forms = [form + kind for form in ("residual", "plain") for kind in ("", ", by errors")]
    assert [row["quantity"] for row in rows] == [f"{form}, 3 layers: accuracy" for form in forms]
    assert all((", by errors" in row["quantity"]) == ("; 1 sweep per nudge" in row["note"]) for row in rows)
    assert all(" per nudge; error reach " in row["note"] for row in rows)
    assert (tmp_path / "depth" / "figures" / "depth.png").stat().st_size > 10_000
