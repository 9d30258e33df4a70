"""The Gibbs benchmark: sane rows, wrong samplers caught, wrong flags refused. Speed is never tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import gibbs_throughput
from benchmarks.throughput import gate, report
from benchmarks.throughput.peers import PATHS, Prepared, Problem
from benchmarks.throughput.peers import Path as SamplerPath
from jaxgen import gibbs
from jaxgen.runs import tables

ROOT = Path(__file__).parents[2]
TINY = ["--quick", "--sizes=6", "--levels=2", "--chains=64,1", "--sweeps=20"]
# Only the paths a test names, and no optional peers, so that it takes seconds.
ONLY = """
import sys
from benchmarks import gibbs_throughput
from benchmarks.throughput import peers
keep = sys.argv.pop(1).split(",")
peers.PATHS = {name: path for name, path in peers.PATHS.items() if name in keep}
gibbs_throughput.installed_peers = lambda quick: ({}, [])
gibbs_throughput.training.ENGINES = {"lattice": "lattice"}
"""
MUTANT = """
gibbs_throughput.EMPTY_CALLS, gibbs_throughput.training.ENGINES = (), {}
def frozen(problem, sweeps):
    return peers.Prepared(lambda seed: problem.start(), 0.0)
peers.PATHS["frozen"] = peers.Path(frozen)
"""
RUN = "sys.exit(gibbs_throughput.main(sys.argv))"


def run_only(code, paths, *flags):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ONLY + code + RUN, paths, *flags]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_tiny_run_writes_sane_rows_and_a_figure(tmp_path):
    target, figure = tmp_path / "rows.json", tmp_path / "figure.png"
    done = run_only("", "thrml,lattice,Python", *TINY, f"--json={target}", f"--plot={figure}")
    assert done.returncode == 0, done.stderr
    record = json.loads(target.read_text())
    assert record["cores"] >= 1 and record["device"] and record["versions"]["jax"] and "--levels=2" in record["command"]
    assert {(r["engine"], r["chains"]) for r in record["rows"]} == {
        ("thrml", 64), ("lattice", 64), ("thrml", 1), ("lattice", 1), ("Python", 1)
    }  # fmt: skip
    for row in record["rows"]:
        assert (row["size"], row["levels"], row["coupling"]) == (6, 2, "edge")
        assert 0 < row["low"] <= row["updates_per_ns"] <= row["high"]
        assert row["samples_per_s"] == pytest.approx(row["updates_per_ns"] * 1e9 / (50 * 36))
        assert row["repeats"] >= 7 and 1 <= row["sweeps"] <= 20 and row["compile_s"] >= 0
        assert row["engine"] != "thrml" or row["ratio_to_thrml"] == 1
    assert all(row["ok"] for row in record["gate"])
    assert {row["size"] for row in record["gate"]} == {3, 6}
    assert [row["steps_per_sample"] for row in record["empty_call"]] == [1, 50, 5000]
    assert all(row["state_unchanged"] for row in record["empty_call"])
    training = record["training"][0]
    assert training["s_for_60000_images"] == pytest.approx(6 * training["s_for_10000_images"])
    assert [row["engine"] for row in record["crossovers"]] == ["thrml"]
    assert figure.stat().st_size > 10_000
    assert "Gate" in done.stdout and "updates/ns" in done.stdout


@pytest.mark.slow
def test_a_sampler_that_does_nothing_is_not_timed_and_fails_the_run(tmp_path):
    target = tmp_path / "rows.json"
    done = run_only(MUTANT, "thrml", *TINY, "--chains=64", f"--json={target}")
    assert done.returncode == 1, done.stderr
    record = json.loads(target.read_text())
    assert {row["engine"] for row in record["rows"]} == {"thrml"}
    assert [row["engine"] for row in record["gate"] if not row["ok"]] == ["frozen"]
    assert "FAILED, not timed: frozen" in done.stdout


def sampled_with(mutate, problem):
    """States of the lattice engine under mutated parameters."""

    def prepare(problem, sweeps):
        def run(seed):
            params = mutate(problem.params())
            return gibbs.sample(jax.random.key(seed), problem.lattice, params, problem.start(), sweeps)[0]

        return Prepared(run, 0.0)

    return gate.sampled(SamplerPath(prepare), problem)[0]


def transposed(params):
    return params | {"coupling": {name: w.swapaxes(2, 3) for name, w in params["coupling"].items()}}


def colder(params):
    return params | {"bias": 1.2 * params["bias"]}


def one_edge_lost(params):
    return params | {"coupling": params["coupling"] | {"1,0": params["coupling"]["1,0"].at[0, 0].set(0)}}


PROBLEM = Problem(3, 4, 16384, "edge")


@pytest.mark.parametrize("mutate", [transposed, colder, one_edge_lost])
def test_the_gate_catches_a_wrong_law(mutate):
    right, wrong = sampled_with(lambda params: params, PROBLEM), sampled_with(mutate, PROBLEM)
    assert gate.p_against_exact(PROBLEM, right) > gate.ALPHA
    assert gate.p_against_exact(PROBLEM, wrong) < gate.ALPHA
    assert gate.p_against(PROBLEM, wrong, right) < gate.ALPHA


def test_the_two_sample_p_value_is_that_of_one_law():
    rng = np.random.default_rng(0)
    problem = Problem(6, 4, 200, "edge")
    p = [gate.p_against(problem, *(rng.integers(0, 4, (n, 6, 6), np.uint8) for n in (200, 500))) for _ in range(100)]
    assert np.mean(np.array(p) < 0.2) < 0.35  # Bonferroni keeps it at or below 0.2; the bound is 4 standard errors


@pytest.mark.parametrize(
    ("flag", "allowed"),
    [
        ("--sizes=2", "different whole numbers from 3 to 128"),
        ("--levels=4,x", "different whole numbers from 2 to 16"),
        ("--chains=1,1", "different whole numbers from 1 to 65536"),
        ("--coupling=loose", "edge|tied|both"),
        ("--repeats=6", "7"),
        ("--sweeps=1", "2"),
        ("--plot=x.txt", ".png, .pdf or .svg"),
        ("--speed=1", "Unknown command line flag 'speed'"),
        ("extra", "unexpected arguments: extra"),
    ],
)
def test_wrong_flags_are_refused_by_name_and_allowed_values(flag, allowed, capsys):
    assert gibbs_throughput.main(["benchmark", flag]) == 2
    message = capsys.readouterr().err
    assert allowed in message and flag.split("=")[0].lstrip("-") in message


def options(*flags):
    values = gibbs_throughput.define_flags()
    values(["benchmark", *flags])
    return gibbs_throughput.read_options(values)


def test_problems_vary_one_thing_at_a_time():
    problems = options().problems()
    base = problems[0]
    assert base == (28, 4, 256, "edge")
    assert all(sum(a != b for a, b in zip(base, p, strict=True)) <= 1 for p in problems)
    assert len(problems) == 1 + 2 + 2 + 4 + 1
    assert options("--sizes=9", "--coupling=tied").base == (9, 4, 256, "tied")
    timed_slow = [p for p in problems if options().takes(PATHS["jaxgen thrml"], p)]
    assert [p.chains for p in timed_slow] == [256, 1]


def test_crossover_is_the_count_from_which_the_lattice_engine_stays_ahead():
    at = {"size": 28, "levels": 4, "coupling": "edge", "one_chain": False}
    ours, theirs = {1: 1.0, 16: 3.0, 64: 2.0, 256: 9.0}, {1: 0.5, 16: 2.0, 64: 4.0, 256: 5.0}
    rows = [at | {"engine": "lattice", "chains": n, "updates_per_ns": v} for n, v in ours.items()]
    rows += [at | {"engine": "numba", "chains": n, "updates_per_ns": v} for n, v in theirs.items()]
    rows += [at | {"engine": "thrml", "chains": n, "updates_per_ns": 10.0} for n in theirs]
    crossovers = {r["engine"]: r["lattice_ahead_from_chains"] for r in report.crossovers(rows, at)}
    assert crossovers == {"numba": 256, "thrml": None}


def test_tables_replace_only_what_is_between_the_marks(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table: t -->\nold\n<!-- end: t -->\nafter\n")
    tables.write_between(page, "t", "| new |")
    assert page.read_text() == "before\n<!-- table: t -->\n| new |\n<!-- end: t -->\nafter\n"
    with pytest.raises(ValueError, match="lacks <!-- table: other -->"):
        tables.write_between(page, "other", "")


def test_the_readme_has_the_marks():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert text.count(f"<!-- table: {gibbs_throughput.NAME} -->") == 1
    assert text.count(f"<!-- end: {gibbs_throughput.NAME} -->") == 1
