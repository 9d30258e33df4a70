"""The training run: rate, moving average, resume, devices. A network of a few thousand parameters stands for tiny."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import data, diffusion, runs, training

MINI = {"base": 8, "multipliers": (1,), "patch": 4}
CONFIG = diffusion.DiffusionConfig(
    size="tiny", epochs=4 * 16 / 54_000, batch_size=16, timesteps=20, sample_steps=3, log_every=1, eval_every=2,
    checkpoint_every=2, ema_decay=0.5, learning_rate=0.01, likelihood_images=4, samples=10,
)  # fmt: skip


def start(config=CONFIG):
    diffusion.SIZES["tiny"] = MINI
    task = diffusion.DiffusionTask.load(config)
    state, tx = task.initial_state()
    order = data.EpochOrder(jax.random.key(3), len(task.train), config.batch_size)
    return task, state, training.parallel_step(task.grad_fn(), tx, config.ema_decay), order


def updates(run, count=3):
    """The state, every state's parameters and the losses of some updates on all devices of this process."""
    task, state, step, order = run
    stacked, held = training.replicate_state(state), training.replicate_data(task.arrays())
    losses, passed = [], []
    for k in range(count):
        stacked, metrics = step(stacked, held, training.shard_index(order.indices(k)))
        passed.append(flat(training.unreplicate_state(stacked).params))
        losses.append(float(metrics["loss"]))
    return training.unreplicate_state(stacked), passed, losses


@pytest.fixture(scope="module", autouse=True)
def mini():
    before = dict(diffusion.SIZES)
    yield
    diffusion.SIZES.update(before)


@pytest.fixture(scope="module")
def running():
    """One task, state, compiled step and order for all tests."""
    return start()


@pytest.fixture(scope="module")
def expected(running):
    return updates(running)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_one_device_and_four_give_the_same_numbers(expected):
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == 4
    np.testing.assert_allclose(found["losses"], expected[2], rtol=1e-5)
    # Adam turns rounding of a vanishing gradient into a whole step, so a few parameters may differ.
    assert np.mean(np.abs(np.array(found["ema"]) - flat(expected[0].ema_params)) < 1e-5) > 0.99


def test_moving_average_is_that_of_the_parameters(running, expected):
    state, passed, _ = expected
    average = flat(running[1].params)
    for params in passed:
        average = 0.5 * average + 0.5 * params
    np.testing.assert_allclose(flat(state.ema_params), average, rtol=1e-5, atol=1e-7)
    assert np.abs(flat(state.params) - average).max() > 1e-3


def test_resume_is_going_on(running, tmp_path):
    """Four updates, or two, a new start from the folder, and two more: the same bits."""
    task, state, step, order = running
    ended = {}
    for name, stops in {"whole": [4], "halves": [2, 4]}.items():
        for stop in stops:
            options = dataclasses.replace(task.fit_options(), steps=stop)
            with runs.RunFolder.open(tmp_path / name, task.config) as run:
                ended[name] = training.fit(state, step, task.arrays(), order, run, options)
    for name in ("params", "ema_params", "opt_state"):
        np.testing.assert_array_equal(flat(getattr(ended["whole"], name)), flat(getattr(ended["halves"], name)))
    assert task.steps == 4 and int(ended["halves"].step) == 4
    losses = [[r["loss"] for r in runs.read_metrics(tmp_path / name / "metrics.jsonl")] for name in ended]
    assert len(losses[0]) == 4 and losses[0] == losses[1]


def test_learning_rate_falls_once_an_epoch():
    config = dataclasses.replace(CONFIG, epochs=4.0, batch_size=128, learning_rate=0.02)
    task = diffusion.DiffusionTask.load(config)
    an_epoch = 54_000 / 128
    assert task.steps == round(4 * an_epoch)
    for epoch in range(4):
        want = 0.002 + 0.018 * (1 + math.cos(math.pi * epoch / 4)) / 2
        for step in (math.ceil(epoch * an_epoch), math.ceil((epoch + 1) * an_epoch) - 1):
            assert float(task.learning_rate(step)) == pytest.approx(want, rel=1e-5)


