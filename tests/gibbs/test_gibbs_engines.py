"""Laws of the engines against enumeration, transfer matrices and closed forms.

Keys are fixed; a right engine fails a test on one key in 1 / ALPHA. Calls run two sweeps unless told otherwise.
"""

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from oracles import SMALL_LATTICES, empirical, exact_draws, random_params
from statistical import ALPHA, chi_square_p
from torch_reference import potts as reference

from jaxgen import gibbs
from jaxgen.gibbs import Lattice
from jaxgen.potts.oracles import enumeration, transfer_matrix

sample_module = importlib.import_module("jaxgen.gibbs.sample")

N = 20_001  # chains; not a multiple of the 16 that the lattice engine fills up to
SWEEPS = 2
CASES = {
    "2x3": (*SMALL_LATTICES["2x3 open"], "edge"),
    "3x3 tied": (Lattice.grid(3, 3), 2, "tied"),
    "3x3 diagonals": (*SMALL_LATTICES["3x3 diagonals"], "edge"),
    "3x3 jumps": (*SMALL_LATTICES["3x3 jumps"], "edge"),
    "3x3 torus": (*SMALL_LATTICES["3x3 torus"], "edge"),
    "2x4 torus diagonals": (*SMALL_LATTICES["2x4 torus diagonals"], "edge"),
    "1x3 of 16 levels": (Lattice(1, 3, ((0, 1),)), 16, "edge"),
}
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


# Checkers: each gives a p-value, so that mutants can be asked to fail them.


def drawn(engine, case, x, seed, calls=1, n_sweeps=SWEEPS, params=None, **conditions):
    """x after `calls` calls of n_sweeps sweeps, each with a key of its own."""
    lattice = CASES[case][0]
    params = case_params(case) if params is None else params
    for key in jax.random.split(jax.random.key(seed), calls):
        x, info = gibbs.sample(key, lattice, params, x, n_sweeps, engine=engine, **conditions)
        assert int(info.sweeps) == n_sweeps
    return x


@functools.cache
def case_params(case, seed=0):
    lattice, levels, coupling = CASES[case]
    return random_params(seed, lattice, levels, coupling, scale=0.7)


def fixed_start(case, n=N):
    lattice, levels, _ = CASES[case]
    image = np.random.default_rng(4).integers(levels, size=(lattice.height, lattice.width), dtype=np.uint8)
    return np.repeat(image[None], n, axis=0)


def law_p(case, x, p):
    """p-value of images under the probabilities p of all states."""
    return chi_square_p(empirical(x, CASES[case][1]), p)


def pairs_p(lattice, x, tables):
    """p-value of the pair tables of all edges: the least, times how many they are."""
    p_values = []
    for offset in lattice.offsets:
        expected = np.asarray(tables[gibbs.offset_name(offset)])
        levels = expected.shape[-1]
        here, there = (np.asarray(end).reshape(len(x), -1).T for end in lattice.ends(np.asarray(x), offset))
        for codes, p in zip(levels * here.astype(int) + there, expected.reshape(-1, levels**2), strict=True):
            p_values.append(chi_square_p(np.bincount(codes, minlength=levels**2), p))
    return min(p_values) * len(p_values)


@functools.cache
def sweep_matrix(engine, case):
    lattice = CASES[case][0]
    order = (
        [[site] for site in range(lattice.n_sites)] if engine == "sequential" else enumeration.colour_blocks(lattice)
    )
    return enumeration.sweep_matrix(lattice, case_params(case), order)


def transition_p(engine, case, n_sweeps=SWEEPS, oracle=None, seed=1):
    """Of n_sweeps sweeps from one fixed image, under that row of the power of the sweep matrix of `oracle`'s scan."""
    x = fixed_start(case)
    row = np.eye(CASES[case][1] ** CASES[case][0].n_sites)[enumeration.state_numbers(x[:1], CASES[case][1])[0]]
    for _ in range(n_sweeps):
        row = row @ sweep_matrix(oracle or engine, case)
    return law_p(case, drawn(engine, case, x, seed, n_sweeps=n_sweeps), row)


