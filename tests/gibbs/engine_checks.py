"""Small models whose every state can be enumerated, and checkers of the engines that run on them.

Each checker returns a p-value, so that mutants can be asked to fail it. Keys are fixed; a correct engine fails a check
on one key in 1 / ALPHA. Calls run two sweeps unless told otherwise.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from oracles import SMALL_LATTICES, empirical, exact_draws, random_params
from statistical import chi_square_p
from torch_reference import potts as reference

from jaxgen import gibbs
from jaxgen.gibbs import Lattice
from jaxgen.potts.oracles import enumeration

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
    """Return the p-value of n_sweeps sweeps from one image, under that row of the power of `oracle`'s sweep matrix."""
    x = fixed_start(case)
    row = np.eye(CASES[case][1] ** CASES[case][0].n_sites)[enumeration.state_numbers(x[:1], CASES[case][1])[0]]
    for _ in range(n_sweeps):
        row = row @ sweep_matrix(oracle or engine, case)
    return law_p(case, drawn(engine, case, x, seed, n_sweeps=n_sweeps), row)


def stationarity_p(engine, case, seed=2, calls=2):
    """Return the p-value of `calls` calls from exact draws, under the law itself (Gandy and Scott 2020)."""
    lattice = CASES[case][0]
    p = np.asarray(enumeration.distribution(lattice, case_params(case)))
    return law_p(case, drawn(engine, case, exact_draws(seed, lattice, case_params(case), N), seed, calls), p)


def convergence_p(engine, case, seed=3, calls=10):
    """Return the p-value of `calls` calls from one fixed image, under the law."""
    lattice = CASES[case][0]
    p = np.asarray(enumeration.distribution(lattice, case_params(case)))
    return law_p(case, drawn(engine, case, fixed_start(case), seed, calls), p)


def states_of(case):
    return CASES[case][1] ** CASES[case][0].n_sites


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
