"""The training run: rate, moving average, resume, devices. A network of a few thousand parameters stands for tiny."""

import dataclasses
import json
import math
from pathlib import Path

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import data, diffusion, runs, training
from jaxgen.diffusion import evaluate, guidance, objectives, pretrained
from jaxgen.diffusion.unet import SIZES
from jaxgen.errors import UserError

MINI = {"base": 8, "multipliers": (1,), "patch": 4}
CONFIG = diffusion.DiffusionConfig(
    size="tiny", epochs=4 * 16 / 54_000, batch_size=16, timesteps=20, sample_steps=3, log_every=1, eval_every=2,
    checkpoint_every=2, ema_decay=0.5, learning_rate=0.01, likelihood_images=4, samples=10,
)  # fmt: skip


def start(config=CONFIG):
    SIZES["tiny"] = MINI
    task = diffusion.DiffusionTask.load(config)
    state, tx = task.initial_state()
    return task, state, training.parallel_step(task.grad_fn(), tx, config.ema_decay), task.order()


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
    before = dict(SIZES)
    yield
    SIZES.update(before)


@pytest.fixture(scope="module")
def running():
    """One task, state, compiled step and order for all tests."""
    return start()


@pytest.fixture(scope="module")
def expected(running):
    return updates(running)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.slow
def test_one_device_and_four_give_the_same_numbers(expected):
    code, out, err = commands.run_alone(Path(__file__), devices=4)
    assert code == 0, err
    on_four = json.loads(out)
    assert on_four["devices"] == 4
    np.testing.assert_allclose(on_four["losses"], expected[2], rtol=1e-5)
    # Adam turns rounding of a vanishing gradient into a whole step, so a few parameters may differ.
    assert np.mean(np.abs(np.array(on_four["ema"]) - flat(expected[0].ema_params)) < 1e-5) > 0.99


@pytest.mark.slow
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
    epoch_steps = 54_000 / 128
    assert task.steps == round(4 * epoch_steps)
    for epoch in range(4):
        want = 0.002 + 0.018 * (1 + math.cos(math.pi * epoch / 3)) / 2
        for step in (math.ceil(epoch * epoch_steps), math.ceil((epoch + 1) * epoch_steps) - 1):
            assert float(task.learning_rate(step)) == pytest.approx(want, rel=1e-5)
    # The last epoch has a tenth of the peak, a single epoch the peak.
    assert float(task.learning_rate(task.steps - 1)) == pytest.approx(0.002, rel=1e-5)
    single = dataclasses.replace(task, config=dataclasses.replace(config, epochs=0.5))
    assert float(single.learning_rate(200)) == pytest.approx(0.02)


def test_learning_rate_rises_and_falls_every_step():
    changes = {"epochs": 1.0, "batch_size": 540, "learning_rate": 0.02, "decay": "step", "warmup": 10}
    task = diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, **changes))
    rates = [float(task.learning_rate(step)) for step in range(101)]
    cosine = [0.01 * (1 + math.cos(math.pi * step / 100)) for step in range(101)]
    np.testing.assert_allclose(rates[:10], [cosine[k] * (k + 1) / 10 for k in range(10)], rtol=1e-5)
    np.testing.assert_allclose(rates[9:], cosine[9:], rtol=1e-4, atol=1e-8)


def test_moving_average_warms_up():
    """The decay at update k is (1 + k) / (10 + k) until it reaches that of the config."""
    task = diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, ema_decay=0.5, ema_warmup=True))
    decays = [float(task.average_decay()(jnp.asarray(k))) for k in (0, 1, 7, 8, 100)]
    np.testing.assert_allclose(decays, [1 / 10, 2 / 11, 8 / 17, 0.5, 0.5], rtol=1e-6)
    assert diffusion.DiffusionTask.load(CONFIG).average_decay() == 0.5


def test_which_images_are_learnt_and_which_held_out():
    images = data.load()
    task = diffusion.DiffusionTask.load(CONFIG)
    assert len(task.train) == 54_000 and np.array_equal(task.held_out, images.train_images[54_000:])
    task = diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, part="all"))
    assert len(task.train) == 60_000 and np.array_equal(task.held_out, images.test_images)