def stationarity_p(engine, case, seed=2, calls=2):
    """Of `calls` calls from exact draws, under the law itself (Gandy and Scott 2020)."""
    lattice = CASES[case][0]
    p = np.asarray(enumeration.distribution(lattice, case_params(case)))
    return law_p(case, drawn(engine, case, exact_draws(seed, lattice, case_params(case), N), seed, calls), p)


def convergence_p(engine, case, seed=3, calls=10):
    """Of `calls` calls from one fixed image, under the law."""
    lattice = CASES[case][0]
    p = np.asarray(enumeration.distribution(lattice, case_params(case)))
    return law_p(case, drawn(engine, case, fixed_start(case), seed, calls), p)


def states_of(case):
    return CASES[case][1] ** CASES[case][0].n_sites


# Laws.


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


def huge_p(engine="lattice"):
    """Three sites are held by biases of 60 and pull with couplings of +-30, which the others' biases cancel."""
    case = "3x3 jumps"
    lattice, levels, _ = CASES[case]
    rng = np.random.default_rng(9)
    params = jax.tree.map(np.array, case_params(case))
    params["coupling"] = {name: a + 30.0 * rng.choice([-1, 1], a.shape) for name, a in params["coupling"].items()}
    image, held = rng.integers(levels, size=(3, 3), dtype=np.uint8), np.array([1, 3, 8])
    pulls = np.asarray(gibbs.conditional_logits(lattice, {**params, "bias": np.zeros((3, 3, levels))}, image[None]))
    params["bias"] = params["bias"] - pulls[0]
    params["bias"].reshape(-1, levels)[held, image.ravel()[held]] += 60.0
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    with jax.enable_x64(True):
        p = np.asarray(enumeration.distribution(lattice, jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params)))
    assert np.sum(p > 1e-3) > 10
    x = exact_draws(10, lattice, params, N)
    return law_p(case, drawn(engine, case, x, 10, params=params), p)


def test_huge_parameters_keep_the_law_of_the_sweep():
    assert huge_p() > ALPHA


# Clamps and fields.

G8 = Lattice.grid(5, 5, "G8")
HALF = 5000


def clamped_law(lattice, params, image, clamp, beta=1.0, field=0.0):
    """Probabilities of all states of the free sites, the others as in `image`, from the reference's energy."""
    levels = params["bias"].shape[-1]
    free = np.argwhere(~clamp)
    states = np.repeat(image[None], levels ** len(free), axis=0)
    digits = itertools.product(range(levels), repeat=len(free))
    states[:, free[:, 0], free[:, 1]] = np.array(list(digits), np.uint8)
    with_field = {"bias": params["bias"] + field, "coupling": params["coupling"]}
    energy = reference.energy(with_field, states, lattice.offsets, lattice.boundary).numpy()
    return scipy.special.softmax(-beta * energy)


def clamped_p(lattice, params, x, image, clamp, beta=1.0, field=0.0):
    p = clamped_law(lattice, params, image, clamp, beta, field)
    numbers = enumeration.state_numbers(np.asarray(x)[:, ~clamp], params["bias"].shape[-1])
    return chi_square_p(np.bincount(numbers, minlength=len(p)), p)


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


# Work is done, by weights as they are now.


@pytest.mark.parametrize("engine", ["lattice", "thrml", "sequential"])
@pytest.mark.parametrize("n_sweeps", [1, 2])
def test_chains_move_and_the_sweeps_are_counted(engine, n_sweeps):
    """Under the uniform model a sweep redraws every site: (L - 1) / L of them change."""
    lattice = Lattice.grid(4, 4)
    params = {"bias": jnp.zeros((4, 4, 4)), "coupling": jnp.zeros(2)}
    x = np.full((4096, 4, 4), 3, np.uint8)
    moved, info = gibbs.sample(jax.random.key(28), lattice, params, x, n_sweeps, engine=engine)
    assert moved.dtype == jnp.uint8 and moved.shape == x.shape
    changed = np.asarray(moved != x).reshape(len(x), -1).mean(0)
    assert np.all(np.abs(changed - 3 / 4) < 5 * np.sqrt(3 / 16 / len(x)))
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
