"""The bipartite sampler against enumeration, against THRML, and its guarantees."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from statistical import ALPHA, chi_square_p
from thrml import Block, BlockGibbsSpec, CategoricalNode, FactorSamplingProgram, SamplingSchedule, sample_states
from thrml.models import CategoricalGibbsConditional, SquareCategoricalEBMFactor

from jaxgen import UserError, gibbs
from jaxgen.gibbs.bipartite import draw_levels, one_hot, uniform

CHAINS, SWEEPS = 20_000, 20


def machine(seed: int, visible: int, levels: int, hidden: int, scale: float = 0.7):
    """Weights (V, L-1, H), visible logits (V, L-1) and hidden logits (H,)."""
    rng = np.random.default_rng(seed)
    shapes = ((visible, levels - 1, hidden), (visible, levels - 1), (hidden,))
    return [jnp.asarray(scale * rng.standard_normal(shape), jnp.float32) for shape in shapes]


def exact_visible(weight, visible, hidden, beta: float = 1.0) -> np.ndarray:
    """p(v) by summing over every visible and hidden state, in float64 and in the order of itertools.product."""
    weight, visible, hidden = (np.asarray(array, np.float64) for array in (weight, visible, hidden))
    levels = weight.shape[1] + 1
    p = []
    for v in itertools.product(range(levels), repeat=len(visible)):
        states = np.eye(levels)[list(v)][:, 1:]
        total = 0.0
        for h in itertools.product((0, 1), repeat=len(hidden)):
            minus_energy = (states * visible).sum() + h @ hidden + np.einsum("vl,vlh,h->", states, weight, h)
            total += np.exp(beta * minus_energy)
        p.append(total)
    return np.array(p) / np.sum(p)


def counts_of(v, levels: int) -> np.ndarray:
    numbers = np.asarray(v, int) @ levels ** np.arange(v.shape[1])[::-1]
    return np.bincount(numbers, minlength=levels ** v.shape[1])


def drawn(params, key: int, n: int = CHAINS, sweeps: int = SWEEPS, **conditions):
    weight, visible, hidden = params
    start = jnp.zeros((n, len(visible)), jnp.uint8)
    fields = jnp.broadcast_to(visible, (n, *visible.shape)), jnp.broadcast_to(hidden, (n, *hidden.shape))
    return gibbs.sample_bipartite(jax.random.key(key), weight, *fields, start, sweeps, **conditions)


@pytest.mark.parametrize("levels, visible, beta", [(2, 4, 1.0), (3, 3, 0.6), (5, 2, 1.5)])
def test_the_law_is_that_of_enumeration(levels, visible, beta):
    params = machine(levels, visible, levels, 3)
    v = drawn(params, key=levels, beta=beta)
    assert chi_square_p(counts_of(v, levels), exact_visible(*params, beta)) > ALPHA


def test_the_law_is_that_of_thrml():
    """Return the same machine as THRML factors; each hidden unit is a categorical node of two levels."""
    levels, visible, hidden, n = 3, 2, 2, 8000
    weight, a, c = machine(0, visible, levels, hidden)
    nodes = [CategoricalNode() for _ in range(visible)], [CategoricalNode() for _ in range(hidden)]
    pairs = [(i, j) for i in range(visible) for j in range(hidden)]
    full = jnp.zeros((visible, levels, hidden, 2)).at[:, 1:, :, 1].set(weight)
    ends = [Block([nodes[0][i] for i, _ in pairs]), Block([nodes[1][j] for _, j in pairs])]

    # SquareCategoricalEBMFactor needs as many levels on both sides: hidden units get a level that is forbidden.
    square = jnp.concatenate([full, jnp.zeros((visible, levels, hidden, levels - 2))], axis=3)
    couplings = jnp.stack([square[i, :, j, :] for i, j in pairs])
    hidden_bias = jnp.concatenate([jnp.zeros((hidden, 1)), c[:, None], jnp.full((hidden, levels - 2), -1e9)], axis=1)
    factors = [
        SquareCategoricalEBMFactor([Block(nodes[0])], jnp.pad(a, ((0, 0), (1, 0)))),
        SquareCategoricalEBMFactor([Block(nodes[1])], hidden_bias),
        SquareCategoricalEBMFactor(ends, couplings),
    ]
    blocks = [Block(nodes[1]), Block(nodes[0])]
    samplers = [CategoricalGibbsConditional(levels) for _ in blocks]
    program = FactorSamplingProgram(BlockGibbsSpec(blocks, []), samplers, factors, [])
    schedule = SamplingSchedule(n_warmup=SWEEPS, n_samples=1, steps_per_sample=1)
    start = [jnp.zeros(len(block.nodes), jnp.uint8) for block in blocks]

    def chain(key):
        return sample_states(key, program, schedule, start, [], [Block(nodes[0])])[0][0]

    v = jax.jit(jax.vmap(chain))(jax.random.split(jax.random.key(5), n))
    exact = exact_visible(weight, a, c)
    assert chi_square_p(counts_of(v, levels), exact) > ALPHA
    assert chi_square_p(counts_of(drawn((weight, a, c), key=6), levels), exact) > ALPHA


def test_clamped_units_never_change_and_the_rest_has_its_conditional_law():
    params = machine(1, 3, 3, 2)
    start = jnp.zeros((CHAINS, 3), jnp.uint8).at[:, 1].set(2)
    clamp = jnp.zeros((CHAINS, 3), bool).at[:, 1].set(True)
    weight, visible, hidden = params
    fields = jnp.broadcast_to(visible, (CHAINS, 3, 2)), jnp.broadcast_to(hidden, (CHAINS, 2))
    v = np.asarray(gibbs.sample_bipartite(jax.random.key(2), weight, *fields, start, SWEEPS, clamp=clamp))
    assert (v[:, 1] == 2).all()
    joint = exact_visible(*params).reshape(3, 3, 3)[:, 2, :]
    counts = np.bincount(3 * v[:, 0].astype(int) + v[:, 2], minlength=9)
    assert chi_square_p(counts, joint.ravel() / joint.sum()) > ALPHA


def test_noise_belongs_to_the_global_chain():
    params = machine(3, 5, 2, 4)
    whole = drawn(params, key=1, n=8, sweeps=3)
    part = drawn(params, key=1, n=3, sweeps=3, chain_ids=jnp.array([6, 0, 3]))
    np.testing.assert_array_equal(part, whole[jnp.array([6, 0, 3])])
    assert len(np.unique(np.asarray(drawn(params, key=1, n=64, sweeps=3)), axis=0)) > 8


def test_bfloat16_samples_the_machine_with_rounded_weights():
    """100.3 rounds to 100.5: against a hidden bias of -100.3 that moves P(v = 1) from 2 / 3 to .69."""
    weight, visible, hidden = jnp.full((1, 1, 1), 100.3), jnp.zeros((1, 1)), jnp.full((1,), -100.3)
    rounded = weight.astype(jnp.bfloat16).astype(jnp.float32)
    counts = counts_of(drawn((weight, visible, hidden), key=3, dtype=jnp.bfloat16), 2)
    assert chi_square_p(counts, exact_visible(rounded, visible, hidden)) > ALPHA
    assert chi_square_p(counts, exact_visible(weight, visible, hidden)) < ALPHA


def test_levels_are_drawn_by_inversion():
    u = (jnp.arange(1000) + 0.5)[:, None] / 1000
    logits = jnp.log(jnp.array([[[2.0, 0.0, 5.0]]]))  # weights 1, 2, 0, 5: level 2 is forbidden
    levels = np.asarray(draw_levels(u, jnp.broadcast_to(logits, (1000, 1, 3))))[:, 0]
    np.testing.assert_array_equal(np.bincount(levels, minlength=4), [125, 250, 0, 625])


def test_one_hot_leaves_out_level_0():
    np.testing.assert_array_equal(one_hot(jnp.array([[0, 1, 2]], jnp.uint8), 3)[0], [[0, 0], [1, 0], [0, 1]])


@pytest.mark.parametrize("dtype", [jnp.uint32, jnp.int32])
def test_uniform_numbers_are_uniform_whatever_integers_number_the_chains(dtype):
    """Signed numbers would be shifted with their sign: all of a chain's numbers were then near 0."""
    u = np.asarray(uniform(jax.random.key(1), jnp.arange(2000, dtype=dtype), 10)).ravel()
    assert scipy.stats.kstest(u, "uniform").pvalue > ALPHA


