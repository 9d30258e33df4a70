"""Planted spin glasses: no state lies below the planted one, and annealing finds it."""

import itertools

import numpy as np
import pytest

from jaxgen import UserError, gibbs
from jaxgen.gibbs import Graph
from jaxgen.potts.studies.ground_states import study
from jaxgen.potts.studies.ground_states.planted import chimera, plant_loops

COMPLETE = Graph(list(itertools.combinations(range(7), 2)), 7)


def all_energies(planted):
    states = np.array(list(itertools.product((0, 1), repeat=planted.graph.n_sites)), np.uint8)
    return np.asarray(gibbs.graph_energy(planted.graph, planted.params, states))


@pytest.mark.parametrize("graph, shortest", [(chimera(1), 4), (chimera(1), 6), (COMPLETE, 3)])
def test_the_planted_energy_is_the_lowest_of_all_states(graph, shortest):
    for seed in range(5):
        planted = plant_loops(np.random.default_rng(seed), graph, 4, shortest)
        energies = all_energies(planted)
        assert energies.min() == planted.energy == gibbs.graph_energy(graph, planted.params, planted.state[None])[0]
        assert energies.max() > energies.min()


def test_the_energy_is_that_of_the_loops():
    ring = Graph([(k, (k + 1) % 8) for k in range(8)], 8)
    planted = plant_loops(np.random.default_rng(1), ring, 1, 8)
    spins = 2 * planted.state.astype(int) - 1
    satisfied = planted.coupling * spins * np.roll(spins, -1)
    assert planted.energy == -6 and sorted(satisfied) == [-1, *[1] * 7]


def test_loops_that_are_not_there_are_refused():
    with pytest.raises(UserError, match="shortest is 6, and random walks find 0 such loops; allowed"):
        plant_loops(np.random.default_rng(0), Graph([(0, 1), (1, 2)], 3), 1)


def test_chimera_graphs():
    graph = chimera(3)
    assert graph.n_sites == 72 and graph.n_edges == 9 * 16 + 2 * 4 * 6 and graph.n_colours == 2
    assert sorted(set(graph.degrees)) == [5, 6]


def test_the_time_to_solution():
    assert study.time_to_solution(2.0, 4, 0.0) == np.inf and study.time_to_solution(2.0, 4, 1.0) == 0.5
    assert study.time_to_solution(2.0, 4, 0.9) == pytest.approx(1.0) and study.time_to_solution(2.0, 4, 0.999) == 0.5


@pytest.mark.slow
def test_both_samplers_reach_the_planted_energy():
    config = study.GroundStateConfig(side=2, chains=64, sweeps=200)
    planted = plant_loops(np.random.default_rng(0), chimera(2), 8)
    shares = []
    for sampler in (study.by_jaxgen, study.by_thrml):
        found = study.annealed(sampler(planted.graph, config.sweeps), config, planted)
        assert found.energies.shape == (3 * 64,) and found.energies.min() == planted.energy and found.seconds > 0
        shares.append((found.energies == planted.energy).mean())
    assert min(shares) > 0.3
    assert abs(shares[0] - shares[1]) < 5 * np.sqrt(0.5 / 192)  # five standard errors, at most
    _, energies = study.trajectory(config, planted)
    assert energies.shape == (51, 64) and energies.min() == planted.energy
    np.testing.assert_array_less(energies[-1].mean(), energies[0].mean())
