"""The fit loop in one process: records, hooks, one compilation, non-finite numbers."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.runs import RunFolder, option, read_metrics
from jaxgen.training import Checkpoints, FitOptions, NonFiniteError, create, fit, parallel_step

TX = optax.sgd(0.1)
DATA = {"x": np.arange(32, dtype=np.float32) / 32}


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = option(0, "seed", group="run", low=0)


class Order:
    def indices(self, step):
        return (np.arange(4, dtype=np.int32) + 4 * step) % 32


def grad_fn(params, carry, key, batch):
    return {"w": params["w"] - batch["x"].mean()}, carry, {"loss": jnp.mean((params["w"] - batch["x"]) ** 2)}


def start():
    return create(jax.random.key(0), {"w": jnp.zeros(())}, TX)


def test_traced_and_compiled_once_in_a_hundred_steps(tmp_path, caplog):
    traces = []

    def counted(*given):
        traces.append(1)
        return grad_fn(*given)

    def compiled():
        return [message for message in caplog.messages if "Finished XLA compilation" in message]

    before = []

    def count(step, state):
        before.append(len(compiled()))
        return {}

    with RunFolder.open(tmp_path, Config()) as run, jax.log_compiles(), caplog.at_level(logging.WARNING):
        options = FitOptions(100, log_every=2, eval_every=2, checkpoint_every=25)
        state = fit(start(), parallel_step(counted, TX), DATA, Order(), run, options, [count])
    assert int(state.step) == 100 and len(traces) == 1
    # The first evaluation comes after step 2, by when everything is compiled.
    assert before[0] > 0 and len(compiled()) == before[0]


def test_averages_hooks_and_checkpoints_fall_where_they_should(tmp_path):
    seen = []

    def hook(step, state):
        seen.append((step, int(state.step)))
        return {"distance": float(state.params["w"])}

    with RunFolder.open(tmp_path, Config()) as run:
        options = FitOptions(25, log_every=10, eval_every=10, checkpoint_every=10, best="distance", best_mode="max")
        state = fit(start(), parallel_step(grad_fn, TX), DATA, Order(), run, options, [hook])
    assert seen == [(10, 10), (20, 20), (25, 25)]
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in records] == [10, 20, 25]
    w, losses = 0.0, []
    for t in range(25):
        x = DATA["x"][Order().indices(t)]
        losses.append(np.mean((w - x) ** 2))
        w += 0.1 * (x.mean() - w)
    for record, window in zip(records, (losses[:10], losses[10:20], losses[20:]), strict=True):
        np.testing.assert_allclose(record["loss"], np.mean(window), rtol=1e-5)
        assert record["images_per_s"] > 0
    np.testing.assert_allclose(float(state.params["w"]), w, rtol=1e-5)
    checkpoints = Checkpoints(run.checkpoints, best="distance", mode="max")
    best = max(range(3), key=lambda i: records[i]["distance"])
    assert int(checkpoints.restore_best(start()).step) == seen[best][0]
    assert {20, 25} <= set(checkpoints.steps())
    checkpoints.close()


@pytest.mark.parametrize("broken", ["loss", "grad_norm", "params"])
def test_non_finite_numbers_stop_with_the_step_and_keep_the_last_checkpoint(tmp_path, broken):
    def bad(params, carry, key, batch):
        grads, carry, metrics = grad_fn(params, carry, key, batch)
        late = carry[0] == 19
        if broken == "loss":
            metrics = {"loss": jnp.where(late, jnp.nan, metrics["loss"])}
        elif broken == "grad_norm":
            grads = {"w": jnp.where(late, jnp.inf, grads["w"])}
        else:
            grads = {"w": jnp.where(late, 1e19, grads["w"])}
        return grads, carry + 1, metrics

    tx = optax.sgd(1e20 if broken == "params" else 0.1)
    if broken == "params":
        tx = optax.chain(optax.scale_by_schedule(lambda count: jnp.where(count == 19, 1e20, 0.1)), optax.scale(-1.0))
    state = create(jax.random.key(0), {"w": jnp.zeros(())}, tx, carry=jnp.zeros(1))
    what = {
        "loss": "loss is nan at step 20",
        "grad_norm": "grad_norm is inf at step 20",
        "params": r"params\['w'\] is not",
    }
    with RunFolder.open(tmp_path, Config()) as run, pytest.raises(NonFiniteError, match=what[broken]) as caught:
        options = FitOptions(40, log_every=7, eval_every=10, checkpoint_every=10)
        fit(state, parallel_step(bad, tx), DATA, Order(), run, options)
    assert "the last good checkpoint is step 10 in " in str(caught.value)
    checkpoints = Checkpoints(run.checkpoints)
    assert checkpoints.steps() == [10]
    assert np.isfinite(float(checkpoints.restore_latest(state).params["w"]))
    checkpoints.close()


def test_finished_run_returns_its_state_without_training(tmp_path):
    options = FitOptions(10)
    step = parallel_step(grad_fn, TX)
    with RunFolder.open(tmp_path, Config()) as run:
        first = fit(start(), step, DATA, Order(), run, options)
        again = fit(start(), step, DATA, Order(), run, options)
    assert float(first.params["w"]) == float(again.params["w"]) and int(again.step) == 10
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [10]


def test_options_and_names_are_checked(tmp_path):
    with pytest.raises(ValueError, match="log_every is 0; allowed: an integer, 1 or more"):
        FitOptions(10, log_every=0)
    with pytest.raises(
        ValueError, match="checkpoint_every is 50; allowed with best='fid': a multiple of eval_every=20"
    ):
        FitOptions(10, eval_every=20, checkpoint_every=50, best="fid")
    with RunFolder.open(tmp_path, Config()) as run, pytest.raises(ValueError, match="metric names loss come twice"):
        fit(start(), parallel_step(grad_fn, TX), DATA, Order(), run, FitOptions(3), [lambda *given: {"loss": 1.0}])
