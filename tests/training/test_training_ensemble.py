"""An ensemble takes the steps that its models would take alone, in turn and under vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import data
from jaxgen.training.ensemble import EnsembleOrder, ensemble_grad_fn, member, stack_models, vmapped_grad_fn


def noisy_grad_fn(params, carry, key, batch):
    """A gradient function that shows what it was given: key, positions, images and carry all enter."""
    noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i)))(batch["position"])
    score = (batch["image"] @ params["w"] * noise).mean()
    chains = None if carry is None else {"chains": carry["chains"] + score}
    return {"w": score * params["w"]}, chains, {"score": score}


def models(n_models, persistent):
    rng = np.random.default_rng(0)
    params = [{"w": jnp.asarray(rng.normal(size=5))} for _ in range(n_models)]
    carries = [{"chains": jnp.asarray(rng.normal(size=(4, 2)))} if persistent else None for _ in range(n_models)]
    return params, carries, jnp.asarray(rng.normal(size=(8, n_models, 5)))  # image b of model m at b n_models + m


def assert_steps_alone(result, params, carries, keys, images, batches):
    grads, carry, metrics = result
    scores = []
    for m, own_params in enumerate(params):
        own = {"image": batches(images, m), "position": jnp.arange(8, dtype=jnp.uint32)}
        expected, chains, own_metrics = noisy_grad_fn(own_params, carries[m], keys[m], own)
        np.testing.assert_allclose(grads["w"][m], expected["w"], rtol=1e-5, atol=1e-6)
        if carry is not None:
            np.testing.assert_allclose(carry["chains"][:, m], chains["chains"], rtol=1e-5, atol=1e-6)
        scores.append(own_metrics["score"])
    np.testing.assert_allclose(metrics["score"], np.mean(scores), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [ensemble_grad_fn, vmapped_grad_fn])
@pytest.mark.parametrize("n_models, persistent", [(3, True), (3, False), (1, True)])
def test_an_ensemble_takes_the_steps_its_models_take_alone(make, n_models, persistent):
    params, carries, images = models(n_models, persistent)
    key, (stack, carry) = jax.random.key(3), stack_models(params, carries)
    batch = {"image": images.reshape(-1, 5), "position": jnp.arange(8 * n_models, dtype=jnp.uint32)}
    result = jax.jit(make(noisy_grad_fn, n_models))(stack, carry, key, batch)
    keys = [jax.random.fold_in(key, m) for m in range(n_models)]
    assert_steps_alone(result, params, carries, keys, images, lambda images, m: images[:, m])


@pytest.mark.parametrize("n_models", [1, 3])
def test_models_that_share_a_batch_share_its_key(n_models):
    params, carries, images = models(n_models, persistent=True)
    key, (stack, carry) = jax.random.key(3), stack_models(params, carries)
    batch = {"image": images[:, 0], "position": jnp.arange(8, dtype=jnp.uint32)}
    result = vmapped_grad_fn(noisy_grad_fn, n_models, shared_batch=True)(stack, carry, key, batch)
    assert_steps_alone(result, params, carries, [key] * n_models, images, lambda images, m: images[:, 0])


def test_a_member_is_the_model_that_was_stacked():
    params, carries, _ = models(3, persistent=False)
    stack, carry = stack_models(params, carries)
    assert carry is None
    np.testing.assert_array_equal(member(stack, 2)["w"], params[2]["w"])


def test_every_model_sees_its_own_images_in_its_own_order():
    keys, rows = [jax.random.key(0), jax.random.key(1)], [np.arange(0, 20, 2), np.arange(1, 20, 2)]
    order = EnsembleOrder(keys, rows, 4)
    for step in (0, 3):
        indices = order.indices(step).reshape(4, 2)
        for m in range(2):
            np.testing.assert_array_equal(indices[:, m], rows[m][data.EpochOrder(keys[m], 10, 4).indices(step)])
