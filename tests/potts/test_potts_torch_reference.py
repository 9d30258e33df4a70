"""The PyTorch reference agrees with enumeration, so that it may judge the model."""

import numpy as np
import pytest
import torch
from oracles import SMALL_LATTICES, empirical, exact_draws, random_params
from statistical import ALPHA, chi_square_p
from torch_reference import potts as reference

from jaxgen.gibbs.lattice import Lattice
from jaxgen.potts.oracles import enumeration

NAMES = ["2x2 torus", "3x3 diagonals", "3x3 jumps"]


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_edges_are_those_of_the_lattice(boundary):
    lattice = Lattice.grid(7, 6, "G8", boundary)
    for offset in lattice.offsets:
        edges = np.array(reference.edges(7, 6, offset, boundary))
        np.testing.assert_array_equal((edges @ [6, 1]).T, lattice.edges(offset))


@pytest.mark.parametrize("name", NAMES)
def test_conditionals_are_those_of_enumeration(name):
    lattice, levels = SMALL_LATTICES[name]
    params = random_params(1, lattice, levels)
    states = enumeration.all_states(lattice, levels)
    got = reference.conditionals(params, states, lattice.offsets, lattice.boundary, beta=0.8)
    for site in range(lattice.n_sites):
        expected = enumeration.conditional(lattice, params, site, beta=0.8)
        np.testing.assert_allclose(got.reshape(len(states), -1, levels)[:, site], expected, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", [None, "reversed"])
def test_one_sequential_sweep_has_the_law_of_its_matrix(name, order):
    lattice, levels = SMALL_LATTICES[name]
    params = random_params(2, lattice, levels)
    scan = np.arange(lattice.n_sites)[:: -1 if order else 1]
    where = [(site // lattice.width, site % lattice.width) for site in scan.tolist()] if order else None
    x = np.zeros((10_000, lattice.height, lattice.width), np.uint8)
    generator = torch.Generator().manual_seed(3)
    x = reference.sequential_gibbs(generator, params, x, 1, lattice.offsets, lattice.boundary, 0.8, where)
    after = enumeration.sweep_matrix(lattice, params, [[site] for site in scan], 0.8)[0]
    assert chi_square_p(empirical(x, levels), after) > ALPHA


def test_cd_gradient_is_the_difference_of_mean_statistics():
    lattice, levels = SMALL_LATTICES["3x3 jumps"]
    params = random_params(4, lattice, levels)
    data, model = (exact_draws(seed, lattice, params, 200) for seed in (5, 6))
    gradient = reference.cd_gradient(params, data, model, lattice.offsets, lattice.boundary)
    onehot = np.eye(levels)
    np.testing.assert_allclose(gradient["bias"], onehot[model].mean(0) - onehot[data].mean(0), atol=1e-12)
    for offset in lattice.offsets:
        means = []
        for x in (model, data):
            source, target = lattice.ends(x, offset)
            means.append(np.einsum("nhwa,nhwb->hwab", onehot[source], onehot[target]) / len(x))
        np.testing.assert_allclose(gradient["coupling"]["{},{}".format(*offset)], means[0] - means[1], atol=1e-12)


def test_adam_is_adam():
    params, gradients = {"bias": np.ones((1, 1, 2))}, [{"bias": np.array([[[1.0, -3.0]]])}] * 2
    np.testing.assert_allclose(reference.adam_steps(params, gradients, 0.1)["bias"], [[[0.8, 1.2]]], atol=1e-6)
