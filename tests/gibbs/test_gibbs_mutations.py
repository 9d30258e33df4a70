"""What the checkers of the engines are for: each mutant of the fast engine or of THRML's fails the one named."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_checks import (
    CASES,
    case_params,
    convergence_p,
    drawn,
    fixed_start,
    huge_p,
    stationarity_p,
    transition_p,
)
from statistical import ALPHA

from jaxgen.gibbs.engines import lattice as lattice_engine
from jaxgen.gibbs.engines import thrml as thrml_engine
from jaxgen.gibbs.engines.tiles import Tiles

pytestmark = pytest.mark.slow

sample_module = importlib.import_module("jaxgen.gibbs.sample")
CASE = "3x3 tied"  # two colours
CERTAIN = 1e-9  # a mutant must fail beyond doubt


@pytest.fixture
def mutant(monkeypatch, request):
    """Registers the engine, as patched before its first call, under a name of its own, so that it is traced anew."""

    def register(run=lattice_engine.run):
        monkeypatch.setitem(sample_module._ENGINES, request.node.name, run)
        return request.node.name

    return register


def test_the_checkers_pass_the_engine():
    assert min(transition_p("lattice", CASE), stationarity_p("lattice", CASE), convergence_p("lattice", CASE)) > ALPHA


def test_one_shift_reversed(mutant, monkeypatch):
    """The neighbour to the right is looked for on the left; the table still holds the coupling to the right."""
    directions = lattice_engine._directions

    def swapped(lattice):
        right, left, *others = directions(lattice)
        return [left, right, *others]

    monkeypatch.setattr(lattice_engine, "_directions", swapped)
    name = mutant()
    assert stationarity_p(name, CASE) < CERTAIN and transition_p(name, CASE, oracle="lattice") < CERTAIN


def test_one_coupling_transposed(mutant, monkeypatch):
    seen = lattice_engine._seen_from_sites

    def transposed(lattice, params):
        first, *others = seen(lattice, params)
        yield first.swapaxes(-1, -2)
        yield from others

    monkeypatch.setattr(lattice_engine, "_seen_from_sites", transposed)
    assert stationarity_p(mutant(), "3x3 jumps") < CERTAIN


def test_one_sign_flipped(mutant, monkeypatch):
    seen = lattice_engine._seen_from_sites

    def flipped(lattice, params):
        first, *others = seen(lattice, params)
        yield -first
        yield from others

    monkeypatch.setattr(lattice_engine, "_seen_from_sites", flipped)
    name = mutant()
    assert stationarity_p(name, CASE) < CERTAIN and convergence_p(name, CASE) < CERTAIN


def test_weights_frozen(mutant):
    """An engine built once with the weights of that day; the wrong ones are those of another seed."""
    frozen = case_params(CASE, seed=1)

    def run(key, lattice, params, *rest):
        return lattice_engine.run(key, lattice, frozen, *rest)

    name = mutant(run)
    assert stationarity_p(name, CASE) < CERTAIN and convergence_p(name, CASE) < CERTAIN


def test_sweeps_ignored(mutant):
    """The source's defect: a call that returns its start. It keeps the law, so only a fixed start shows it."""

    def run(key, lattice, params, x, n_sweeps, conditions):
        return x, sample_module.SampleInfo(jnp.int32(n_sweeps), jnp.int32(x.size))

    name = mutant(run)
    assert stationarity_p(name, CASE) > ALPHA
    assert convergence_p(name, CASE) < CERTAIN and transition_p(name, CASE, oracle="lattice") < CERTAIN


def test_one_sweep_too_few(mutant):
    def run(key, lattice, params, x, n_sweeps, conditions):
        x, info = lattice_engine.run(key, lattice, params, x, n_sweeps - 1, conditions)
        return x, info._replace(sweeps=info.sweeps + 1)

    assert transition_p(mutant(run), CASE, oracle="lattice") < CERTAIN


def test_one_colour_skipped(mutant, monkeypatch):
    """A law is kept by any part of a scan; reached it is not."""
    colours = Tiles.colours
    monkeypatch.setattr(Tiles, "colours", lambda tiles: colours(tiles)[:1])
    name = mutant()
    assert convergence_p(name, CASE) < CERTAIN and transition_p(name, CASE, oracle="lattice") < CERTAIN


def test_counters_reused_across_sweeps(mutant, monkeypatch):
    bits = jax.random.bits

    def same_for_all_sweeps(key, shape, dtype):
        return jnp.broadcast_to(bits(key, shape[1:], dtype), shape)

    monkeypatch.setattr(lattice_engine.jax.random, "bits", same_for_all_sweeps)
    assert transition_p(mutant(), CASE, oracle="lattice") < CERTAIN


def test_counters_reused_across_quarters(mutant, monkeypatch):
    hashes = lattice_engine.threefry2x32
    monkeypatch.setattr(lattice_engine, "threefry2x32", lambda *args: (hashes(*args)[0],) * 2)
    name = mutant()
    assert transition_p(name, CASE, oracle="lattice") < CERTAIN and convergence_p(name, CASE) < CERTAIN


def test_chains_share_their_noise(mutant, monkeypatch):
    counters = lattice_engine._counters
    monkeypatch.setattr(lattice_engine, "_counters", lambda shape, ids: counters(shape, ids // 2))
    assert transition_p(mutant(), CASE, oracle="lattice") < CERTAIN


def test_exponentials_where_logarithms_are_needed(mutant, monkeypatch):
    monkeypatch.setattr(lattice_engine, "LARGEST_EXPONENT", 1e9)
    assert not huge_p(mutant()) > ALPHA


def test_clamps_ignored(mutant):
    """Compare the held sites themselves, not a law."""

    def run(key, lattice, params, x, n_sweeps, conditions):
        return lattice_engine.run(key, lattice, params, x, n_sweeps, conditions._replace(clamp=None))

    clamp = np.zeros((3, 3), bool)
    clamp[1, 2] = True
    start = fixed_start(CASE)
    for engine, kept in (("lattice", True), (mutant(run), False)):
        assert np.all(drawn(engine, CASE, start, 0, clamp=clamp)[:, clamp] == start[:, clamp]) == kept


def test_thrml_with_stale_weights(mutant, monkeypatch):
    """THRML copies weights into a program: one made before the step samples the weights of that day."""
    case = "3x3 torus"
    program = thrml_engine.potts_program(CASES[case][0], case_params(case, seed=1))
    monkeypatch.setattr(thrml_engine, "potts_program", lambda *_: program)
    name = mutant(thrml_engine.run)
    assert stationarity_p(name, case) < CERTAIN
