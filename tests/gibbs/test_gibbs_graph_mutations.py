"""What the checkers of the graph engine are for: each mutant of the engine or of its plan fails the one named."""

import importlib

import jax.numpy as jnp
import numpy as np
import pytest
from graph_checks import (
    CASES,
    N,
    case_params,
    convergence_p,
    drawn,
    fixed_start,
    stationarity_p,
    strong_params,
    transition_p,
)
from statistical import ALPHA

from jaxgen.gibbs import graph_plan
from jaxgen.gibbs.engines import graph as engine
from jaxgen.gibbs.engines import graph_tables
from jaxgen.gibbs.types import Conditions

pytestmark = pytest.mark.slow

sample_module = importlib.import_module("jaxgen.gibbs.sample")
CASE = "spins"
CERTAIN = 1e-9  # a mutant must fail beyond doubt


@pytest.fixture(autouse=True)
def traced_anew():
    """Every mutant is traced, and nobody sees it afterwards."""
    caches = (sample_module._run.clear_cache, graph_plan.plan.cache_clear, graph_plan._buckets.cache_clear)
    for clear in caches:
        clear()
    yield
    for clear in caches:
        clear()


def patched_plan(monkeypatch, change):
    plan = graph_plan.plan
    monkeypatch.setattr(engine, "plan", lambda *arguments: change(plan(*arguments)))


def patched_params(monkeypatch, change):
    table = engine.make_table
    monkeypatch.setattr(engine, "make_table", lambda graph, params, *rest: table(graph, change(params), *rest))


def patched_hash(monkeypatch, change):
    """change(key, counter) -> what the hash is asked for; counters of sweeps have no axes."""
    threefry = engine.threefry2x32
    monkeypatch.setattr(engine, "threefry2x32", lambda key, counter: threefry(*change(key, counter)))


def test_one_coupling_transposed(monkeypatch):
    def change(params):
        return params | {"coupling": params["coupling"].at[5].set(params["coupling"][5].T)}

    patched_params(monkeypatch, change)
    assert stationarity_p("mixed levels") < CERTAIN


def test_one_sign_flipped(monkeypatch):
    patched_params(monkeypatch, lambda params: params | {"coupling": params["coupling"].at[0].multiply(-1)})
    assert stationarity_p(CASE) < CERTAIN


def test_weights_frozen(monkeypatch):
    frozen = engine.make_table(CASES[CASE][0], *_table_arguments())
    monkeypatch.setattr(engine, "make_table", lambda *_: frozen)
    patched_plan(monkeypatch, lambda plan: plan._replace(runs=plan.runs[:1]))
    assert convergence_p(CASE) < CERTAIN


def _table_arguments():
    graph = CASES[CASE][0]
    conditions = Conditions(jnp.float32(1), None, None, jnp.arange(N))
    return case_params(CASE, 1), graph_plan.plan(graph, N + -N % 16).runs[0], conditions, 0


def test_a_neighbour_of_the_wrong_site(monkeypatch):
    def change(plan):
        return plan._replace(runs=tuple(r._replace(neighbours=np.roll(r.neighbours, 1, 1)) for r in plan.runs))

    patched_plan(monkeypatch, change)
    assert stationarity_p(CASE) < CERTAIN


def test_one_block_skipped(monkeypatch):
    """A law is kept by any part of a scan; reached it is not."""
    patched_plan(monkeypatch, lambda plan: plan._replace(runs=plan.runs[:-1]))
    assert convergence_p(CASE) < CERTAIN and transition_p(CASE) < CERTAIN


def test_joined_sites_drawn_together(monkeypatch):
    monkeypatch.setitem(CASES[CASE][0].__dict__, "colouring", np.zeros(7, np.int32))
    assert stationarity_p(CASE) < CERTAIN


def test_sweeps_ignored(monkeypatch):
    fori_loop = engine.jax.lax.fori_loop
    monkeypatch.setattr(engine.jax.lax, "fori_loop", lambda low, high, *rest: fori_loop(low, min(high, 1), *rest))
    with pytest.raises(AssertionError):
        convergence_p(CASE)  # the counted sweeps


def test_noise_reused_across_sweeps(monkeypatch):
    patched_hash(monkeypatch, lambda key, counter: (key, counter if counter[0].ndim else (jnp.uint32(0),) * 2))
    assert transition_p(CASE) < CERTAIN


def test_noise_shared_by_sites(monkeypatch):
    patched_hash(monkeypatch, lambda key, counter: (key, (counter[0] * (counter[0].ndim == 0), counter[1])))
    assert transition_p(CASE, 1) < CERTAIN


def test_noise_shared_by_a_pair(monkeypatch):
    threefry = engine.threefry2x32

    def first_word_twice(key, counter):
        words = threefry(key, counter)
        return words[:1] * 2 if counter[0].ndim else words

    monkeypatch.setattr(engine, "threefry2x32", first_word_twice)
    assert transition_p(CASE, 1) < CERTAIN


def test_noise_shared_by_chains(monkeypatch):
    patched_hash(monkeypatch, lambda key, counter: (key, (counter[0], counter[1] // 2)))
    assert transition_p(CASE) < CERTAIN


def test_exponentials_where_sums_are_needed(monkeypatch):
    params = strong_params("mixed levels")
    monkeypatch.setattr(engine, "LARGEST_EXPONENT", 1e9)
    assert not stationarity_p("mixed levels", params) > ALPHA


def test_beta_ignored(monkeypatch):
    monkeypatch.setattr(graph_tables, "scaled", lambda beta, theta: theta)
    assert stationarity_p(CASE, beta=0.5) < CERTAIN


def test_the_reference_level_forgotten(monkeypatch):
    """Terms of state 0 are not moved into the bias."""
    relative = engine.relative_to_level_0
    monkeypatch.setattr(
        engine, "relative_to_level_0", lambda table: relative(table)._replace(bias=table.bias - table.bias[:, :1])
    )
    assert stationarity_p(CASE) < CERTAIN


def test_clamps_ignored(monkeypatch):
    clamp = np.zeros(7, bool)
    clamp[2] = True
    start = fixed_start(CASE)
    assert np.all(drawn(CASE, start, 0, clamp=clamp)[:, 2] == start[:, 2])
    sample_module._run.clear_cache()
    inner = engine._run
    monkeypatch.setattr(engine, "_run", lambda *a: inner(*a[:-1], a[-1]._replace(clamp=None)))
    assert not np.all(drawn(CASE, start, 0, clamp=clamp)[:, 2] == start[:, 2])
