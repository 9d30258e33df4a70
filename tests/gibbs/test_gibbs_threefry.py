"""The random words: their bits, their uniformity, and that no counter is used twice."""

import functools
import importlib
import itertools

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from statistical import ALPHA

from jaxgen import gibbs
from jaxgen.gibbs import Lattice
from jaxgen.gibbs.arguments import checked_arguments
from jaxgen.gibbs.engines import kernel as kernel_engine
from jaxgen.gibbs.engines import lattice as lattice_engine
from jaxgen.gibbs.engines import sweep_keys
from jaxgen.gibbs.engines.threefry import threefry2x32

sample_module = importlib.import_module("jaxgen.gibbs.sample")
DRAWS = 2**16
WORDS = [20, 13]


def hashes(key, count, rounds):
    """The two words of counters (0, 0), (0, 1), ... as a (2, count) array."""
    counter = (jnp.zeros(count, jnp.uint32), jnp.arange(count, dtype=jnp.uint32))
    return np.stack(threefry2x32(tuple(np.uint32(k) for k in key), counter, rounds))


@pytest.mark.parametrize("seed", range(3))
def test_twenty_rounds_are_the_bits_of_jax(seed):
    rng = np.random.default_rng(seed)
    key = rng.integers(2**32, size=2, dtype=np.uint32)
    counter = rng.integers(2**32, size=(2, 257), dtype=np.uint32)
    expected = jax.extend.random.threefry_2x32(jnp.asarray(key), jnp.asarray(counter.ravel())).reshape(2, -1)
    got = threefry2x32(tuple(key), tuple(counter))
    np.testing.assert_array_equal(np.stack(got), expected)
    for rounds in (12, 13, 16, 19):
        assert np.mean(np.stack(threefry2x32(tuple(key), tuple(counter), rounds)) == expected) < 0.01


def test_known_answers_of_random123():
    # kat_vectors of Random123 (Salmon et al. 2011): threefry2x32, 20 rounds, then 13; counter, key, words.
    ones = np.uint32(0xFFFFFFFF)
    vectors = {
        20: [(0, 0, (0x6B200159, 0x99BA4EFE)), (ones, ones, (0x1CB996FC, 0xBB002BE7))],
        13: [(0, 0, (0x9D1C5EC6, 0x8BD50731)), (ones, ones, (0xFD36D048, 0x2D17272C))],
    }
    for rounds, lines in vectors.items():
        for counter, key, words in lines:
            got = threefry2x32((jnp.uint32(key),) * 2, (jnp.uint32(counter),) * 2, rounds)
            assert tuple(int(word) for word in got) == words


@pytest.mark.parametrize("rounds", WORDS)
def test_words_are_uniform_and_uncorrelated(rounds):
    """Bytes by chi-square, bits by their sum, words by correlation, at ALPHA over all of them (Bonferroni)."""
    words = hashes((7, 11), DRAWS, rounds).astype(np.int64)  # numpy 2.0 counts no uint64
    other = hashes((7, 12), DRAWS, rounds).astype(np.int64)
    p_values = [
        scipy.stats.chisquare(np.bincount((word >> shift) & 255, minlength=256)).pvalue
        for word in words
        for shift in (0, 8, 16, 24)
    ]
    bits = [((word >> bit) & 1).sum() for word in words for bit in range(32)]
    p_values += list(2 * scipy.stats.norm.sf(np.abs(np.array(bits) - DRAWS / 2) / np.sqrt(DRAWS / 4)))
    first, second = words.astype(float)
    pairs = [(first, second), (first[1:], first[:-1]), (second[1:], second[:-1]), (first[64:], first[:-64])]
    pairs += [(first, other[0].astype(float)), (second, other[1].astype(float))]
    p_values += [scipy.stats.pearsonr(*pair).pvalue for pair in pairs]
    joint = np.bincount(16 * (words[0] >> 28) + (words[1] >> 28), minlength=256)
    p_values.append(scipy.stats.chisquare(joint).pvalue)
    assert min(p_values) > ALPHA / len(p_values)


