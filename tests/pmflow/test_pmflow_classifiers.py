"""The classifiers: parameter counts, the PyTorch reference on copied weights, pooling, initial values, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_reference import pmflow as reference

from jaxgen import pmflow
from jaxgen.pmflow.classifiers import max_pool, mean_pool
from jaxgen.pmflow.evaluate import flow_measures
from jaxgen.pmflow.lateral import ring_matrix

COUNTS = {
    "mlp": 205_242,
    "pmflow_mlp": 205_310,
    "mlp_linear": 205_242,
    "mlp_residual": 205_308,
    "mlp_ode": 205_310,
    "mlp_normalised": 205_242,
    "pmflow_mlp_strong": 205_514,
    "pmflow_mlp_frozen": 205_310,
    "pmflow_cnn": 224_718,
    "cnn": 224_458,
    "pmflow_bnn": 102_274,
    "pmflow_bnn_none": 102_274,
    "pmflow_bnn_bank": 102_274,
    "pmflow_bnn_batch": 102_274,
    "pmflow_bnn_frozen": 102_274,
    "bnn_off": 102_130,
    "leaky": 102_130,
}


@pytest.mark.parametrize("name", pmflow.MODELS)
def test_parameter_counts(name):
    assert pmflow.parameter_count(pmflow.build_model(name)) == COUNTS[name]
    if name in pmflow.FAITHFUL:
        assert pmflow.parameter_count(pmflow.build_model(name, faithful=True)) == COUNTS[name]


def test_the_strong_flow_moves_latents_however_large_the_network_makes_them():
    """With latents 20 times as large the strong arm moves them by more than 20 %, the default flow by under 1 %."""
    shown = np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)
    for name, low, high in (("pmflow_mlp_strong", 0.2, 0.6), ("pmflow_mlp", 0.0, 0.01)):
        model = pmflow.build_model(name)
        params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 28, 28)))["params"]
        params["layer_2"] = jax.tree.map(lambda leaf: 20 * leaf, params["layer_2"])
        moved, scale = flow_measures(model, jax.tree.map(lambda leaf: leaf[None], params), shown)
        assert low < moved < high and (scale == pytest.approx(1.0, abs=1e-3)) == (low > 0)


def images(n=6, seed=0):
    return np.random.default_rng(seed).random((n, 28, 28), np.float32)


def spread_params(model, x):
    """A start with latents large and varied enough that flow and coupling can be seen in the logits."""
    params = jax.jit(model.init)(jax.random.key(1), x)["params"]
    return jax.tree.map(lambda leaf: leaf * (1.0 + 0.3 * np.random.default_rng(leaf.size).random(leaf.shape)), params)


@pytest.mark.parametrize(
    "name", ["mlp", "pmflow_mlp", "pmflow_bnn", pytest.param("pmflow_cnn", marks=pytest.mark.slow)]
)
def test_the_faithful_models_are_the_reference_on_copied_weights(name):
    x = images()
    model = pmflow.build_model(name, faithful=True)
    params = jax.tree.map(np.asarray, spread_params(model, x))
    logits = jax.jit(model.apply)({"params": params}, x)
    wanted = reference.MODELS[name](reference.tensors(params), torch.tensor(x, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 1e-3  # the images are told apart


@pytest.mark.parametrize("name", ["pmflow_mlp", pytest.param("pmflow_cnn", marks=pytest.mark.slow)])
def test_the_sound_models_are_the_reference_with_softened_radius_and_softplus(name):
    x = images(3)
    model = pmflow.build_model(name)
    params = jax.tree.map(np.asarray, spread_params(model, x))
    logits = jax.jit(model.apply)({"params": params}, x)
    copied = reference.tensors(params)
    copied["transform"]["mu"] = torch.nn.functional.softplus(copied["transform"]["mu"])
    wanted = reference.MODELS[name](copied, torch.tensor(x, dtype=torch.float64), reference.softened_radius(0.4))
    np.testing.assert_allclose(logits, wanted.numpy(), atol=1e-5)


def test_the_sound_bnn_is_the_leaky_recurrence():
    """h after 5 steps without flow or lateral: (1 - 0.9^5) tanh(P z); with units, five times that step by step."""
    x = images(3)
    for name, gain in (("leaky", 0.0), ("bnn_off", 0.5)):
        model = pmflow.build_model(name, gain)
        p = spread_params(model, x)
        z = np.tanh(x.reshape(3, -1) @ p["layer_1"]["kernel"] + p["layer_1"]["bias"])
        z = z @ p["layer_2"]["kernel"] + p["layer_2"]["bias"]
        drive, h = np.tanh(z @ p["drive"]["kernel"] + p["drive"]["bias"]), 0.0
        for _ in range(5):
            h = 0.9 * h + 0.1 * drive
            h = h + gain * h @ ring_matrix(32)
        if name == "leaky":
            np.testing.assert_allclose(h, (1 - 0.9**5) * drive, rtol=1e-5)
        logits = jax.jit(model.apply)({"params": p}, x)
        np.testing.assert_allclose(logits, h @ p["readout"]["kernel"] + p["readout"]["bias"], atol=1e-6)


def test_the_controls_compute_what_their_names_say():
    z = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    residual, ode = pmflow.Residual(), pmflow.NeuralODE()
    p = residual.init(jax.random.key(0), z)["params"]
    hidden = np.maximum(z @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
    np.testing.assert_allclose(residual.apply({"params": p}, z), z + hidden @ p["out"]["kernel"], atol=1e-6)
    p, wanted = ode.init(jax.random.key(0), z)["params"], z
    for time in (0.0, 0.1, 0.2):
        rows = np.concatenate([wanted, np.full((5, 1), time, np.float32)], 1)
        wanted = wanted + 0.1 * np.tanh(rows @ p["hidden"]["kernel"] + p["hidden"]["bias"]) @ p["out"]["kernel"]
    np.testing.assert_allclose(ode.apply({"params": p}, z), wanted, atol=1e-6)


def test_shared_layers_start_alike_and_as_in_pytorch():
    x = images(2)
    starts = {
        name: jax.jit(pmflow.build_model(name).init)(jax.random.key(3), x)["params"] for name in ("mlp", "pmflow_mlp")
    }
    for layer in ("layer_1", "layer_2", "head"):
        for leaf, other in zip(*(jax.tree.leaves(start[layer]) for start in starts.values()), strict=True):
            np.testing.assert_array_equal(leaf, other)
    for leaf in jax.tree.leaves(starts["mlp"]["layer_1"]):
        assert np.abs(leaf).max() <= 1 / 28 and np.std(leaf) == pytest.approx(1 / 28 / np.sqrt(3), rel=0.1)


def test_pools_are_those_of_pytorch_with_their_gradients():
    x = np.random.default_rng(0).normal(size=(2, 14, 14, 3)).astype(np.float32)
    t = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.nn.functional.max_pool2d(t, 2), (4, 4))
    (pooled**2).sum().backward()

    def ours(x):
        return mean_pool(max_pool(x), 4)

    np.testing.assert_allclose(ours(x), pooled.detach().permute(0, 2, 3, 1), atol=1e-6)
    grads = jax.grad(lambda x: (ours(x) ** 2).sum())(jnp.asarray(x))
    np.testing.assert_allclose(grads, t.grad.permute(0, 2, 3, 1), atol=1e-6)


def test_names_that_are_not_there():
    with pytest.raises(ValueError, match="models has 'rnn'; allowed: mlp, mlp_linear"):
        pmflow.build_model("rnn")
    with pytest.raises(
        ValueError, match="models has 'cnn'; allowed with faithful: mlp, pmflow_mlp, pmflow_cnn, pmflow_b"
    ):
        pmflow.build_model("cnn", faithful=True)
