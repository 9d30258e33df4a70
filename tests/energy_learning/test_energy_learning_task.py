"""Configurations, training through the common step, persistence, devices, the original schemes, the playground."""

import dataclasses
import json
from pathlib import Path

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from energy_learning_cases import flat, off

from jaxgen import data, training
from jaxgen import energy_learning as el
from jaxgen.energy_learning import original, playground
from jaxgen.energy_learning.task import XOR_X, XOR_Y, Examples

CONFIG = el.EnergyLearningConfig(
    seeds=2, widths="4", epochs=5, free_sweeps=30, nudged_sweeps=30, persistent=True, tolerance=1e-5
)


def learn(config, steps):
    """(task, state) after some updates of the plain step."""
    task = el.EnergyTask.load(config)
    state, tx = task.initial_state()
    step = jax.jit(training.make_train_step(task.grad_fn(), tx))
    batch = task.arrays() | {"position": jnp.arange(4, dtype=jnp.uint32)}
    for _ in range(steps):
        state, _ = step(state, batch)
    return task, state


def on_all_devices():
    """Numbers of a short run with persistent states on all devices of this process."""
    task = el.EnergyTask.load(CONFIG)
    state, tx = task.initial_state()
    step = training.parallel_step(task.grad_fn(), tx)
    stacked, arrays = training.replicate_state(state), training.replicate_data(task.arrays())
    for number in range(3):
        stacked, metrics = step(stacked, arrays, training.shard_index(task.order().indices(number)))
    state = training.unreplicate_state(stacked)
    return {
        "params": flat(state.params).tolist(),
        "carry": flat(state.carry).tolist(),
        "shape": state.carry[0].shape,
        "metrics": {name: float(value) for name, value in metrics.items()},
    }


@pytest.mark.slow
def test_one_device_is_four_devices():
    code, out, err = commands.run_alone(Path(__file__), devices=4)
    assert code == 0, err
    on_four, expected = json.loads(out), on_all_devices()
    np.testing.assert_allclose(on_four["params"], expected["params"], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(on_four["carry"], expected["carry"], rtol=2e-5, atol=2e-6)
    assert on_four["shape"] == [4, 2, 4] == list(expected["shape"])
    for name, value in expected["metrics"].items():
        assert on_four["metrics"][name] == pytest.approx(value, rel=1e-3, abs=1e-6), name


def test_networks_trained_together_are_those_trained_alone():
    task, both = learn(dataclasses.replace(CONFIG, persistent=False), 3)
    grad_fn = el.build_scheme(CONFIG.scheme, task.model, task.settings)
    start = jax.tree.map(lambda leaf: leaf[1], task.initial_params())
    _, tx = task.initial_state()
    step = jax.jit(training.make_train_step(grad_fn, tx))
    state = training.create(jax.random.key(0), start, tx)
    for _ in range(3):
        state, _ = step(state, task.arrays())
    alone = flat(state.params)
    np.testing.assert_allclose(flat(jax.tree.map(lambda leaf: leaf[1], both.params)), alone, atol=1e-5)
    assert off(flat(jax.tree.map(lambda leaf: leaf[0], both.params)), alone) > 0.1


@pytest.mark.parametrize("convolutions, widths", [("", "4"), ("2x5,2x3", "")], ids=["dense", "convolutional"])
def test_training_images_are_shifted_anew_at_every_step(convolutions, widths):
    """The gradient of a step is that of images moved by its key; validation and test images stay."""
    config = el.EnergyLearningConfig(
        dataset="mnist", convolutions=convolutions, widths=widths, energy="predictive_coding", scheme="backprop",
        seeds=2, shift=2,
    )  # fmt: skip
    task, plain = el.EnergyTask.load(config), el.EnergyTask.load(dataclasses.replace(config, shift=0))
    key, position = jax.random.key(1), jnp.arange(6, dtype=jnp.uint32)
    batch = {name: array[:6] for name, array in task.arrays().items()} | {"position": position}
    images = np.asarray(batch["x"]).reshape(6, 28, 28)
    moved = np.asarray(data.shift(jax.random.split(key)[0], jnp.asarray(images), position, 2))
    assert (moved != images).any((1, 2)).sum() > 3
    params = task.initial_params()
    found, _, _ = jax.jit(task.grad_fn())(params, None, key, batch)
    shifted = batch | {"x": jnp.asarray(moved.reshape(batch["x"].shape))}
    wanted, _, _ = jax.jit(plain.grad_fn())(params, None, key, shifted)
    np.testing.assert_allclose(flat(found), flat(wanted), atol=1e-7)
    np.testing.assert_array_equal(task.test.x, plain.test.x)
    with pytest.raises(ValueError, match="shift is 2; allowed with dataset xor: 0"):
        el.EnergyTask.load(el.EnergyLearningConfig(shift=2))


def test_sweeps_by_errors_are_for_predictive_coding():
    with pytest.raises(ValueError, match="sweep is errors; allowed with energy clipped: asynchronous, synchronous"):
        el.EnergyTask.load(el.EnergyLearningConfig(energy="clipped", sweep="errors"))


def test_persistent_states_are_the_last_free_equilibria():
    task, state = learn(CONFIG, 4)
    assert [leaf.shape for leaf in state.carry] == [(4, 2, 4), (4, 2, 2)]
    # Read label-free from the carry, and from the cold, after one more update: the same answers here.
    warm, cold = (el.evaluate(task, state.params, task.test, carry) for carry in (state.carry, None))
    np.testing.assert_allclose(warm.output, cold.output, atol=1e-3)
    strange = jax.tree.map(lambda leaf: 1 - leaf, state.carry)
    short = dataclasses.replace(
        task, settings=task.settings._replace(phases=el.Phases(el.Minimiser(1), el.Minimiser(1)))
    )
    assert off(el.evaluate(short, state.params, task.test, strange).output, cold.output) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "ep_centred"},
        {"scheme": "contrastive_hebbian", "energy": "clipped"},
        {"scheme": "pc_equilibrium", "energy": "predictive_coding", "step_size": 0.1, "nudged_sweeps": 50},
    ],
    ids=lambda change: change["scheme"],
)
def test_xor_is_learnt_and_answered_without_labels(change):
    config = el.EnergyLearningConfig(seeds=4, epochs=400, learning_rate=0.02, schedule="cosine")
    if change["scheme"] == "pc_equilibrium":
        config = dataclasses.replace(config, learning_rate=0.005)
    task, state = learn(dataclasses.replace(config, **change), 400)
    cold = el.evaluate(task, state.params, task.test)
    assert (cold.error == 0).sum() >= 3
    # Untrained networks of the same seeds do not answer.
    assert (el.evaluate(task, task.initial_params(), task.test).error > 0).all()


