"""The task of a restricted machine: its data, its start, its command on images of one's own."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgen import runs, training
from jaxgen.potts.restricted import evaluate
from jaxgen.potts.restricted.config import RestrictedConfig
from jaxgen.potts.restricted.task import RestrictedTask, frequencies


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """240 images of 4 x 5 pixels and 3 levels, all pixels of an image about as bright."""
    rng = np.random.default_rng(0)
    images = rng.binomial(2, rng.random((240, 1, 1)), (240, 4, 5))
    path = tmp_path_factory.mktemp("own") / "bright.npz"
    np.savez(path, images=images, labels=np.zeros(240, int), levels=3)
    return path


def config(own, **changes) -> RestrictedConfig:
    short = {"steps": 60, "eval_every": 30, "checkpoint_every": 30, "log_every": 10, "warmup": 5, "learning_rate": 0.02}
    sizes = {"hidden": 8, "chains": 32, "batch_size": 32, "samples": 40, "temperatures": 200, "both_images": 20}
    return RestrictedConfig(images=str(own), **{"levels": 3, "ema_decay": 0.9} | short | sizes | changes)


def test_the_start_is_the_independent_pixels_of_the_data(own):
    task = RestrictedTask.load(config(own))
    state, _ = task.initial_state()
    assert state.carry["chains"].shape == (32, 20) and task.train.shape[1] == 20
    logits = np.concatenate([np.zeros((20, 1)), state.params["visible_bias"][..., :]], 1)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    counts = np.stack([(task.train == level).mean(0) for level in range(3)], -1)
    np.testing.assert_allclose(p, counts, atol=0.01)
    assert RestrictedTask.load(config(own, persistent=False)).initial_state()[0].carry is None


def test_frequencies_of_greys_are_those_of_their_binarisation():
    rows = np.array([[0, 255, 51], [0, 255, 51]], np.uint8)
    np.testing.assert_allclose(frequencies(rows, 2)[:, 0], [1 / 4, 3 / 4, 1.4 / 4])


def test_a_grey_is_white_with_its_probability_and_belongs_to_its_place(own):
    task = RestrictedTask.load(config(own))
    binary = dataclasses.replace(task, config=config(own, levels=2))
    image = jnp.asarray(np.tile(np.array([0, 51, 255], np.uint8), (4000, 1)))
    v = binary.encode(jax.random.key(0), image, jnp.arange(4000))
    np.testing.assert_allclose(v.mean(0), [0, 0.2, 1], atol=0.03)
    assert v[:, 0].max() == 0 and v[:, 2].min() == 1
    some = binary.encode(jax.random.key(0), image[:3], jnp.array([9, 0, 4]))
    np.testing.assert_array_equal(some, np.asarray(v)[[9, 0, 4]])


def test_the_gradient_is_the_mean_over_devices(own):
    """Two devices hold half of the images and half of the chains each."""
    task = RestrictedTask.load(config(own))
    state, _ = task.initial_state()
    grad_fn, key = jax.jit(task.grad_fn()), jax.random.key(1)
    batch = {"image": jnp.asarray(task.train[:32]), "position": jnp.arange(32)}
    whole, carry, _ = grad_fn(state.params, state.carry, key, batch)
    parts = [
        grad_fn(state.params, *(jax.tree.map(lambda x, k=k: x[16 * k : 16 * k + 16], tree) for tree in (state.carry,)),
                key, jax.tree.map(lambda x, k=k: x[16 * k : 16 * k + 16], batch))
        for k in range(2)
    ]  # fmt: skip
    mean = jax.tree.map(lambda a, b: (a + b) / 2, parts[0][0], parts[1][0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), whole, mean)  # bfloat16 cotangents
    np.testing.assert_array_equal(carry["chains"], jnp.concatenate([part[1]["chains"] for part in parts]))


def test_a_short_run_has_a_short_warmup_and_a_short_average(own):
    short = RestrictedConfig(images=str(own), steps=60)
    assert training.warmup_steps(short.warmup, short.steps) == 6
    assert training.warmup_steps(RestrictedConfig().warmup, RestrictedConfig().steps) == 200
    assert RestrictedTask.load(short).fit_options().ema_decay == 1 - 5 / 60


@pytest.mark.slow
def test_the_command_learns_measures_and_records(own, tmp_path):
    training.run_task(RestrictedTask.load, config(own), tmp_path)
    records = runs.read_metrics(tmp_path / "metrics.jsonl")
    likelihood = [r["validation_log_likelihood"] for r in records if "validation_log_likelihood" in r]
    assert len(likelihood) == 2 and likelihood[1] > likelihood[0] - 0.2
    assert {"energy_gap", "level_error", "unit_updates_per_s"} <= set(records[1])
    rows = {row["quantity"]: row for row in json.loads((tmp_path / "result.json").read_text())["rows"]}
    task = RestrictedTask.load(config(own))
    test, p = task.states("test"), frequencies(task.train, 3)
    whole = np.concatenate([1 - p.sum(1, keepdims=True), p], 1)
    independent = np.log(whole[np.arange(20), test]).sum(1).mean()
    assert rows["log-likelihood"]["value"] > independent + 1
    assert abs(rows["log-likelihood, conservative"]["value"] - rows["log-likelihood"]["value"]) < 0.5
    with np.load(tmp_path / "samples" / "final.npz") as archive:
        assert archive["states"].shape == (40, 4, 5) and archive["levels"] == 3
    for name in ("samples", "curves"):
        assert np.asarray(Image.open(tmp_path / "figures" / f"{name}.png").convert("L")).std() > 10


@pytest.mark.slow
def test_a_report_that_is_stopped_goes_on_with_what_it_has(own, tmp_path, monkeypatch):
    calls, real = [], evaluate.likelihood_bracket
    monkeypatch.setattr(evaluate, "likelihood_bracket", lambda *a: calls.append("anneal") or real(*a))

    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(evaluate, "draw_samples", stopped)
        training.run_task(RestrictedTask.load, config(own), tmp_path / "stopped")
    training.run_task(RestrictedTask.load, config(own), tmp_path / "stopped")
    assert calls == ["anneal"] and not (tmp_path / "stopped" / ".report").exists()
    training.run_task(RestrictedTask.load, config(own), tmp_path / "whole")

    def numbers(folder):
        rows = json.loads((tmp_path / folder / "result.json").read_text())["rows"]
        return [row for row in rows if row["unit"] != "s" and "second" not in row["quantity"]]

    assert numbers("stopped") == numbers("whole") and len(numbers("whole")) > 3
