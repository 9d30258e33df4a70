"""The benchmark of local learning: sane rows, a wrong gradient caught, wrong flags refused. Speed is never tested."""

import json

import commands
import jax
import pytest

from benchmarks import local_learning_cost as benchmark
from jaxgen import energy_learning

TINY = ["--widths=32,32", "--batch_size=64", "--steps=1", "--train_epochs=0.1"]


def call(*flags):
    return commands.call(benchmark.CostConfig, benchmark.run, *flags)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(benchmark.timing, "disable_compilation_cache", lambda: None)
    kept = [case for case in benchmark.CASES if case[0] in ("backprop", "ep_centred")]
    monkeypatch.setattr(benchmark, "CASES", kept)


@pytest.mark.slow
def test_a_tiny_run_writes_sane_rows(tmp_path):
    code, out, err = call(*TINY, f"--json={tmp_path / 'rows.json'}")
    assert code == 0, err
    record = json.loads((tmp_path / "rows.json").read_text())
    first, second, third = record["rows"]
    assert first["scheme"] == "backprop" and first["x backprop"] == 1 and first["cosine to exact"] == pytest.approx(1)
    assert second["sweeps"] == "8 + 4" and second["s per epoch"] > 0 and 0.5 < second["cosine to exact"] <= 1
    assert (third["scheme"], third["sweeps"], third["target"]) == ("ep_centred", "8 + 1", "<= 2.5")
    assert "x backprop" in out


@pytest.mark.slow
def test_a_gradient_that_points_elsewhere_is_not_timed(monkeypatch):
    build = energy_learning.build_scheme

    def uphill(name, model, settings):
        grad_fn = build(name, model, settings)
        return lambda *arguments: (jax.tree.map(lambda g: -g, grad_fn(*arguments)[0]), *grad_fn(*arguments)[1:])

    monkeypatch.setattr(energy_learning, "build_scheme", uphill)
    code, _, err = call(*TINY)
    assert code == 2 and "cosine to the exact gradient of backprop (-1.00), ep_centred (" in err


@pytest.mark.slow
def test_the_gate_is_a_half_not_zero(monkeypatch):
    """A scheme whose cosine is positive but small is left out of the table."""
    monkeypatch.setattr(benchmark.Runner, "cosine", lambda self: 1.0 if self.setting.scheme == "backprop" else 0.49)
    code, out, err = call(*TINY[:3], "--train_epochs=0")
    assert code == 1
    both = "ep_centred (0.49), ep_centred (0.49)"  # with 8 + 4 sweeps and with 8 + 1
    assert f"not timed: cosine to the exact gradient of {both}; allowed: above 0.5 after 0.0 epochs" in err
    assert "backprop" in out and "ep_centred" not in out


def test_too_few_repeats_are_refused():
    code, _, err = call("--repeats=6")
    assert code == 2 and "--repeats=6: allowed: an integer from 7 to 1000" in err