def test_an_answer_never_sees_the_label():
    task, state = learn(dataclasses.replace(CONFIG, persistent=False), 2)
    swapped = Examples(XOR_X, 1 - XOR_Y, 2)
    right, wrong = (el.evaluate(task, state.params, examples) for examples in (task.test, swapped))
    np.testing.assert_array_equal(right.output, wrong.output)
    np.testing.assert_allclose(right.error, 1 - wrong.error)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"widths": "4,0"}, "widths is '4,0'; allowed: integers, each 1 or more"),
        ({"widths": ""}, "widths is ''; allowed"),
        (
            {"persistent": True, "scheme": "backprop"},
            "persistent is true; allowed with scheme backprop: false",
        ),
        ({"tolerance": -1.0}, "tolerance is -1.0; allowed: a number above 0, or None"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        el.EnergyTask.load(el.EnergyLearningConfig(**change))


@pytest.mark.slow
def test_the_original_notebook_reports_what_is_not_there():
    """0 % wrong with the label in the states, about half wrong without it; and its first step fails on shapes."""
    wide = original.Setting((8,), 300, rates=(0.1, 0.1))
    chl = original.readings(original.ORIGINAL_SCHEMES["CHL"], wide, range(3)).mean(0)
    ep = original.readings(original.ORIGINAL_SCHEMES["EP"], wide, range(3)).mean(0)
    assert chl[0] < 0.1 and chl[2] > 0.3 and ep[0] < 0.1 and ep[2] > 0.3
    nudge = original.readings(original.ORIGINAL_SCHEMES["PC nudge"], original.Setting(), range(2))
    assert (nudge[:, 0] == 0).all() and (nudge[:, 1:] == 1).all()
    with pytest.raises(ValueError, match="broadcast"):
        original.readings(original.ORIGINAL_SCHEMES["first step"], original.Setting(), [0])
    rows = original.original_rows(dataclasses.replace(CONFIG, seeds=1))
    assert len(rows) == 12 and sum(row.value == "does not run" for row in rows) == 2


def test_sliders_set_what_they_say():
    values = {name: 0.1 * k for k, name in enumerate(playground.DEFAULTS)}
    params = playground.start_params(values)
    assert params["layer_1"]["kernel"].tolist() == [
        [pytest.approx(0.0), pytest.approx(0.1)],
        [pytest.approx(0.2), pytest.approx(0.3)],
    ]
    assert params["layer_1"]["bias"].tolist() == pytest.approx([0.4, 0.5])
    assert params["layer_2"]["kernel"].ravel().tolist() == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert params["layer_2"]["bias"].tolist() == pytest.approx([1.0, 1.1])
    with pytest.raises(ValueError, match=r"values has or lacks b1\[0\]; allowed: exactly w1\[0,0\]"):
        playground.start_params({name: 0.0 for name in values if name != "b1[0]"})


@pytest.mark.slow
def test_the_button_trains_from_the_sliders():
    box = el.sliders()
    box.controls["w1[0,1]"].value = -3.0
    box.controls["b2[1]"].value = 0.5
    box.controls["epochs"].value = 10
    result = box.run()
    assert float(result.start["layer_1"]["kernel"][0, 1]) == -3.0 and float(result.start["layer_2"]["bias"][1]) == 0.5
    assert len(result.cost) == 10


@pytest.mark.slow
def test_a_playground_trial_learns_and_is_drawn(tmp_path):
    result = playground.trial(playground.DEFAULTS)
    assert result.error[0] > 0 and (result.output.argmax(1) == XOR_Y).all()
    el.static_figure(tmp_path / "trial.png", scheme="z_il")
    assert (tmp_path / "trial.png").stat().st_size > 10_000


if __name__ == "__main__":
    print(json.dumps(on_all_devices()))
