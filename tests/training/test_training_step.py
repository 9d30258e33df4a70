"""make_train_step against optax by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.training import average_decay, create, from_loss, make_train_step

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2))
PARAMS = {"w": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "b": jnp.zeros(4)}
BATCH = {"x": jax.random.normal(jax.random.key(5), (8, 3))}


@pytest.mark.parametrize(
    "decay, steps, expected", [(0.999, 9000, 0.999), (0.999, 100, 0.95), (0.9, 3, 0.5), (0.1, 3, 0.1)]
)
def test_a_moving_average_is_shorter_than_its_run(decay, steps, expected):
    assert average_decay(decay, steps) == expected


def loss_fn(params, key, batch):
    noise = jax.random.normal(key, (8, 4))
    output = batch["x"] @ params["w"] + params["b"] + noise
    return jnp.mean(output**2), {"largest": jnp.max(output)}


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), a, b)


def test_equals_optax_by_hand():
    key = jax.random.key(3)
    step = jax.jit(make_train_step(from_loss(loss_fn), TX, ema_decay=0.9))
    state = create(key, PARAMS, TX, ema=True)
    params, opt_state, ema = PARAMS, TX.init(PARAMS), PARAMS
    value_and_grad, update = jax.jit(jax.value_and_grad(loss_fn, has_aux=True)), jax.jit(TX.update)
    for t in range(4):
        state, metrics = step(state, BATCH)
        (loss, extra), grads = value_and_grad(params, jax.random.fold_in(key, t), BATCH)
        updates, opt_state = update(grads, opt_state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
        ema = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, ema, params)
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
        same(metrics, {"loss": loss, "grad_norm": norm, "largest": extra["largest"]})
        same((state.params, state.ema_params, state.opt_state), (params, ema, opt_state))
    assert int(state.step) == 4 and state.carry is None
    assert (jax.random.key_data(state.key) == jax.random.key_data(key)).all()


def test_the_decay_of_the_average_may_depend_on_the_step():
    step = jax.jit(make_train_step(from_loss(loss_fn), TX, ema_decay=lambda k: (1 + k) / (10 + k)))
    state = create(jax.random.key(3), PARAMS, TX, ema=True)
    ema = PARAMS
    for k in range(2):
        state, _ = step(state, BATCH)
        decay = (1 + k) / (10 + k)
        ema = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, ema, state.params)
    same(state.ema_params, ema)


def test_carry_comes_from_the_gradient_function():
    def grad_fn(params, carry, key, batch):
        return jax.tree.map(jnp.ones_like, params), carry + 1, {}

    step = make_train_step(grad_fn, optax.sgd(0.5))
    state, metrics = step(create(jax.random.key(0), PARAMS, optax.sgd(0.5), carry=jnp.zeros(4)), BATCH)
    same(state.carry, jnp.ones(4))
    same(state.params, jax.tree.map(lambda p: p - 0.5, PARAMS))
    assert float(metrics["grad_norm"]) == 4.0 and state.ema_params is None


def test_refusals():
    def vector(params, carry, key, batch):
        return params, carry, {"each": jnp.zeros(3)}

    state = create(jax.random.key(0), PARAMS, TX)
    with pytest.raises(ValueError, match=r"metric 'each' has shape \(3,\); allowed: a scalar"):
        make_train_step(vector, TX)(state, BATCH)
    with pytest.raises(ValueError, match=r"ema_decay is 0\.9 but the state was made with ema=False"):
        make_train_step(from_loss(loss_fn), TX, ema_decay=0.9)(state, BATCH)
    with pytest.raises(ValueError, match=r"ema_decay is 1\.5; allowed"):
        make_train_step(from_loss(loss_fn), TX, ema_decay=1.5)
    with pytest.raises(ValueError, match="key is uint32; allowed: one typed key"):
        create(jax.random.PRNGKey(0), PARAMS, TX)
