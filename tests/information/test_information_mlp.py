"""The network and its training step against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_reference import mlp as reference

from jaxgen import information, training
from jaxgen.information import config as settings
from jaxgen.information import mlp
from jaxgen.information.figures import crossing_note
from jaxgen.information.task import cross_entropy_loss


def layers(params):
    """The Flax tree as the reference's list of layers."""
    return [(params[f"Dense_{k}"]["kernel"], params[f"Dense_{k}"]["bias"]) for k in range(len(params))]


@pytest.fixture(scope="module")
def small():
    model = mlp.MLP((7, 9), 4)
    x, y = information.sample(jax.random.key(0), information.ten_labels().subset(range(4)), 64)
    return model, jax.jit(model.init)(jax.random.key(1), x)["params"], x, y


def test_the_default_network_has_its_number_of_parameters():
    model = settings.build_model(information.InformationConfig(), 10)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 5)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2_115_594


def test_log_probabilities_are_those_of_the_reference(small):
    model, params, x, y = small
    log_p = model.apply({"params": params}, x)
    np.testing.assert_allclose(
        log_p, reference.log_probabilities(reference.tensors(layers(params)), x).detach(), atol=2e-6
    )
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1.0, atol=1e-6)
    loss, _ = cross_entropy_loss(model)(params, jax.random.key(0), {"x": x, "y": y})
    wanted = reference.loss(reference.tensors(layers(params)), x, y).item()
    assert float(loss) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 3])
def test_steps_of_sgd_are_those_of_the_reference(small, steps):
    """One step shows the gradient and the rate, three the momentum."""
    model, params, x, y = small
    tx = settings.build_optimiser("sgd", 0.3, "constant", 10)
    step = jax.jit(training.make_train_step(training.from_loss(cross_entropy_loss(model)), tx))
    state = training.create(jax.random.key(0), params, tx)
    batches = [(x[20 * k : 20 * k + 20], y[20 * k : 20 * k + 20]) for k in range(steps)]
    for bx, by in batches:
        state, _ = step(state, {"x": bx, "y": by})
    wanted = reference.sgd(layers(params), batches, 0.3, 0.9)
    for (weight, bias), (torch_weight, torch_bias) in zip(layers(state.params), wanted, strict=True):
        np.testing.assert_allclose(weight, torch_weight, atol=3e-6)
        np.testing.assert_allclose(bias, torch_bias, atol=3e-6)
    assert np.abs(np.asarray(layers(state.params)[0][0]) - layers(params)[0][0]).max() > 1e-3


def test_initial_values_are_uniform_as_in_pytorch():
    params = jax.jit(mlp.MLP((400,), 300).init)(jax.random.key(0), jnp.zeros((1, 5)))["params"]
    for weight, bias in layers(params):
        limit = 1 / np.sqrt(weight.shape[0])
        for leaf in (weight, bias):
            assert np.abs(leaf).max() <= limit
        assert np.std(weight) == pytest.approx(limit / np.sqrt(3), rel=0.05)
        assert np.abs(weight).max() > 0.99 * limit and np.abs(bias).max() > 0.8 * limit


@pytest.mark.parametrize("widths, n_labels", [((), 10), ((4, 0), 10), ((4,), 1)])
def test_networks_that_cannot_be_are_refused(widths, n_labels):
    with pytest.raises(ValueError, match="widths are"):
        mlp.MLP(widths, n_labels).init(jax.random.key(0), jnp.zeros((1, 5)))


@pytest.mark.parametrize("schedule, rates", [("constant", [0.1, 0.1, 0.1]), ("cosine", [0.1, 0.05, 0.0])])
def test_the_step_size_over_a_run(schedule, rates):
    params = {"w": jnp.ones(())}
    tx = settings.build_optimiser("sgd", 0.1, schedule, 4)
    for step, rate in zip((0, 2, 4), rates, strict=True):
        state = tx.init(params)
        for _ in range(step):
            _, state = tx.update({"w": jnp.zeros(())}, state)
        update, _ = tx.update({"w": jnp.ones(())}, state)
        assert float(-update["w"]) == pytest.approx(rate, abs=1e-7)


def test_a_curve_on_the_wrong_side_of_its_bound_is_explained():
    assert crossing_note(0.3, [0.5, 0.31], [0.4, 0.32], below=True) == ""
    assert "training curve below the bound" in crossing_note(0.3, [0.5, 0.29], [0.4, 0.32], below=True)
    assert "validation curve below the bound: chance" in crossing_note(0.3, [0.5, 0.31], [0.4, 0.29], below=True)
    assert "training curve above the bound" in crossing_note(0.9, [0.8, 0.91], [0.8, 0.89], below=False)
