"""Sufficient statistics against counts by hand and against the gradient of the energy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_params

from jaxgen.gibbs import Lattice, offset_name
from jaxgen.potts import PottsEBM, mean_statistics, moment_errors

CASES = [
    (Lattice.grid(4, 5), 4, "edge", 70),
    (Lattice.grid(4, 5), 2, "tied", 33),
    (Lattice.grid(5, 5, "G8"), 2, "edge", 31),
    (Lattice.grid(3, 4, "8", "periodic"), 3, "edge", 1),
    (Lattice.grid(3, 4, "8", "periodic"), 4, "tied", 64),
    (Lattice.grid(2, 3), 16, "edge", 45),
    (Lattice.grid(2, 3), 16, "tied", 32),
]
IDS = [f"{lattice.height}x{lattice.width} {levels} {kind} {n}" for lattice, levels, kind, n in CASES]
statistics_of = jax.jit(mean_statistics, static_argnums=0)


def brute_force(lattice, params, x, weight):
    """Counts by loops over images and edges."""
    levels, n = params["bias"].shape[-1], len(x)
    bias = np.zeros(params["bias"].shape)
    tables = {offset: np.zeros((lattice.n_sites, levels, levels)) for offset in lattice.offsets}
    for image, w in zip(x, weight, strict=True):
        for y in range(lattice.height):
            for column in range(lattice.width):
                bias[y, column, image[y, column]] += w / n
        flat = image.ravel()
        for offset, table in tables.items():
            for edge, (i, j) in enumerate(zip(*lattice.edges(offset), strict=True)):
                table[edge, flat[i], flat[j]] += w / n
    if isinstance(params["coupling"], dict):
        coupling = {}
        for offset, table in tables.items():
            shape = lattice.edge_shape(offset)
            coupling[offset_name(offset)] = table[: np.prod(shape)].reshape(*shape, levels, levels)
    else:
        coupling = np.array([np.trace(table.sum(0)) for table in tables.values()])
    return {"bias": bias, "coupling": coupling}


def images(lattice, levels, n):
    return np.random.default_rng(1).integers(levels, size=(n, lattice.height, lattice.width), dtype=np.uint8)


def assert_trees_close(got, expected, **tolerance):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), got, expected)


@pytest.mark.parametrize("lattice, levels, kind, n", CASES, ids=IDS)
def test_frequencies_are_the_counts(lattice, levels, kind, n):
    params, x = random_params(0, lattice, levels, kind), images(lattice, levels, n)
    got = statistics_of(lattice, params, x)
    assert_trees_close(got, brute_force(lattice, params, x, np.ones(n)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(got["bias"].sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize("lattice, levels, kind, n", CASES[:4], ids=IDS[:4])
def test_they_are_minus_the_gradient_of_the_mean_energy(lattice, levels, kind, n):
    params, x = random_params(0, lattice, levels, kind), images(lattice, levels, n)
    model = PottsEBM(lattice, levels, kind)
    gradient = jax.jit(jax.grad(lambda params: -model.apply({"params": params}, x).mean()))(params)
    assert_trees_close(statistics_of(lattice, params, x), gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["edge", "tied"])
def test_labels_and_class_weights(kind):
    lattice, levels, n_classes, n = Lattice.grid(3, 4), 3, 5, 70
    params, x = random_params(0, lattice, levels, kind), images(lattice, levels, n)
    params = params | {"label_coupling": jnp.zeros((3, 4, levels, n_classes))}
    label = np.random.default_rng(2).integers(n_classes - 1, size=n)  # one class has no image
    onehot = np.eye(n_classes)[label]
    for class_weight in (None, np.array([0.5, 2.0, 0.0, 1.5, 9.0], np.float32)):
        weight = np.ones(n) if class_weight is None else class_weight[label]
        expected = brute_force(lattice, params, x, weight)
        expected["label_coupling"] = np.einsum("nyxl,nc,n->yxlc", np.eye(levels)[x], onehot, weight) / n
        got = statistics_of(lattice, params, x, label, class_weight)
        assert_trees_close(got, expected, rtol=1e-5, atol=1e-6)
    plain = statistics_of(lattice, {name: params[name] for name in ("bias", "coupling")}, x)
    of_label = statistics_of(lattice, params, x, label)
    assert_trees_close({name: of_label[name] for name in plain}, plain, rtol=1e-6)
    model = PottsEBM(lattice, levels, kind, n_classes)
    gradient = jax.jit(jax.grad(lambda params: -model.apply({"params": params}, x, label).mean()))(params)
    assert_trees_close(of_label, gradient, rtol=1e-5, atol=1e-6)


def test_the_values_of_the_parameters_do_not_matter():
    lattice, x = Lattice.grid(3, 4), images(Lattice.grid(3, 4), 3, 40)
    a, b = (statistics_of(lattice, random_params(seed, lattice, 3), x) for seed in (0, 1))
    assert_trees_close(a, b, rtol=0)


def test_moment_errors_are_means_of_probabilities():
    lattice = Lattice.grid(2, 3)
    x, y = images(lattice, 2, 50), images(lattice, 2, 100)[50:]
    params = random_params(0, lattice, 2)
    a, b = (statistics_of(lattice, params, z) for z in (x, y))
    errors = moment_errors(lattice, a, b)
    np.testing.assert_allclose(
        errors["marginal_error"], np.abs(np.eye(2)[x].mean(0) - np.eye(2)[y].mean(0)).mean(), rtol=1e-5
    )
    tables = [np.concatenate([np.ravel(tree["coupling"][name]) for name in ("0,1", "1,0")]) for tree in (a, b)]
    np.testing.assert_allclose(errors["pair_error"], np.abs(tables[0] - tables[1]).mean(), rtol=1e-5)
    tied = random_params(0, lattice, 2, "tied")
    a, b = (statistics_of(lattice, tied, z) for z in (x, y))
    same = [[np.mean(here == there) for here, there in (lattice.ends(z, o) for o in lattice.offsets)] for z in (x, y)]
    pair_error = moment_errors(lattice, a, b)["pair_error"]
    np.testing.assert_allclose(pair_error, np.abs(np.subtract(*same)).mean(), rtol=1e-4)
    assert all(value == 0 for value in moment_errors(lattice, a, a).values())
