"""Convolutions with max-pooling: the energy and its gradients against exact ones, refusals, a command."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from energy_learning_cases import PHASES, autodiff, double, equilibrium_cost, flat, gradient, off, slope, sweep_beta

from jaxgen import energy_learning as el
from jaxgen.energy_learning.config import build_model, build_optimiser, check_sizes
from jaxgen.energy_learning.energies import minimiser

CONFIG = el.EnergyLearningConfig(dataset="mnist", convolutions="2x2,3x2", widths="", energy="clipped", seeds=1)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def small(energy="clipped"):
    """A 12 x 12 image, pooled convolutions to 5 x 5 x 2 and 2 x 2 x 3, three dense units."""
    model = build_model(dataclasses.replace(CONFIG, energy=energy, step_size=0.3, weight_scale=0.7), 3)
    rng = np.random.default_rng(0)
    data = {"x": jnp.asarray(rng.uniform(size=(4, 12, 12, 1))), "y": jnp.asarray(np.eye(3)[[0, 1, 2, 1]])}
    params = double(model.network.init(jax.random.key(5), data["x"]))
    # Clipped units that are neither all at 0 nor all at 1.
    params = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf + 0.15 * ("bias" in str(path)), params)
    return model, params, data


def test_a_layer_is_the_maximum_of_written_out_products():
    layer, rng = el.PooledConvolution(2, 3), np.random.default_rng(1)
    s, kernel, bias = rng.normal(size=(2, 7, 6, 3)), rng.normal(size=(3, 3, 3, 2)), rng.normal(size=2)
    found = layer.apply({"params": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}, jnp.asarray(s))
    wanted = np.full((2, 2, 2, 2), -np.inf)
    for n, row, column, channel in itertools.product(range(2), range(4), range(4), range(2)):
        net = (s[n, row : row + 3, column : column + 3] * kernel[..., channel]).sum() + bias[channel]
        cell = wanted[n, row // 2, column // 2]
        cell[channel] = max(cell[channel], net)
    np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize("energy", ["clipped", "sigmoid"])
def test_centred_equilibrium_propagation_is_the_exact_gradient(energy):
    """Against recurrent backprop, and against automatic differentiation through the sweeps (BPTT)."""
    model, params, data = small(energy)
    exact = gradient(el.recurrent_backprop(model, PHASES), params, data)
    unrolled = autodiff(lambda params: equilibrium_cost(model, params, data), params)
    assert off(exact, unrolled) < 1e-7
    betas = [8e-4, 4e-4, 2e-4]  # the kinks of clipped units and of the maxima are further away
    found = sweep_beta(lambda beta: el.equilibrium_propagation(model, el.centred(beta), PHASES), params, data, betas)
    errors = [off(one, exact) for one in found]
    cosine = found[-1] @ exact / np.linalg.norm(found[-1]) / np.linalg.norm(exact)
    assert cosine > 0.9999
    # Neither convolution is cut off by units at their bounds.
    layers = jax.jit(el.recurrent_backprop(model, PHASES))(params, None, None, data)[0]
    assert all(np.linalg.norm(flat(layers[f"layer_{number}"])) > 0.01 * np.linalg.norm(exact) for number in (1, 2))
    assert slope(errors, betas) == pytest.approx(2, abs=0.02) and errors[-1] < 1e-5


def test_predictive_coding_takes_pooled_convolutions_too():
    model, params, data = small("predictive_coding")
    settings = el.Settings(1e-3, 4, PHASES._replace(free=el.Minimiser(0)))
    exact = gradient(el.backprop(model), params, data)
    for scheme in ("pc_soft_nudge", "z_il"):
        assert off(gradient(el.build_scheme(scheme, model, settings), params, data), exact) < 1e-4, scheme


@pytest.mark.parametrize("energy", ["clipped", "sigmoid"])
def test_no_sweep_raises_the_energy(energy):
    model, params, data = small(energy)
    drive, rng = model.drive(params, data["x"]), np.random.default_rng(2)
    states = jax.tree.map(lambda s: jnp.asarray(rng.uniform(size=s.shape)), model.start(params, drive))
    sweep, energy_of = jax.jit(model.sweep(params, drive)), jax.jit(lambda s: model.energy(params, data["x"], s))
    energies = []
    for _ in range(30):
        energies.append(energy_of(states))
        states = sweep(states)
    assert (np.diff(energies, axis=0) < 1e-12).all() and (energies[0] - energies[-1] > 0.1).all()


def test_sweeps_that_are_written_out_are_the_loop(monkeypatch):
    model, params, data = small()
    drive = model.drive(params, data["x"])
    sweep, start = model.sweep(params, drive), model.start(params, drive)
    written, info = el.Minimiser(5)(sweep, start)
    monkeypatch.setattr(minimiser, "_UNROLLED", 0)
    looped, same = el.Minimiser(5)(sweep, start)
    np.testing.assert_allclose(flat(written), flat(looped), atol=1e-14)
    np.testing.assert_allclose(info.residual, same.residual, atol=1e-14)
    assert (info.iterations == 5).all() and float(info.residual.max()) > 1e-6


@pytest.mark.parametrize(
    "change, message",
    [
        ({"convolutions": "16"}, "convolutions is '16'; allowed: empty, or CHANNELSxKERNEL separated by commas"),
        ({"convolutions": "16x5,0x3"}, "convolutions is '16x5,0x3'; allowed: empty, or CHANNELSxKERNEL"),
        ({"convolutions": "4x5,4x13"}, "convolutions is '4x5,4x13'; allowed: what fits into 28 x 28 pixels"),
        ({"convolutions": "", "widths": ""}, "widths is ''; allowed: integers"),
        ({"dataset": "xor"}, "convolutions is '2x2,3x2'; allowed with dataset xor: empty"),
        (
            {"scheme": "ep_n_point", "energy": "sigmoid"},
            "points has complex nudges; allowed: real ones .2 points., or sigmoid units without pooling",
        ),
        ({"layer_rates": "1,1"}, "layer_rates is '1,1'; allowed: 3 numbers"),
    ],
)
def test_convolutions_that_do_not_fit_are_refused(change, message):
    config = dataclasses.replace(CONFIG, **change)
    with pytest.raises(ValueError, match=message):
        build_optimiser(el.EnergyTask.load(config).config, 10)


def test_the_largest_kernels_that_fit_are_accepted():
    check_sizes(dataclasses.replace(CONFIG, convolutions="4x5,4x11"), 28, 30)
    model = build_model(dataclasses.replace(CONFIG, convolutions="4x5,4x11", widths=""), 3)
    shapes = jax.eval_shape(model.network.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert [shapes[f"layer_{k}"]["kernel"].shape for k in (1, 2, 3)] == [(5, 5, 1, 4), (11, 11, 4, 4), (4, 3)]