@pytest.mark.parametrize("rounds", WORDS)
def test_every_bit_of_the_input_turns_half_of_the_output(rounds):
    base = np.array([3, 5, 70, 900], np.uint32)
    flipped = np.concatenate([base[None], base ^ np.kron(np.eye(4, dtype=np.uint32), 1 << np.arange(32)[:, None])])
    flipped = flipped.astype(np.uint32)
    out = np.stack(threefry2x32((flipped[:, 0], flipped[:, 1]), (flipped[:, 2], flipped[:, 3]), rounds), 1)
    turned = np.bitwise_count(out[1:] ^ out[0]).sum(1)
    assert abs(turned.mean() - 32) < 5 * 4 / np.sqrt(len(turned))
    assert turned.min() > 8 and turned.max() < 56


@pytest.mark.parametrize("lattice", [Lattice.grid(5, 4), Lattice.grid(4, 4, "8", "periodic")], ids=["open", "torus"])
def test_no_key_and_counter_is_used_twice(lattice, monkeypatch):
    """Read off the calls of the running engine: (key, key, cell, chain) of every hash of three sweeps of 16 chains."""
    calls = []

    def record(*four):
        calls.append(np.stack(np.broadcast_arrays(*four), -1).reshape(-1, 4))

    def recorded(key, counter, rounds):
        jax.debug.callback(record, *key, *counter)
        return threefry2x32(key, counter, rounds)

    monkeypatch.setattr(lattice_engine, "threefry2x32", recorded)
    monkeypatch.setitem(sample_module._ENGINES, "recorded", lattice_engine.run)
    params = {"bias": jnp.zeros((lattice.height, lattice.width, 2)), "coupling": jnp.zeros(len(lattice.offsets))}
    x = np.zeros((16, lattice.height, lattice.width), np.uint8)
    ids = jnp.arange(16, dtype=jnp.uint32) * 2**28
    jax.block_until_ready(gibbs.sample(jax.random.key(0), lattice, params, x, 3, engine="recorded", chain_ids=ids))
    jax.effects_barrier()
    used = np.concatenate(calls)
    n_hashes = 3 * lattice.n_colours * -(-lattice.height // 2) * -(-lattice.width // 2) * 16
    assert used.shape == (n_hashes, 4)
    assert len(np.unique(used, axis=0)) == n_hashes
    assert set(used[:, 3]) == set(ids.tolist())


LATTICE = Lattice.grid(4, 4)
UNIFORM = {"bias": jnp.zeros((4, 4, 4)), "coupling": jnp.zeros(2)}


def uniform_states(engine):
    """States (sweep, chain, H, W) after 1 and 2 sweeps of the uniform model with 4 levels."""
    x = np.zeros((4096, 4, 4), np.uint8)
    return np.stack([gibbs.sample(jax.random.key(2), LATTICE, UNIFORM, x, n, engine=engine)[0] for n in (1, 2)])


def independence_p_values(states):
    """p-values of the joint tables of pairs of states that share no noise: sweeps, chains, cells and quarters apart."""
    sweeps, n = states.shape[:2]
    flat = states.reshape(sweeps, n, -1)
    pairs = [(flat[a], flat[b]) for a, b in itertools.combinations(range(sweeps), 2)]
    pairs += [(flat[:, 1:], flat[:, :-1]), (flat[:, 16:], flat[:, :-16])]
    corners = [states[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)]
    pairs += list(itertools.combinations(corners, 2))
    pairs += [(states[:, :, 2:], states[:, :, :2]), (states[..., 2:], states[..., :2])]
    tables = [np.bincount((4 * here + there).ravel(), minlength=16) for here, there in pairs]
    return [scipy.stats.chisquare(table).pvalue for table in tables]


@pytest.mark.parametrize("engine", ["lattice", "thrml", "sequential"])
def test_noise_of_sweeps_chains_cells_and_quarters_is_independent(engine):
    p_values = independence_p_values(uniform_states(engine))
    assert min(p_values) > ALPHA / len(p_values)


def test_repeated_noise_is_found():
    states = uniform_states("lattice")
    for repeated in (
        np.broadcast_to(states[:1], states.shape),
        np.repeat(states[:, ::2], 2, axis=1),
        np.repeat(states[:, :, :, ::2], 2, axis=3),
        np.tile(states[..., :2], (1, 1, 1, 2)),
    ):
        assert repeated.shape == states.shape
        assert min(independence_p_values(repeated)) < 1e-12


def test_two_keys_are_two_streams():
    x = np.zeros((4096, 4, 4), np.uint8)
    a, b, again = (gibbs.sample(jax.random.key(seed), LATTICE, UNIFORM, x, 1)[0] for seed in (2, 3, 2))
    np.testing.assert_array_equal(a, again)
    assert scipy.stats.chisquare(np.bincount((4 * a + b).ravel(), minlength=16)).pvalue > ALPHA


@pytest.mark.parametrize("first", [0, 5, 2**31 - 1])
def test_words_of_any_range_are_those_of_all_at_once(first):
    """Of 2^31 sweeps with 6 words each, the last have numbers beyond 2^32."""
    key, shape = jax.random.key(3), (4, 3, 2)
    words = sweep_keys.words_from(key, jnp.int32(first), shape)
    number = np.arange(first * 6, first * 6 + 24, dtype=np.uint64)
    counter = jnp.asarray(np.concatenate([number >> np.uint64(32), number % np.uint64(2**32)]).astype(np.uint32))
    left, right = jax.extend.random.threefry_2x32(jax.random.key_data(key), counter).reshape(2, -1)
    np.testing.assert_array_equal(words.ravel(), left ^ right)
    if first < 10:
        np.testing.assert_array_equal(words, jax.random.bits(key, (10, 3, 2), jnp.uint32)[first : first + 4])


@pytest.mark.parametrize("engine", ["lattice", pytest.param("kernel", marks=pytest.mark.slow)])
def test_states_do_not_depend_on_the_size_of_a_block(engine, monkeypatch):
    lattice, x = Lattice.grid(2, 3), jnp.zeros((3, 2, 3), jnp.uint8)
    params = {"bias": jnp.ones((2, 3, 2)), "coupling": jnp.full(2, 0.3)}
    kernel = functools.partial(kernel_engine.run, launch=kernel_engine.interpreted)
    monkeypatch.setitem(sample_module._ENGINES, "kernel", kernel)
    states = []
    for block in (4096, 3):  # 8 sweeps are two blocks and a rest
        monkeypatch.setattr(sweep_keys, "BLOCK", block)
        sample_module._run.clear_cache()
        states.append(gibbs.sample(jax.random.key(1), lattice, params, x, 8, engine=engine))
    np.testing.assert_array_equal(states[0][0], states[1][0])
    assert int(states[0][1].sweeps) == int(states[1][1].sweeps) == 8


def test_memory_does_not_grow_with_the_number_of_sweeps():
    lattice, x = Lattice.grid(1, 2), jnp.zeros((1, 1, 2), jnp.uint8)
    params = {"bias": jnp.zeros((1, 2, 2)), "coupling": jnp.zeros(1)}
    conditions = checked_arguments(lattice, params, x)[2]

    def memory(n_sweeps):
        lowered = sample_module._run.lower(jax.random.key(0), lattice, params, x, n_sweeps, "lattice", conditions)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert memory(10 * sweep_keys.BLOCK) == memory(1000 * sweep_keys.BLOCK) < 1e6


def test_other_generators_draw_all_words_at_once():
    lattice, x = Lattice.grid(1, 2), jnp.zeros((2, 1, 2), jnp.uint8)
    params = {"bias": jnp.zeros((1, 2, 2)), "coupling": jnp.zeros(1)}
    states, _ = gibbs.sample(jax.random.key(0, impl="rbg"), lattice, params, x, sweep_keys.BLOCK + 1)
    assert states.shape == x.shape
