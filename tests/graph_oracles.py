"""Small models on graphs whose every state can be enumerated, in float64 numpy that shares no code with the engine."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxgen.gibbs import Graph


def random_graph_params(seed: int, graph: Graph, kind: str = "edge", scale: float = 0.7) -> dict:
    """Independent normal biases and couplings, float32; kind "edge", "tied" or "spin"."""
    rng = np.random.default_rng(seed)
    levels = graph.max_levels
    shapes = {
        "edge": ((graph.n_sites, levels), (graph.n_edges, levels, levels)),
        "tied": ((graph.n_sites, levels), (graph.n_edges,)),
        "spin": ((graph.n_sites,), (graph.n_edges,)),
    }
    bias, coupling = (jnp.asarray(scale * rng.standard_normal(shape), jnp.float32) for shape in shapes[kind])
    return {"bias": bias, "coupling": coupling}


@functools.cache
def all_states(graph: Graph) -> np.ndarray:
    """Every state (S, n), the last site fastest."""
    return np.array(list(itertools.product(*map(range, graph.levels.tolist()))), np.uint8)


def state_numbers(graph: Graph, x) -> np.ndarray:
    """The rows of `all_states` that the states x (chains, n) are."""
    strides = np.append(np.cumprod(graph.levels[:0:-1])[::-1], 1)
    return np.asarray(x).astype(np.int64) @ strides


def log_weights(graph: Graph, params: dict, states: np.ndarray, field=0.0) -> np.ndarray:
    """-E(x), term by term."""
    bias = np.asarray(params["bias"], np.float64) + np.asarray(field, np.float64)
    coupling = np.asarray(params["coupling"], np.float64)
    total = np.zeros(len(states))
    for i in range(graph.n_sites):
        here = states[:, i].astype(int)
        total += (2 * here - 1) * bias[i] if bias.ndim == 1 else bias[i][here]
    for e, (i, j) in enumerate(graph.edges):
        here, there = states[:, i].astype(int), states[:, j].astype(int)
        if bias.ndim == 1:
            total += coupling[e] * (2 * here - 1) * (2 * there - 1)
        elif coupling.ndim == 1:
            total += np.where(here == there, coupling[e], 0.0)
        else:
            total += coupling[e][here, there]
    return total


def distribution(graph: Graph, params: dict, beta: float = 1.0, field=0.0) -> np.ndarray:
    """p(x) of every state."""
    theta = log_weights(graph, params, all_states(graph), field)
    theta = np.where(theta == -np.inf, -np.inf, beta * np.where(theta == -np.inf, 0.0, theta))
    return scipy.special.softmax(theta)


def sweep_matrix(graph: Graph, params: dict, order: list[int], beta: float = 1.0) -> np.ndarray:
    """P(x -> x') of a scan over the sites in the given order, one after another."""
    p = distribution(graph, params, beta)
    states, matrix = all_states(graph), np.eye(len(p))
    for i in order:
        rest = states.copy()
        rest[:, i] = 0
        same = state_numbers(graph, rest)
        joined = same[:, None] == same[None]
        matrix = matrix @ (joined * p / (joined @ p)[:, None])
    return matrix
