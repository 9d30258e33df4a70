"""The step on 1, 2 and 4 devices gives the same numbers, up to the order of float sums."""

import json
from pathlib import Path

import commands
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_experiment import grad_fn as toy_grad_fn

from jaxgen.training import create, make_train_step, parallel_step, replicate_data, replicate_state, shard_index
from jaxgen.training import unreplicate_state as unreplicate
from jaxgen.training.parallel import mean_over_devices

STEPS = 5
TX = optax.adam(1e-2)
DATA = {"x": np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)}


def with_ratio(grad_fn):
    """Add a metric that is no mean, only a function of means, as a correlation is."""

    def apply(params, carry, key, batch):
        grads, carry, metrics = grad_fn(params, carry, key, batch)
        first, second = mean_over_devices((batch["x"].mean(), (batch["x"] ** 2).mean()))
        return grads, carry, metrics | {"ratio": first**2 / second}

    return apply


def start():
    return create(jax.random.key(0), {"w": jnp.eye(4)}, TX, carry=jnp.zeros(8), ema=True)


def index_of(step):
    return np.random.default_rng((0, step)).integers(0, 64, 8).astype(np.int32)


def flat(state):
    leaves = jax.tree.leaves((state.step, state.params, state.ema_params, state.opt_state, state.carry))
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def train():
    """The numbers of a short run on all devices of this process."""
    stacked, data, losses = replicate_state(start()), replicate_data(DATA), []
    step = parallel_step(with_ratio(toy_grad_fn), TX, ema_decay=0.9)
    for t in range(STEPS):
        stacked, metrics = step(stacked, data, shard_index(index_of(t)))
        losses.append([float(metrics["loss"]), float(metrics["ratio"])])
    shard = stacked.carry.addressable_data(0).shape
    state = unreplicate(stacked)
    return {"state": flat(state).tolist(), "losses": losses, "carry_shard": shard, "carry": state.carry.shape}


@pytest.fixture(scope="module")
def expected():
    """Return the same run by the plain step, on whole batches."""
    step = jax.jit(make_train_step(with_ratio(toy_grad_fn), TX, ema_decay=0.9))
    state, losses = start(), []
    for t in range(STEPS):
        batch = {"x": DATA["x"][index_of(t)], "position": jnp.arange(8, dtype=jnp.uint32)}
        state, metrics = step(state, batch)
        losses.append([float(metrics["loss"]), float(metrics["ratio"])])
    return flat(state), losses


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_devices_gives_the_same_numbers(count, expected):
    code, out, err = commands.run_alone(Path(__file__), devices=count)
    assert code == 0, err
    on_many = json.loads(out)
    # Noise and carry are keyed by position, so wrong positions or a mixed-up carry change the numbers.
    np.testing.assert_allclose(on_many["state"], expected[0], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(on_many["losses"], expected[1], rtol=1e-5)
    assert on_many["carry_shard"] == [1, 8 // count] and on_many["carry"] == [8]


def test_state_survives_the_round_trip_and_is_donated_except_on_cpus():
    state = start()
    stacked = replicate_state(state)
    back = unreplicate(stacked)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    np.testing.assert_array_equal(flat(back), flat(state))
    assert back.key == state.key
    parallel_step(toy_grad_fn, TX, ema_decay=0.9)(stacked, replicate_data(DATA), shard_index(index_of(0)))
    assert stacked.params["w"].is_deleted() == (jax.default_backend() != "cpu")
    np.testing.assert_array_equal(flat(back), flat(state))


def test_batch_or_carry_that_does_not_divide():
    devices = jax.local_devices() * 3
    with pytest.raises(ValueError, match="batch_size is 8 on 3 devices; allowed: a multiple of 3"):
        shard_index(np.arange(8), devices)
    with pytest.raises(ValueError, match=r"carry\['chains'\] has shape \(8,\) on 3 devices; allowed: a leading axis"):
        replicate_state(
            start().replace(params={}, opt_state=(), ema_params=None, carry={"chains": jnp.zeros(8)}), devices
        )


if __name__ == "__main__":
    print(json.dumps(train()))