@pytest.mark.slow
def test_held_out_losses_are_those_of_the_images(running):
    """The loss of each image with the draws of its number, though they come in batches and the last is padded."""
    task, state, _, _ = running
    params = state.params
    held_out = evaluate.held_out_losses(task, params, 130)
    chosen = np.array([0, 5, 128, 129])
    index = jnp.asarray(chosen, jnp.uint32)
    x0 = diffusion.to_unit(task.held_out[chosen])
    draws = objectives.draw(jax.random.key(0), index, 20, (28, 28, 1), 0.0)
    apply = guidance.network(task.diffusion.unet, params)
    losses, _ = jax.jit(
        lambda x: objectives.example_losses(
            apply, diffusion.Objective(), task.diffusion.process, x, task.held_out_label[chosen].astype(np.int32), draws
        )
    )(x0)
    np.testing.assert_allclose(losses, held_out[chosen], rtol=1e-4)
    assert len(held_out) == 130 and np.isfinite(held_out).all()


def test_a_run_folder_gives_its_model_without_reading_images(running, tmp_path, monkeypatch):
    task, state, step, order = running
    with runs.RunFolder.open(tmp_path / "run", task.config) as run:
        options = dataclasses.replace(task.fit_options(), steps=2)
        ended = training.fit(state, step, task.arrays(), order, run, options)
    monkeypatch.setattr(data, "load", None)
    model, params = diffusion.load(tmp_path / "run")
    np.testing.assert_array_equal(flat(params), flat(ended.ema_params))
    assert model.shape == (28, 28, 1) and model.unet == task.diffusion.unet
    with pytest.raises(UserError, match=r"holds no config.json; .* Train first: python -m experiments.diffusion"):
        diffusion.load(tmp_path)


def test_weights_are_shipped_with_their_config_and_hash(running, tmp_path, monkeypatch):
    task, state, _, _ = running
    monkeypatch.setattr(pretrained, "restore_run", lambda workdir: (task, state))
    _, description_path = pretrained.write_pretrained(tmp_path, "mini")
    model, params = diffusion.load_pretrained("mini", tmp_path / "weights")
    assert model.unet == task.diffusion.unet and model.prediction == "eps"
    np.testing.assert_allclose(flat(params), flat(state.ema_params), rtol=1e-3, atol=1e-6)
    description = description_path.read_text()
    description_path.write_text(description.replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(UserError, match=r"mini\.json has been changed; allowed: the file that was shipped"):
        diffusion.load_pretrained("mini", tmp_path / "weights")
    description_path.write_text(description)
    with np.load(description_path.with_suffix(".npz")) as weights:
        changed = {name: array + np.float16(1) for name, array in weights.items()}
    np.savez(description_path.with_suffix(".npz"), **changed)
    with pytest.raises(UserError, match=r"mini\.npz has SHA-256 .* of its arrays; allowed: "):
        diffusion.load_pretrained("mini", tmp_path / "weights")
    with pytest.raises(UserError, match="name is 'other'; allowed: mini"):
        diffusion.load_pretrained("other", tmp_path / "weights")


def test_the_packaged_model_is_that_of_its_flag_file():
    model, params = diffusion.load_pretrained("compact")
    assert model.prediction == "flow" and model.shape == (28, 28, 1)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 484_068
    shapes = jax.tree.map(jnp.shape, diffusion.init_params(jax.random.key(0), model.unet))
    assert jax.tree.map(jnp.shape, params) == shapes


def test_the_parts_of_the_unet_follow_the_config():
    config = diffusion.DiffusionConfig(
        size="small",
        base=16,
        multipliers="1, 2",
        blocks=2,
        patch=2,
        attention="middle,1",
        side=12,
        channels=3,
        classes=4,
    )
    model = diffusion.build_diffusion(config)
    unet = model.unet
    assert (unet.base, unet.multipliers, unet.blocks, unet.patch, unet.classes) == (16, (1, 2), 2, 2, 4)
    assert unet.attention and unet.attention_levels == (1,) and model.shape == (12, 12, 3)
    params = diffusion.init_params(jax.random.key(0), unet)
    assert {"down_1_0_attention", "up_1_1_attention", "attention"} <= set(params)
    assert params["label"]["embedding"].shape == (5, 64) and params["out"]["kernel"].shape == (3, 3, 16, 12)
    x, t = jnp.zeros((1, 12, 12, 3)), jnp.ones(1, int)
    assert jax.eval_shape(unet.apply, {"params": params}, x, t, t).shape == (1, 12, 12, 3)
    plain = diffusion.build_diffusion(diffusion.DiffusionConfig(size="large", attention="none")).unet
    assert not plain.attention and plain.attention_levels == ()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"side": 32}, r"side is 32 and the images have shape \(28, 28\); allowed: 28, that of the images"),
        ({"channels": 3}, "channels is 3 and the images .* allowed: 1, that of the images"),
        ({"classes": 9}, "classes is 9; allowed: more than the largest label, 9"),
        ({"side": 30}, "side is 30; allowed for this U-Net: a multiple of 4"),
        ({"base": 12}, "base is 12; allowed: a multiple of 8"),
        ({"multipliers": "1,x"}, "multipliers is '1,x'; allowed: integers from 1, separated by commas"),
        ({"attention": "middle,7"}, r"attention has levels \[7\]; allowed: 0 to 0"),
        ({"attention": "top"}, "attention is 'top'; allowed: integers from 0"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, **changes))


