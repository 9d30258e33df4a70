"""The naive baseline: sequential Gibbs sampling in three nested Python loops with NumPy.

    for every chain, for every sweep, for i in 0 .. H W - 1:   x_i ~ softmax_a beta (b_i[a] + sum_j W_ij[a, x_j])

It takes the parameters of `gibbs.sample` and samples the same law; engine="sequential" is the compiled counterpart of
this scan. Here nothing is compiled or vectorised: it is a reference for comparisons of speed.
"""

import numpy as np
from jaxtyping import UInt8

from jaxgen import gibbs
from jaxgen.errors import UserError


def naive_sample(
    seed: int, lattice: gibbs.Lattice, params: dict, x: UInt8[np.ndarray, "n H W"], n_sweeps: int, beta: float = 1.0
) -> UInt8[np.ndarray, "n H W"]:
    """Return the states after `n_sweeps` raster scans of every chain of x.

    Args:
        seed: seed of NumPy's generator.
        lattice: the graph.
        params: {"bias", "coupling"}, as for `gibbs.sample`.
        x: states 0 to L - 1.
        n_sweeps: at least 1.
        beta: inverse temperature.

    Raises:
        UserError: n_sweeps < 1, or parameters that do not fit the lattice.
    """
    gibbs.check_params(lattice, params)
    if n_sweeps < 1:
        raise UserError(f"n_sweeps is {n_sweeps!r}; allowed: an integer, 1 or more")
    rng = np.random.default_rng(seed)
    bias = beta * np.asarray(params["bias"], np.float64).reshape(lattice.n_sites, -1)
    neighbours = _neighbours(lattice, params, beta)
    states = np.array(x, np.uint8).reshape(len(x), -1)
    for chain in states:
        for _ in range(n_sweeps):
            for i in range(lattice.n_sites):
                theta = bias[i].copy()
                for j, coupling in neighbours[i]:
                    theta += coupling[:, chain[j]]
                cumulative = np.exp(theta - theta.max()).cumsum()
                chain[i] = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
    return states.reshape(np.shape(x))


def _neighbours(lattice: gibbs.Lattice, params: dict, beta: float) -> list[list[tuple[int, np.ndarray]]]:
    """Return for every site i the pairs (j, beta W_ij[x_i, x_j])."""
    neighbours = [[] for _ in range(lattice.n_sites)]
    for offset, coupling in gibbs.edge_couplings(lattice, params):
        coupling = beta * np.asarray(coupling, np.float64)
        coupling = coupling.reshape(-1, *coupling.shape[2:])
        for i, j, w in zip(*lattice.edges(offset), coupling, strict=True):
            neighbours[i].append((int(j), w))
            neighbours[j].append((int(i), w.T))
    return neighbours
