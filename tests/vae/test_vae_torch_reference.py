"""Loss and gradients of perceptrons, and of convolutions with classes, against PyTorch on equal weights and noise."""

import jax
import numpy as np
import pytest
from torch_reference import vae as reference

from jaxgen import data, vae


@pytest.mark.parametrize("network, conditional", [("mlp", False), ("conv", True)])
def test_loss_and_gradients_are_those_of_the_reference(network, conditional):
    config = vae.VAEConfig(network=network, conditional=conditional, latent=3, width=9, features=2)
    model, law = vae.build_model(config)
    params = vae.initial_params(model, jax.random.key(0))
    # biases start at zero, where a wrong one would not show
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), params)
    rng = np.random.default_rng(0)
    label = np.array([3, 0, 9, 3, 7], np.uint8)
    batch = {"image": rng.integers(0, 256, (5, 28, 28)).astype(np.uint8), "position": np.arange(10, 15)}
    batch |= {"label": label} if conditional else {}
    key = jax.random.key(1)
    (loss, metrics), grads = jax.jit(jax.value_and_grad(vae.elbo_loss(model, law), has_aux=True))(params, key, batch)

    key_code, key_latent = jax.random.split(key)
    x = jax.jit(data.binarize)(key_code, batch["image"], batch["position"])
    keys = [jax.random.fold_in(key_latent, k) for k in batch["position"]]
    noise = np.stack([jax.random.normal(k, (3,)) for k in keys])
    y = np.eye(10)[label] if conditional else np.zeros((5, 0))
    leaves = reference.tensors(jax.tree.map(np.asarray, params))
    wanted = reference.loss(leaves, x, y, noise, network == "conv")
    wanted.backward()
    assert float(loss) == pytest.approx(wanted.item(), rel=2e-6) and float(metrics["kl"]) > 0.01
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        leaf = leaves
        for step in path:
            leaf = leaf[step.key]
        np.testing.assert_allclose(grad, leaf.grad, rtol=2e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path))