def test_means_with_errors():
    assert evaluate.mean_of(np.array([1.0, 3.0])) == (2.0, 1.0)
    assert math.isnan(evaluate.mean_of(np.array([1.0])).error)


def test_last_epoch_is_the_last_epoch():
    task = diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, epochs=2.0, batch_size=5400))
    records = [{"step": step, "mse": float(step)} for step in range(1, 21)] + [{"step": 20, "held_out_loss": 1.0}]
    assert evaluate.last_epoch_loss(records, task).value == pytest.approx(15.5)


def test_refusals():
    with pytest.raises(ValueError, match="sample_steps is 30; allowed: 1 to timesteps=20"):
        diffusion.DiffusionTask.load(diffusion.DiffusionConfig(timesteps=20))
    with pytest.raises(ValueError, match="timesteps is 20; allowed with schedule='linear': 21 or more"):
        diffusion.DiffusionTask.load(dataclasses.replace(CONFIG, schedule="linear"))


@pytest.mark.parametrize(
    "field, value, allowed",
    [
        ("size", "huge", "one of tiny, small, medium, large, compact"),
        ("objective", "score", "one of eps, x0, v, flow, edm"),
        ("decay", "linear", "one of epoch, step"),
        ("warmup", -1, "an integer from 0 to 2147483647"),
        ("beta2", 1.0, "a number from 0.0 to 0.99999"),
        ("schedule", "quadratic", "one of linear_unscaled, linear, cosine"),
        ("sampler", "plms", "one of ancestral, ddim, heun, dpm_solver, dpm_solver_sde, unipc, euler, midpoint"),
        ("time_grid", "even", "one of best, uniform, angle, log_snr, karras"),
        ("side", 0, "an integer from 4 to 1024"),
        ("classes", 0, "an integer from 1 to 100000"),
        ("dtype", "float16", "one of float32, bfloat16"),
        ("dataset", "cifar", "one of mnist, fashion_mnist"),
        ("part", "test", "one of train, all"),
        ("learned_variance", 2, "true or false"),
        ("timesteps", 1, "an integer from 2 to 100000"),
        ("epochs", -1.0, "a number from 0.0 to 1000000"),
        ("batch_size", 0, "an integer from 1 to 60000"),
        ("learning_rate", -0.1, "a number from 0.0 to 10.0"),
        ("label_dropout", 1.5, "a number from 0.0 to 1.0"),
        ("min_snr", -1.0, "a number from 0.0 to 1000000.0 or none"),
        ("clip", -1.0, "a number from 0.0 to 1000000.0"),
        ("ema_decay", 1.0, "a number from 0.0 to 0.9999"),
        ("sample_steps", 0, "an integer from 1 to 100000"),
        ("guidance", -1.0, "a number from 0.0 to 100.0"),
        ("samples", 9, "an integer from 10 to 1000000"),
        ("likelihood_images", 1, "an integer from 2 to 10000"),
        ("seed", -1, "an integer from 0 to 4294967295"),
        ("log_every", 0, "an integer from 1 to 2147483647"),
        ("eval_every", 0, "an integer from 1 to 2147483647"),
        ("checkpoint_every", 0, "an integer from 1 to 2147483647"),
    ],
)
def test_every_bad_value_is_refused_by_name(field, value, allowed):
    with pytest.raises(ValueError, match=f"{field} is {value!r}; allowed: {allowed}"):
        runs.validate(dataclasses.replace(diffusion.DiffusionConfig(), **{field: value}))


if __name__ == "__main__":
    state, _, losses = updates(start())
    print(json.dumps({"devices": jax.local_device_count(), "losses": losses, "ema": flat(state.ema_params).tolist()}))
