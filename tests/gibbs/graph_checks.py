"""Small graphs whose every state can be enumerated, and checkers of the graph engine that run on them.

Each checker returns a p-value, so that mutants can be asked to fail it. Keys are fixed; a correct engine fails a check
on one key in 1 / ALPHA.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from graph_oracles import all_states, distribution, random_graph_params, state_numbers, sweep_matrix
from statistical import chi_square_p

from jaxgen import gibbs
from jaxgen.gibbs import Graph, graph_plan

N = 20_001
HOUSE = [(0, 1), (2, 1), (3, 0), (4, 2), (1, 4), (0, 4)]
CASES = {  # graph, kind of parameters
    "mixed levels": (Graph(HOUSE, 5, [2, 3, 4, 2, 3]), "edge"),
    "spins": (Graph([*HOUSE, (5, 0), (6, 5), (6, 2)], 7, 2), "spin"),
    "tied and isolated": (Graph(HOUSE, 6, 3), "tied"),
    "tied, mixed levels": (Graph(HOUSE, 5, [3, 2, 4, 2, 3]), "tied"),
    "many levels": (Graph([(1, 0), (1, 2), (2, 0)], 3, [12, 2, 5]), "edge"),
    "no edges": (Graph([], 3, [2, 3, 2]), "edge"),
}


@functools.cache
def case_params(case, seed=0):
    graph, kind = CASES[case]
    return random_graph_params(seed, graph, kind, scale=0.35 if kind == "spin" else 0.7)


def fixed_start(case):
    graph = CASES[case][0]
    row = np.random.default_rng(4).integers(graph.levels).astype(np.uint8)
    return np.repeat(row[None], N, axis=0)


def drawn(case, x, seed, calls=1, n_sweeps=2, params=None, **conditions):
    params = case_params(case) if params is None else params
    for key in jax.random.split(jax.random.key(seed), calls):
        x, info = gibbs.sample(key, CASES[case][0], params, x, n_sweeps, **conditions)
        assert int(info.sweeps) == n_sweeps and info.engine == "graph"
    return x


def law_p(case, x, p):
    graph = CASES[case][0]
    return chi_square_p(np.bincount(state_numbers(graph, x), minlength=len(p)), p)


def stationarity_p(case, params=None, beta=1.0, calls=2):
    """Two calls from exact draws, under the law itself."""
    p = distribution(CASES[case][0], case_params(case) if params is None else params, beta)
    start = all_states(CASES[case][0])[np.random.default_rng(1).choice(len(p), N, p=p)]
    return law_p(case, drawn(case, start, 2, calls, params=params, beta=beta), p)


def transition_p(case, n_sweeps=2, params=None):
    """From one fixed state, under its row of the power of the sweep matrix."""
    graph, x = CASES[case][0], fixed_start(case)
    order = np.concatenate(graph_plan.blocks(graph)).tolist()
    matrix = sweep_matrix(graph, case_params(case) if params is None else params, order)
    row = np.eye(len(matrix))[state_numbers(graph, x[:1])[0]]
    for _ in range(n_sweeps):
        row = row @ matrix
    return law_p(case, drawn(case, x, 3, n_sweeps=n_sweeps, params=params), row)


def convergence_p(case):
    return law_p(case, drawn(case, fixed_start(case), 5, calls=10), distribution(CASES[case][0], case_params(case)))


@functools.cache
def strong_params(case):
    """Couplings of +-60 whose pulls the biases cancel at one state: sums must be used, and many states stay likely."""
    graph = CASES[case][0]
    params = jax.tree.map(lambda a: np.array(a, np.float64), case_params(case))
    rng, x0 = np.random.default_rng(9), fixed_start(case)[0].astype(int)
    shift = 60.0 * rng.choice([-1.0, 1.0], params["coupling"].shape)
    params["coupling"] += shift
    for e, (i, j) in enumerate(graph.edges):
        params["bias"][i] -= shift[e][:, x0[j]]
        params["bias"][j] -= shift[e][x0[i], :]
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
