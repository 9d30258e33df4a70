"""Clamps, fields and chain numbers of the engines: laws by enumeration of the free sites, equality bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_checks import CASES, SWEEPS, N, case_params, clamped_p, drawn, fixed_start, law_p
from oracles import random_params
from statistical import ALPHA

from jaxgen import gibbs
from jaxgen.gibbs import Lattice
from jaxgen.potts.oracles import enumeration

G8 = Lattice.grid(5, 5, "G8")
HALF = 5000


def clamping(seed, free):
    rng = np.random.default_rng(seed)
    clamp = np.ones(25, bool)
    clamp[rng.permutation(25)[:free]] = False
    return rng.integers(2, size=(5, 5), dtype=np.uint8), clamp.reshape(5, 5)


@pytest.mark.parametrize("engine", ["lattice", "thrml", "sequential"])
def test_clamps_and_fields_of_each_chain(engine):
    """Two groups of chains, each with its own image, clamp and field, on a lattice with jumps."""
    params = random_params(11, G8, 2)
    images, clamps = zip(clamping(12, 9), clamping(13, 8), strict=True)
    fields = np.random.default_rng(14).normal(size=(2, 5, 5, 2)).astype(np.float32)
    start, clamp, field = (np.repeat(np.stack(a), HALF, axis=0) for a in (images, clamps, fields))
    x = start
    for key in jax.random.split(jax.random.key(15), 10):
        x, info = gibbs.sample(key, G8, params, x, SWEEPS, engine=engine, clamp=clamp, field=field)
        assert info.site_updates == SWEEPS * HALF * (9 + 8)
    np.testing.assert_array_equal(x[clamp], start[clamp])
    for group in range(2):
        mine = x[group * HALF : (group + 1) * HALF]
        assert clamped_p(G8, params, mine, images[group], clamps[group], field=fields[group]) > ALPHA
        assert clamped_p(G8, params, mine, images[group], clamps[group], field=fields[1 - group]) < ALPHA


def test_one_clamp_for_all_chains():
    case = "3x3 tied"
    lattice, params, start = CASES[case][0], case_params(case), fixed_start(case)
    clamp = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]], bool)
    x = drawn("lattice", case, start, 16, 10, clamp=clamp)
    np.testing.assert_array_equal(x[:, clamp], start[:, clamp])
    assert clamped_p(lattice, params, x, start[0], clamp) > ALPHA
    repeated = drawn("lattice", case, start, 16, 10, clamp=jnp.broadcast_to(clamp, start.shape))
    np.testing.assert_array_equal(x, repeated)


def test_one_field_for_all_chains():
    case = "3x3 tied"
    lattice, levels, _ = CASES[case]
    field = np.random.default_rng(17).normal(size=(3, 3, levels)).astype(np.float32)
    p = np.asarray(enumeration.distribution(lattice, case_params(case), 0.6, field))
    x = drawn("lattice", case, fixed_start(case), 18, 10, beta=0.6, field=field)
    assert law_p(case, x, p) > ALPHA
    assert law_p(case, drawn("lattice", case, fixed_start(case), 18, 10), p) < ALPHA


def test_a_lattice_all_clamped_stays():
    start = fixed_start("3x3 tied")
    clamp = np.ones((3, 3), bool)
    x, info = gibbs.sample(jax.random.key(0), CASES["3x3 tied"][0], case_params("3x3 tied"), start, SWEEPS, clamp=clamp)
    np.testing.assert_array_equal(x, start)
    assert int(info.sweeps) == SWEEPS and info.site_updates == 0


# One batch is as good as another.


@pytest.mark.parametrize("engine, sizes", [("lattice", (1, 7)), ("thrml", (1,)), ("sequential", (3,))])
def test_a_chain_is_the_same_in_any_batch(engine, sizes):
    lattice = Lattice.grid(5, 4)
    params = random_params(23, lattice, 2, "tied")
    n = 16 if engine == "lattice" else 4
    x = np.random.default_rng(24).integers(2, size=(n, 5, 4), dtype=np.uint8)
    ids = jnp.asarray(np.random.default_rng(25).permutation(1000)[:n], jnp.uint32)

    def run(chosen, beta):
        key = jax.random.key(26)
        return np.asarray(
            gibbs.sample(key, lattice, params, x[chosen], 3, engine=engine, beta=beta, chain_ids=ids[chosen])[0]
        )

    for beta in (1.0, 100.0) if engine == "lattice" else (1.0,):  # products, then logarithms
        whole = run(np.arange(n), beta)
        assert not np.array_equal(whole, x)
        np.testing.assert_array_equal(run(np.arange(n)[::-1], beta), whole[::-1])
        for size in sizes:
            for start in range(0, n - size + 1, size if size > 1 else n // 3):
                chosen = np.arange(start, start + size)
                np.testing.assert_array_equal(run(chosen, beta), whole[chosen])


def test_default_chain_numbers_count_from_zero():
    x = fixed_start("3x3 tied")
    default = drawn("lattice", "3x3 tied", x, 27)
    counted = drawn("lattice", "3x3 tied", x, 27, chain_ids=jnp.arange(N))
    np.testing.assert_array_equal(default, counted)
    later = drawn("lattice", "3x3 tied", x, 27, chain_ids=jnp.arange(N) + 5)
    np.testing.assert_array_equal(later[:-5], default[5:])
