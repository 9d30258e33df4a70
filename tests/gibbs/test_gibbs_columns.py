"""Blocked columns: the law of one sweep against the matrix of its blocks, exactness on a single column, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from oracles import random_params

from jaxgen import gibbs
from jaxgen.potts.oracles import enumeration

ALPHA = 1e-3
N = 20_000


def column_matrix(lattice, levels, p, parities, clamp):
    """One sweep by enumeration: a block's kernel is p restricted to the states that agree outside of it."""
    states = enumeration.all_states(lattice, levels)
    sweep = np.eye(len(p))
    for parity in parities:
        held = np.ones((lattice.height, lattice.width), bool)
        held[:, parity::2] = clamp[:, parity::2]
        outside = states[:, held]
        same = (outside[:, None] == outside[None]).all(-1)
        kernel = same * p
        sweep = sweep @ (kernel / kernel.sum(1, keepdims=True))
    return sweep


@pytest.mark.parametrize(
    "shape, neighbourhood, coupling, clamped",
    [((3, 2), "4", "edge", False), ((2, 3), "8", "edge", True), ((2, 3), "4", "tied", False)],
)
def test_one_sweep_has_the_law_of_its_blocks_and_of_no_other_order(shape, neighbourhood, coupling, clamped):
    lattice, levels, beta = gibbs.Lattice.grid(*shape, neighbourhood), 3, 0.8
    params = random_params(1, lattice, levels, coupling, scale=1.0)
    field = jnp.asarray(np.random.default_rng(2).normal(size=(*shape, levels)), jnp.float32)
    clamp = np.zeros(shape, bool)
    clamp[0, 0] = clamp[1, 1] = clamped
    moved = params | {"bias": params["bias"] + field}
    p = np.asarray(enumeration.distribution(lattice, moved, beta), np.float64)
    start = np.random.default_rng(3).integers(0, levels, shape).astype(np.uint8)
    options = {"engine": "columns", "beta": beta, "clamp": jnp.asarray(clamp)}
    x = jnp.broadcast_to(start, (N, *shape))
    # A field of every chain takes another way through the code than one of all.
    fields = jnp.broadcast_to(field, (N, *field.shape))
    x, info = gibbs.sample(jax.random.key(0), lattice, params, x, 1, field=fields, **options)
    assert int(info.sweeps) == 1 and info.site_updates == N * (~clamp).sum()
    states = enumeration.all_states(lattice, levels).reshape(len(p), -1)
    place = levels ** np.arange(lattice.n_sites)[::-1]
    number = np.zeros(levels**lattice.n_sites, int)
    number[states @ place] = np.arange(len(p))
    seen = np.bincount(number[np.asarray(x).reshape(N, -1) @ place], minlength=len(p))
    row = number[start.ravel() @ place]

    def p_value(parities):
        law = column_matrix(lattice, levels, p, parities, clamp)[row]
        assert seen[law == 0].sum() == 0
        likely = law * N >= 5
        expected = np.append(law[likely], law[~likely].sum()) * N
        counts = np.append(seen[likely], seen[~likely].sum())
        some = expected > 0
        return scipy.stats.chisquare(counts[some], expected[some] * counts.sum() / expected[some].sum()).pvalue

    assert p_value((0, 1)) > ALPHA
    assert p_value((1, 0)) < ALPHA, "the order of the blocks should show"


def test_a_single_column_is_drawn_exactly_whatever_the_start_and_the_batch():
    lattice, levels = gibbs.Lattice(5, 1, ((1, 0),)), 3
    params = random_params(4, lattice, levels, scale=1.5)
    p = np.asarray(enumeration.distribution(lattice, params), np.float64)
    start = jnp.zeros((N, 5, 1), jnp.uint8)
    x, _ = gibbs.sample(jax.random.key(1), lattice, params, start, 1, engine="columns")
    place = levels ** np.arange(5)[::-1]
    seen = np.bincount(np.asarray(x).reshape(N, 5) @ place, minlength=len(p))
    likely = p * N >= 5
    counts, expected = (np.append(v[likely], v[~likely].sum()) for v in (seen, p * N))
    assert scipy.stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > ALPHA
    ids = jnp.array([7, 3], jnp.uint32)
    few, _ = gibbs.sample(jax.random.key(1), lattice, params, start[:2], 1, engine="columns", chain_ids=ids)
    np.testing.assert_array_equal(few, x[ids])


@pytest.mark.parametrize("lattice", [gibbs.Lattice.grid(6, 6, "G8"), gibbs.Lattice.grid(6, 6, boundary="periodic")])
def test_lattices_whose_columns_are_no_chains_are_refused(lattice):
    params = random_params(0, lattice, 2)
    with pytest.raises(ValueError, match=r"lattice has offsets .*; allowed with engine='columns': "):
        gibbs.sample(jax.random.key(0), lattice, params, jnp.zeros((1, 6, 6), jnp.uint8), 1, engine="columns")