def test_which_images_are_learnt_and_which_held_out():
    images = data.load()
    task = diffusion.DiffusionTask.load(CONFIG)
    assert len(task.train) == 54_000 and np.array_equal(task.held_out, images.train_images[54_000:])
    task = diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, part="all"))
    assert len(task.train) == 60_000 and np.array_equal(task.held_out, images.test_images)


def test_held_out_losses_are_those_of_the_images(running):
    """The loss of each image with the draws of its number, though they come in batches and the last is padded."""
    task, state, _, _ = running
    params = state.params
    found = diffusion.held_out_losses(task, params, 130)
    chosen = np.array([0, 5, 128, 129])
    index = jnp.asarray(chosen, jnp.uint32)
    x0 = diffusion.to_unit(task.held_out[chosen])
    draws = diffusion.draw(jax.random.key(0), index, 20, (28, 28, 1), 0.0)
    apply = diffusion.network(task.diffusion.unet, params)
    losses, _ = jax.jit(
        lambda x: diffusion.example_losses(
            apply, diffusion.Objective(), task.diffusion.process, x, task.held_out_label[chosen].astype(np.int32), draws
        )
    )(x0)
    np.testing.assert_allclose(losses, found[chosen], rtol=1e-4)
    assert len(found) == 130 and np.isfinite(found).all()


def test_means_with_errors():
    assert diffusion.mean_of([1.0, 3.0]) == (2.0, 1.0)
    assert math.isnan(diffusion.mean_of([1.0]).error)


def test_last_epoch_is_the_last_epoch():
    task = diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, epochs=2.0, batch_size=5400))
    records = [{"step": step, "mse": float(step)} for step in range(1, 21)] + [{"step": 20, "held_out_loss": 1.0}]
    assert diffusion.last_epoch_loss(records, task).value == pytest.approx(15.5)


def test_refusals():
    with pytest.raises(ValueError, match="sample_steps is 30; allowed: 1 to timesteps=20"):
        diffusion.DiffusionTask.load(diffusion.DiffusionConfig(timesteps=20))
    with pytest.raises(ValueError, match="timesteps is 20; allowed with schedule='linear': 21 or more"):
        diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, schedule="linear"))


@pytest.mark.parametrize(
    "field, value, allowed",
    [
        ("size", "huge", "one of tiny, small, medium, large"),
        ("prediction", "score", "one of eps, x0, v"),
        ("schedule", "quadratic", "one of linear_unscaled, linear, cosine"),
        ("sampler", "euler", "one of ancestral, ddim, heun, dpm_solver"),
        ("dtype", "float16", "one of float32, bfloat16"),
        ("dataset", "cifar", "one of mnist, fashion_mnist"),
        ("part", "test", "one of train, all"),
        ("learned_variance", 2, "true or false"),
        ("timesteps", 1, "an integer, 2 or more"),
        ("epochs", -1.0, "a number, 0.0 or more"),
        ("batch_size", 0, "an integer, 1 or more"),
        ("learning_rate", -0.1, "a number, 0.0 or more"),
        ("label_dropout", 1.5, "a number from 0.0 to 1.0"),
        ("min_snr", -1.0, "a number, 0.0 or more or none"),
        ("clip", -1.0, "a number, 0.0 or more"),
        ("ema_decay", 1.0, "a number from 0.0 to 0.9999"),
        ("sample_steps", 0, "an integer, 1 or more"),
        ("guidance", -1.0, "a number, 0.0 or more"),
        ("samples", 9, "an integer, 10 or more"),
        ("likelihood_images", 1, "an integer, 2 or more"),
        ("seed", -1, "an integer, 0 or more"),
        ("log_every", 0, "an integer, 1 or more"),
        ("eval_every", 0, "an integer, 1 or more"),
        ("checkpoint_every", 0, "an integer, 1 or more"),
    ],
)
def test_every_bad_value_is_refused_by_name(field, value, allowed):
    with pytest.raises(ValueError, match=f"{field} is {value!r}; allowed: {allowed}"):
        runs.validate(dataclasses.replace(diffusion.DiffusionConfig(), **{field: value}))


if __name__ == "__main__":
    state, _, losses = updates(start())
    print(json.dumps({"devices": jax.local_device_count(), "losses": losses, "ema": flat(state.ema_params).tolist()}))
