"""The energy against the PyTorch reference and against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_params
from torch_reference import potts as reference

from jaxgen.errors import UserError
from jaxgen.gibbs import Lattice
from jaxgen.potts import PottsEBM, log_marginal_init, mean_statistics
from jaxgen.potts.model import label_field
from jaxgen.potts.oracles import enumeration

IMAGES = jnp.zeros((1, 28, 28), jnp.uint8)


def parameter_count(model, *args):
    shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES, *args)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_parameter_counts():
    grid = Lattice.grid(28, 28)
    assert parameter_count(PottsEBM(grid, 4, "tied")) == 3_138
    assert parameter_count(PottsEBM(grid, 4, "edge")) == 27_328
    assert parameter_count(PottsEBM(Lattice.grid(28, 28, "8"), 4, "edge")) == 3_136 + 16 * (1512 + 2 * 729)
    assert parameter_count(PottsEBM(Lattice.grid(28, 28, boundary="periodic"), 2, "edge")) == 1_568 + 4 * 1568
    assert parameter_count(PottsEBM(grid, 4, "tied", 10), jnp.zeros(1, int)) == 3_138 + 31_360


def test_parameters_start_at_zero_with_the_names_of_the_contract():
    model = PottsEBM(Lattice.grid(28, 28, "8"))
    params = model.init(jax.random.key(0), IMAGES)["params"]
    assert set(params) == {"bias", "coupling"} and set(params["coupling"]) == {"0,1", "1,0", "1,1", "1,-1"}
    assert params["coupling"]["1,-1"].shape == (27, 27, 4, 4)
    assert not any(leaf.any() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("coupling", ["edge", "tied"])
@pytest.mark.parametrize("neighbourhood", ["4", "8", "G8"])
@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_energy_is_the_references(coupling, neighbourhood, boundary):
    lattice = Lattice.grid(7, 6, neighbourhood, boundary)
    params = random_params(1, lattice, 4, coupling)
    x = np.random.default_rng(2).integers(4, size=(20, 7, 6), dtype=np.uint8)
    energy = jax.jit(PottsEBM(lattice, 4, coupling).apply)({"params": params}, x)
    assert energy.shape == (20,) and energy.dtype == jnp.float32
    np.testing.assert_allclose(energy, reference.energy(params, x, lattice.offsets, boundary), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("levels", [2, 16])
def test_energy_of_other_level_counts(levels):
    lattice = Lattice.grid(3, 5)
    params = random_params(3, lattice, levels)
    x = np.random.default_rng(4).integers(levels, size=(20, 3, 5), dtype=np.uint8)
    energy = PottsEBM(lattice, levels).apply({"params": params}, x)
    np.testing.assert_allclose(energy, reference.energy(params, x, lattice.offsets, "open"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coupling", ["edge", "tied"])
def test_energy_is_what_enumeration_weighs(coupling):
    lattice = Lattice.grid(2, 3)
    params = random_params(5, lattice, 3, coupling)
    energy = PottsEBM(lattice, 3, coupling).apply({"params": params}, enumeration.all_states(lattice, 3))
    np.testing.assert_allclose(-energy, enumeration.log_weights(lattice, params), atol=1e-5)


def labelled(seed, lattice, levels, n_classes):
    rng = np.random.default_rng(seed)
    joined = rng.normal(size=(lattice.height, lattice.width, levels, n_classes)).astype(np.float32)
    params = random_params(seed, lattice, levels) | {"label_coupling": jnp.asarray(joined)}
    x = rng.integers(levels, size=(12, lattice.height, lattice.width), dtype=np.uint8)
    return params, x, rng.integers(n_classes, size=12, dtype=np.uint8)


@pytest.mark.parametrize("levels", [3, 64])  # 64 levels of 5 classes do not fit in a byte
def test_labels_join_every_pixel(levels):
    lattice = Lattice.grid(3, 4)
    params, x, label = labelled(6, lattice, levels, 5)
    energy = PottsEBM(lattice, levels, n_classes=5).apply({"params": params}, x, label)
    joined = np.asarray(params["label_coupling"])
    expected = reference.energy(params, x, lattice.offsets, "open").numpy()
    for k, y in enumerate(label):
        for row in range(3):
            for column in range(4):
                expected[k] -= joined[row, column, x[k, row, column], y]
    np.testing.assert_allclose(energy, expected, rtol=1e-4, atol=1e-4)


def test_a_clamped_label_is_a_field():
    lattice = Lattice.grid(3, 4)
    params, x, label = labelled(7, lattice, 3, 5)
    field = label_field(params, label)
    assert field.shape == (12, 3, 4, 3)
    with_label = PottsEBM(lattice, 3, n_classes=5).apply({"params": params}, x, label)
    for k in range(12):
        biased = {"bias": params["bias"] + field[k], "coupling": params["coupling"]}
        energy = PottsEBM(lattice, 3).apply({"params": biased}, x[k : k + 1])[0]
        np.testing.assert_allclose(with_label[k], energy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_log_marginals_give_independent_pixels_of_the_data(beta):
    """With zero couplings p(x_i = l) is the smoothed frequency, exactly; at another temperature its power."""
    lattice = Lattice.grid(3, 3)
    rng = np.random.default_rng(8)
    x = rng.choice(3, p=[0.6, 0.3, 0.1], size=(50, 3, 3)).astype(np.uint8)
    x[:, 0, 0] = 2  # two levels never seen there
    model = PottsEBM(lattice, 3)
    params = log_marginal_init(model.init(jax.random.key(0), x)["params"], x)
    counts = np.stack([(x == level).sum(0) for level in range(3)], -1) + 1.0
    marginals = enumeration.marginals(lattice, params, beta)["bias"]
    powers = (counts / counts.sum(-1, keepdims=True)) ** beta
    np.testing.assert_allclose(marginals, powers / powers.sum(-1, keepdims=True), atol=1e-6)
    assert np.isfinite(params["bias"]).all()
    unsmoothed = log_marginal_init(params, x[:, 1:, 1:], pseudo_count=0.0)["bias"]
    np.testing.assert_allclose(np.exp(unsmoothed), np.eye(3)[x[:, 1:, 1:]].mean(0), atol=1e-6)


def test_log_marginals_of_each_class():
    lattice, n_classes = Lattice.grid(3, 3), 4
    rng = np.random.default_rng(9)
    label = np.arange(60, dtype=np.uint8) % n_classes
    x = rng.integers(2, size=(60, 3, 3), dtype=np.uint8) | (label == 3)[:, None, None]
    model = PottsEBM(lattice, 2, n_classes=n_classes)
    params = log_marginal_init(model.init(jax.random.key(0), x, label)["params"], x, label)
    for y in range(n_classes):
        counts = np.stack([(x[label == y] == level).sum(0) for level in range(2)], -1) + 1.0
        marginals = enumeration.marginals(lattice, params, field=label_field(params, jnp.array([y]))[0])["bias"]
        np.testing.assert_allclose(marginals, counts / counts.sum(-1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    "settings, args, message",
    [
        ({"coupling": "full"}, (), "coupling is 'full'; allowed: edge, tied"),
        ({"levels": 1}, (), "levels is 1; allowed: 2 to 256"),
        ({"levels": 300}, (), "levels is 300; allowed: 2 to 256"),
        ({}, (jnp.zeros(1, int),), "label is given; allowed for a model of 0 classes: None"),
        ({"n_classes": 10}, (), "label is None; allowed for a model of 10 classes: one per image"),
        ({"lattice": Lattice.grid(28, 27)}, (), r"x has shape \(1, 28, 28\); allowed: \(n, 28, 27\)"),
    ],
)
def test_refusals(settings, args, message):
    model = PottsEBM(**({"lattice": Lattice.grid(28, 28)} | settings))
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), IMAGES, *args)


@pytest.mark.parametrize("label", [-1, 10, 255])
def test_a_label_that_is_no_class_is_refused_everywhere(label):
    """Label -1 would give the energy of another class and label C a NaN."""
    model, lattice = PottsEBM(Lattice.grid(28, 28), 4, n_classes=10), Lattice.grid(28, 28)
    params = model.init(jax.random.key(0), IMAGES, jnp.zeros(1, int))["params"]
    labels = jnp.full(1, label)
    for call in (
        lambda: model.apply({"params": params}, IMAGES, labels),
        lambda: label_field(params, labels),
        lambda: mean_statistics(lattice, params, IMAGES, labels),
        lambda: log_marginal_init(params, IMAGES, labels),
    ):
        with pytest.raises(UserError, match=f"label has a value of {label}; allowed: 0 to 9"):
            call()


@pytest.mark.parametrize("label", [[0.0], [True], [[0]], [0, 1]])
def test_labels_are_integers_one_per_image(label):
    lattice = Lattice.grid(28, 28)
    model = PottsEBM(lattice, 4, n_classes=10)
    params = model.init(jax.random.key(0), IMAGES, np.array([0]))["params"]
    for given in (label, np.array(label)):
        for call in (
            lambda given=given: model.apply({"params": params}, IMAGES, given),
            lambda given=given: mean_statistics(lattice, params, IMAGES, given),
            lambda given=given: log_marginal_init(params, IMAGES, given),
        ):
            with pytest.raises(UserError, match=r"label is .*; allowed: integers of shape \(1,\)"):
                call()


def test_under_jit_the_energy_of_a_label_that_is_no_class_is_nan():
    model, x = PottsEBM(Lattice.grid(2, 2), 2, n_classes=3), jnp.zeros((4, 2, 2), jnp.uint8)
    variables = model.init(jax.random.key(0), x, jnp.zeros(4, int))
    energy = jax.jit(model.apply)(variables, x, jnp.array([-1, 0, 2, 3]))
    assert np.isnan(energy).tolist() == [True, False, False, True]


def test_a_state_that_is_no_level_is_refused():
    model, x = PottsEBM(Lattice.grid(28, 28), 4), jnp.full((1, 28, 28), 4, jnp.uint8)
    params = model.init(jax.random.key(0), IMAGES)["params"]
    with pytest.raises(UserError, match="x has a value of 4; allowed: 0 to 3"):
        model.apply({"params": params}, x)
    with pytest.raises(UserError, match="x has a value of 4; allowed: 0 to 3"):
        mean_statistics(model.lattice, params, x)
    jax.jit(lambda: model.apply({"params": params}, IMAGES))()  # a concrete array inside a trace is checked as well