def test_uniform_numbers_are_inside_the_open_interval_and_differ():
    u = np.asarray(uniform(jax.random.key(0), jnp.arange(100, dtype=jnp.uint32), 33))
    assert u.min() > 0 and u.max() < 1 and len(np.unique(u)) > 3250


def test_a_swapped_half_is_caught():
    """A sweep whose visible draw ignores the hidden units has another law: the test of the law would see it."""
    weight, visible, hidden = machine(4, 4, 2, 3)
    v = drawn((0 * weight, visible, hidden), key=2)
    assert chi_square_p(counts_of(v, 2), exact_visible(weight, visible, hidden)) < ALPHA


WEIGHT, V = np.zeros((3, 2, 4), np.float32), np.zeros((5, 3), np.uint8)
FIELDS = {"visible_logits": np.zeros((5, 3, 2), np.float32), "hidden_logits": np.zeros((5, 4), np.float32)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": 0}, "key is int; allowed: one key"),
        ({"n_sweeps": 0}, "n_sweeps is 0; allowed: an integer, 1 to"),
        ({"n_sweeps": 2.0}, "n_sweeps is 2.0; allowed: an integer, 1 to"),
        ({"v": V + 3}, "v has a state of 3; allowed: 0 to 2"),
        ({"v": V.astype(int)}, "v is int64 .5, 3.; allowed: uint8"),
        ({"v": V[:, :2]}, "v is uint8 .5, 2.; allowed: uint8 .n, 3."),
        ({"v": V[:0]}, "n of 1 or more"),
        ({"beta": -1.0}, "beta is -1.0; allowed: 0 or more"),
        ({"beta": 1e39}, "beta is 1e.39; allowed: 0 or more"),
        ({"beta": np.ones(5)}, "beta is float64 .5,.; allowed: one finite number"),
        ({"chain_ids": np.zeros(5, int)}, "chain_ids repeats 0; allowed: every number once"),
        ({"chain_ids": np.arange(5) / 2}, "chain_ids is float64 .5,.; allowed: integers"),
        ({"clamp": np.ones(3, bool)}, "clamp is bool .3,.; allowed: bool .5, 3."),
        ({"clamp": V}, "clamp is uint8 .5, 3.; allowed: bool"),
        ({"weight": WEIGHT[:, 0]}, "weight has shape .3, 4.; allowed: .V, L - 1, H."),
        ({"weight": WEIGHT + 1j}, "weight has dtype complex64; allowed: real numbers"),
        ({"weight": WEIGHT * np.nan}, "weight has an entry that is NaN or .inf"),
        ({"visible_logits": FIELDS["visible_logits"] - np.inf}, "visible_logits has an entry of -inf; allowed: finite"),
        ({"visible_logits": FIELDS["visible_logits"][0]}, "visible_logits has shape .3, 2.; allowed: .5, 3, 2."),
        ({"hidden_logits": FIELDS["hidden_logits"][:, :1]}, "hidden_logits has shape .5, 1.; allowed: .5, 4."),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, message):
    """None of it is clamped, wrapped or broadcast to the states of another machine."""
    arguments = {"key": jax.random.key(0), "weight": WEIGHT, "v": V, "n_sweeps": 2} | FIELDS
    assert gibbs.sample_bipartite(**arguments).shape == (5, 3)
    with pytest.raises(UserError, match=message):
        gibbs.sample_bipartite(**arguments | changes)
