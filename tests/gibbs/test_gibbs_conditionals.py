"""Conditional distributions by four routes: logits, the fast engine's weights, THRML's parameters, the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from oracles import random_params
from statistical import ALPHA
from thrml import sample_single_block
from torch_reference import potts as reference

from jaxgen import gibbs
from jaxgen.gibbs import Lattice
from jaxgen.gibbs.engines import arithmetic
from jaxgen.gibbs.engines import lattice as lattice_engine
from jaxgen.gibbs.engines import thrml as thrml_engine
from jaxgen.gibbs.engines.tiles import Tiles
from jaxgen.gibbs.types import Conditions
from jaxgen.potts.oracles import enumeration as exact

BETA = 0.7
IMAGES = 5
CASES = {
    "2x2 4 open": (Lattice.grid(2, 2), 4, "edge"),
    "2x2 4 torus": (Lattice.grid(2, 2, boundary="periodic"), 3, "edge"),
    "3x3 8 tied": (Lattice.grid(3, 3, "8"), 2, "tied"),
    "5x4 8": (Lattice.grid(5, 4, "8"), 4, "edge"),
    "4x6 8 torus": (Lattice.grid(4, 6, "8", "periodic"), 3, "edge"),
    "3x5 rows of 16": (Lattice(3, 5, ((0, 1),)), 16, "edge"),
    "7x5 G8": (Lattice.grid(7, 5, "G8"), 2, "edge"),
    "6x8 G8 torus": (Lattice.grid(6, 8, "G8", "periodic"), 4, "tied"),
    "5x3 torus": (Lattice.grid(5, 3, boundary="periodic"), 3, "edge"),
    "7x5 4 tied of 16": (Lattice.grid(7, 5), 16, "tied"),
}
TILED = [name for name in CASES if name != "5x3 torus"]
logits_of = jax.jit(gibbs.conditional_logits, static_argnums=0)


@functools.cache
def case(name):
    """(lattice, levels, params, images, fields, the reference's probabilities)."""
    lattice, levels, coupling = CASES[name]
    params = random_params(1, lattice, levels, coupling, scale=0.8)
    rng = np.random.default_rng(2)
    x = rng.integers(levels, size=(IMAGES, lattice.height, lattice.width), dtype=np.uint8)
    field = rng.normal(size=(IMAGES, lattice.height, lattice.width, levels)).astype(np.float32)
    expected = []
    for image, own in zip(x, field, strict=True):
        with_field = {"bias": params["bias"] + own, "coupling": params["coupling"]}
        expected.append(
            reference.conditionals(with_field, image[None], lattice.offsets, lattice.boundary, BETA).numpy()
        )
    return lattice, levels, params, x, field, np.concatenate(expected)


def softmax(logits):
    return scipy.special.softmax(np.asarray(logits, np.float64), axis=-1)


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_reference(name):
    lattice, _, params, x, field, expected = case(name)
    logits = logits_of(lattice, params, x, field)
    np.testing.assert_allclose(softmax(BETA * logits), expected, atol=2e-6)


@pytest.mark.parametrize("name", ["2x2 4 torus", "3x3 8 tied"])
def test_logits_are_those_of_enumeration(name):
    lattice, levels, params, _, _, _ = case(name)
    got = softmax(BETA * logits_of(lattice, params, exact.all_states(lattice, levels)))
    for site in range(lattice.n_sites):
        expected = exact.conditional(lattice, params, site, BETA)
        np.testing.assert_allclose(got.reshape(len(got), -1, levels)[:, site], expected, atol=2e-6)


def engine_conditionals(name, mode):
    """p(x_i = a | rest) of every site from the weights that the lattice engine draws with."""
    lattice, levels, params, x, field, _ = case(name)
    tiles = Tiles(lattice)

    def weights(params, x, field):
        conditions = Conditions(jnp.float32(BETA), None, field, jnp.arange(IMAGES, dtype=jnp.uint32))
        padded = tiles.with_halo(tiles.pack(x))
        quarters = []
        for quarter in range(4):
            table = lattice_engine._quarter_tables(tiles, params, quarter, conditions, 0, mode.first)
            if mode is arithmetic.PRODUCTS:
                table = jax.tree.map(jnp.exp, table)
            layout = arithmetic.layout_of(params)
            table = layout.for_chains(table)
            quarters.append(jnp.stack(lattice_engine._weights(tiles, padded, quarter, table, layout, mode), -1))
        return quarters

    image = np.empty((IMAGES, 2 * tiles.rows, 2 * tiles.columns, levels))
    for (y, x0), weight in zip(((0, 0), (1, 1), (0, 1), (1, 0)), jax.jit(weights)(params, x, field), strict=True):
        weight = np.moveaxis(np.asarray(weight, np.float64).reshape(tiles.rows, tiles.columns, IMAGES, levels), 2, 0)
        image[:, y::2, x0::2] = weight
    image = image[:, : lattice.height, : lattice.width]
    return image / image.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", TILED)
def test_products_are_the_conditionals(name):
    np.testing.assert_allclose(engine_conditionals(name, arithmetic.PRODUCTS), case(name)[-1], atol=2e-6)


@pytest.mark.parametrize("name", ["5x4 8", "6x8 G8 torus"])
def test_sums_of_logarithms_are_the_conditionals(name):
    np.testing.assert_allclose(engine_conditionals(name, arithmetic.LOGARITHMS), case(name)[-1], atol=6e-6)


def test_the_fused_exponential():
    x = np.concatenate([-np.logspace(-6, np.log10(86), 4001), [0.0]]).astype(np.float32)
    got = np.asarray(arithmetic.exp(x), np.float64)
    np.testing.assert_allclose(got, np.exp(x.astype(np.float64)), rtol=1e-5)
    assert np.all(np.asarray(arithmetic.exp(np.array([-88.0, -1e3, -1e30, -np.inf], np.float32))) == 0)


@pytest.mark.parametrize("name", ["3x3 8 tied", "7x5 G8", "5x3 torus"])
def test_thrml_computes_the_conditionals(name, monkeypatch):
    """The program's own parameters, colour by colour, read where THRML would draw from them."""
    lattice, levels, params, x, field, expected = case(name)

    class Shown(thrml_engine.TemperedConditional):
        def sample_given_parameters(self, key, parameters, sampler_state, output_sd):
            return parameters, sampler_state

    monkeypatch.setattr(thrml_engine, "TemperedConditional", Shown)
    blocks = exact.colour_blocks(lattice)

    @jax.jit
    def parameters(params, x, field):
        program = gibbs.potts_program(lattice, params, BETA, field)
        states = [x.ravel()[sites] for sites in blocks]
        colours = range(len(blocks))
        return [sample_single_block(jax.random.key(0), states, [], program, c, None)[0] for c in colours]

    got = np.empty((lattice.n_sites, levels))
    for sites, theta in zip(blocks, parameters(params, x[0], field[0]), strict=True):
        got[sites] = theta
    np.testing.assert_allclose(softmax(got), expected[0].reshape(-1, levels), atol=2e-6)


def test_factor_weights_are_the_parameters():
    lattice, levels, params, _, _, _ = case("5x4 8")
    nodes = [thrml_engine.CategoricalNode() for _ in range(lattice.n_sites)]
    factors = gibbs.potts_factors(lattice, params, nodes)
    np.testing.assert_array_equal(factors[0].weights, params["bias"].reshape(-1, levels))
    for factor, offset in zip(factors[1:], lattice.offsets, strict=True):
        weights = params["coupling"][gibbs.offset_name(offset)].reshape(-1, levels, levels)
        np.testing.assert_array_equal(factor.weights, weights)


def test_one_free_site_is_drawn_from_its_conditional():
    """One sweep with all other sites clamped, each site in turn."""
    lattice, levels, params, x, field, expected = case("3x3 8 tied")
    each = 2000
    free = np.repeat(np.arange(lattice.n_sites), each)
    clamp = (free[:, None] != np.arange(lattice.n_sites)).reshape(-1, lattice.height, lattice.width)
    start = np.broadcast_to(x[0], clamp.shape)
    fields = np.broadcast_to(field[0], (*clamp.shape, levels))
    key = jax.random.key(3)
    after, _ = gibbs.sample(key, lattice, params, start, 1, beta=BETA, clamp=clamp, field=fields)
    after = np.asarray(after).reshape(lattice.n_sites, each, -1)
    p_values = []
    for site, p in enumerate(expected[0].reshape(-1, levels)):
        np.testing.assert_array_equal(np.delete(after[site] - x[0].ravel(), site, axis=1), 0)
        counts = np.bincount(after[site][:, site], minlength=levels)
        p_values.append(scipy.stats.chisquare(counts, p / p.sum() * each).pvalue)
    assert min(p_values) > ALPHA / len(p_values)


def test_pseudo_likelihood_is_the_sum_of_log_conditionals():
    lattice, levels, params, x, field, expected = case("5x4 8")
    of_states = np.take_along_axis(expected, x[..., None].astype(int), axis=-1)[..., 0]
    log_pseudo_likelihood = jax.jit(gibbs.log_pseudo_likelihood, static_argnums=0)
    got = log_pseudo_likelihood(lattice, params, x, field, BETA)
    np.testing.assert_allclose(got, np.log(of_states).sum((1, 2)), rtol=1e-5)
    zeros = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_allclose(log_pseudo_likelihood(lattice, zeros, x), -20 * np.log(levels), rtol=1e-6)


def test_pseudo_likelihood_is_differentiable():
    lattice, _, params, x, _, _ = case("3x3 8 tied")
    direction = random_params(9, lattice, 2, "tied")

    @jax.jit
    def along(t):
        moved = jax.tree.map(lambda a, d: a + t * d, params, direction)
        return gibbs.log_pseudo_likelihood(lattice, moved, x).mean()

    np.testing.assert_allclose(jax.grad(along)(0.0), (along(0.01) - along(-0.01)) / 0.02, rtol=1e-3)
