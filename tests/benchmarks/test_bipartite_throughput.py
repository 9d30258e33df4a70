"""The benchmark of restricted machines: right laws pass its gate, wrong ones do not. Speed is never tested."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import bipartite_throughput as benchmark


@pytest.mark.parametrize("name", ["jaxgen float32", "numpy", benchmark.ANCHOR])
def test_paths_that_sample_the_law_pass(name, monkeypatch):
    monkeypatch.setattr(benchmark, "GATE_CHAINS", 4096)
    assert benchmark.gate(benchmark.paths()[name]) >= benchmark.ALPHA


def test_a_path_that_ignores_the_hidden_units_is_caught(monkeypatch):
    monkeypatch.setattr(benchmark, "GATE_CHAINS", 4096)

    def biases_only(machine, sweeps):
        a = machine.params()[1]
        rng = np.random.default_rng(0)
        return benchmark.Prepared(lambda seed: rng.random((4096, 4)) < 1 / (1 + np.exp(-a)), 4096, sweeps, 0.0)

    assert benchmark.gate(biases_only) < benchmark.ALPHA


def test_rows_are_rates_per_update(monkeypatch):
    monkeypatch.setattr(benchmark, "TARGET_S", 0.001)
    monkeypatch.setattr(benchmark, "affordable", lambda build: build(2))
    named = {name: benchmark.paths()[name] for name in (benchmark.ANCHOR, "numpy")}
    rows = benchmark.measure(benchmark.Machine(6, 4, 8), named, 7)
    assert [row["path"] for row in rows] == [benchmark.ANCHOR, "numpy"] and rows[0]["x thrml"] == 1
    for row in rows:
        assert row["updates/ns"] > 0 and row["chains"] == 8 and row["repeats"] == 7
    assert jnp.isfinite(rows[1]["x thrml"])


def test_a_wrong_flag_is_one_line(capsys):
    assert benchmark.main(["bipartite_throughput", "more"]) == 2
    assert "unexpected arguments: more; allowed: --name=value" in capsys.readouterr().err
