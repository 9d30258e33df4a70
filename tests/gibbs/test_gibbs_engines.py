"""Laws of the engines against enumeration, transfer matrices and closed forms."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_checks import (
    CASES,
    SWEEPS,
    case_params,
    convergence_p,
    drawn,
    fixed_start,
    huge_p,
    law_p,
    pairs_p,
    states_of,
    stationarity_p,
    transition_p,
)
from oracles import random_params
from statistical import ALPHA

from jaxgen import gibbs
from jaxgen.gibbs import Lattice
from jaxgen.potts.oracles import enumeration, transfer_matrix

sample_module = importlib.import_module("jaxgen.gibbs.sample")

RUNS = [
    *(("lattice", name) for name in CASES if name not in ("3x3 torus", "3x3 diagonals")),
    ("lattice13", "3x3 tied"),
    ("thrml", "2x3"),
    ("thrml", "3x3 torus"),
    ("sequential", "3x3 jumps"),
    ("sequential", "2x4 torus diagonals"),
]
ONE_SWEEP = [
    ("lattice", "3x3 jumps", 2),
    ("lattice", "3x3 diagonals", 4),
    ("sequential", "3x3 jumps", 9),
]


@pytest.mark.parametrize("engine, case", RUNS)
def test_exact_draws_keep_their_law(engine, case):
    assert stationarity_p(engine, case) > ALPHA


@pytest.mark.parametrize("engine, case", RUNS)
def test_one_image_reaches_the_law(engine, case):
    assert convergence_p(engine, case) > ALPHA


@pytest.mark.parametrize("engine, case", [run for run in RUNS if states_of(run[1]) <= 512])
def test_two_sweeps_have_the_law_of_the_squared_matrix(engine, case):
    assert transition_p(engine, case) > ALPHA


@pytest.mark.parametrize("engine, case, blocks", ONE_SWEEP)
def test_one_sweep_has_the_law_of_its_matrix(engine, case, blocks):
    lattice = CASES[case][0]
    assert blocks == (lattice.n_sites if engine == "sequential" else lattice.n_colours)
    assert transition_p(engine, case, n_sweeps=1) > ALPHA
    wrong = "lattice" if engine == "sequential" else "sequential"
    assert transition_p(engine, case, n_sweeps=1, oracle=wrong) < ALPHA, "the scan order should show"


def test_a_strip_has_the_moments_of_the_transfer_matrix():
    height, width, levels = 5, 8, 4
    lattice = Lattice.grid(height, width)
    params = random_params(5, lattice, levels)
    expected = transfer_matrix.marginals(lattice, params)["coupling"]
    starts = (transfer_matrix.draw(jax.random.key(6), lattice, params, 5000), np.zeros((5000, height, width), np.uint8))
    for x, calls in zip(starts, (2, 12), strict=True):
        for key in jax.random.split(jax.random.key(7), calls):
            x, _ = gibbs.sample(key, lattice, params, x, SWEEPS)
        assert pairs_p(lattice, x, expected) > ALPHA


@pytest.mark.parametrize("engine, case", [("lattice", "3x3 jumps"), ("thrml", "3x3 torus")])
def test_beta_is_the_inverse_temperature(engine, case):
    lattice, params = CASES[case][0], case_params(case)
    for beta in (0.0, jnp.float32(1.4)):
        p = np.asarray(enumeration.distribution(lattice, params, float(beta)))
        x = drawn(engine, case, fixed_start(case), 8, 12, beta=beta)
        assert law_p(case, x, p) > ALPHA
    assert law_p(case, x, np.asarray(enumeration.distribution(lattice, params))) < ALPHA


def test_huge_parameters_keep_the_law_of_the_sweep():
    assert huge_p() > ALPHA


# Work is done, by weights as they are now.


@pytest.mark.parametrize(
    "engine, case, n_sweeps",
    [
        ("lattice", "2x3", 2),
        ("lattice", "3x3 jumps", 1),
        ("thrml", "2x3", 2),
        ("sequential", "3x3 jumps", 1),
        ("sequential", "3x3 jumps", 2),
    ],
)
def test_chains_move_and_the_sweeps_are_counted(engine, case, n_sweeps):
    """Under the uniform model a sweep redraws every site: (L - 1) / L of them change."""
    x, levels = fixed_start(case), CASES[case][1]
    uniform = jax.tree.map(jnp.zeros_like, case_params(case))
    moved, info = gibbs.sample(jax.random.key(28), CASES[case][0], uniform, x, n_sweeps, engine=engine)
    assert moved.dtype == jnp.uint8 and moved.shape == x.shape
    changed, p = np.asarray(moved != x).reshape(len(x), -1).mean(0), 1 - 1 / levels
    assert np.all(np.abs(changed - p) < 5 * np.sqrt(p * (1 - p) / len(x)))
    assert int(info.sweeps) == n_sweeps and info.site_updates == n_sweeps * x.size


@pytest.mark.parametrize("engine, case", [("lattice", "3x3 jumps"), ("thrml", "3x3 torus")])
def test_one_executable_sees_new_weights(engine, case):
    lattice = CASES[case][0]
    x, laws = fixed_start(case), []
    drawn(engine, case, x, 29, 1, params=case_params(case, 1))
    executables = sample_module._run._cache_size()
    for seed in (1, 2):
        params = case_params(case, seed)
        drawn_now = drawn(engine, case, x, 30, 10, params=params, beta=0.9)
        laws.append(np.asarray(enumeration.distribution(lattice, params, 0.9)))
        assert law_p(case, drawn_now, laws[-1]) > ALPHA
    assert law_p(case, drawn_now, laws[0]) < ALPHA
    assert sample_module._run._cache_size() == executables


def test_stages_are_the_same_law_in_pieces():
    case = "3x3 tied"
    lattice, params, x = CASES[case][0], case_params(case), fixed_start(case)
    stages = list(gibbs.sample_stages(jax.random.key(32), lattice, params, x, 30, SWEEPS))
    assert [done for done, _, _ in stages] == list(range(2, 31, 2))
    assert sum(int(info.sweeps) for _, _, info in stages) == 30
    assert law_p(case, stages[-1][1], np.asarray(enumeration.distribution(lattice, params))) > ALPHA
    assert not np.array_equal(stages[-1][1], stages[-2][1])
