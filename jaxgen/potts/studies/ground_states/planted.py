"""Spin glasses with a known ground state: frustrated loops on any graph (Hen et al. 2015, Phys. Rev. A 92, 042325).

    E(s) = - sum_(i,j) J_ij s_i s_j,     J_ij = sum_k J^k_ij

A loop k of l edges has J^k_ij = t_i t_j on all its edges but one, where it is - t_i t_j. The product of the signs
around it is negative, so every state leaves at least one edge unsatisfied: the energy of a loop is at least -(l - 2),
and the planted state t reaches that in all loops at once. Hence min E = E(t) = - sum_k (l_k - 2).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs import Graph

_TRIES = 1000  # random walks per loop asked for


class Planted(NamedTuple):
    """A spin glass and a ground state of it.

    Attributes:
        graph: two levels per site.
        coupling: J_ij, integers.
        state: the planted state as levels, t = 2 x - 1.
        energy: its energy, the lowest there is.
    """

    graph: Graph
    coupling: Float[np.ndarray, "E"]
    state: UInt8[np.ndarray, "n"]
    energy: int

    @property
    def params(self) -> dict:
        """The parameters for `gibbs.sample`: spins without a field."""
        return {"bias": np.zeros(self.graph.n_sites, np.float32), "coupling": self.coupling}


def plant_loops(rng: np.random.Generator, graph: Graph, n_loops: int, shortest: int = 6) -> Planted:
    """Return the sum of `n_loops` frustrated loops, each cut from a random walk at its first return to itself.

    Args:
        rng: random numbers of the state, the walks and the frustrated edges.
        graph: any graph with loops of the length asked for.
        n_loops: number of loops. Hen et al. find the hardest instances at 0.2 to 0.3 loops per site on Chimera graphs.
        shortest: loops of fewer edges are dropped.

    Raises:
        UserError: the walks find too few such loops.
    """
    start, neighbours, edges = graph.incidence
    spin = rng.choice([-1, 1], graph.n_sites)
    coupling, energy, found = np.zeros(graph.n_edges), 0, 0
    for _ in range(_TRIES * n_loops):
        loop = _loop(rng, start, neighbours, edges % graph.n_edges)
        if len(loop) < shortest:
            continue
        first, second = graph.edges[loop].T
        satisfied = spin[first] * spin[second]
        satisfied[rng.integers(len(loop))] *= -1
        coupling[loop] += satisfied
        energy -= len(loop) - 2
        found += 1
        if found == n_loops:
            return Planted(graph, coupling.astype(np.float32), ((spin + 1) // 2).astype(np.uint8), energy)
    raise UserError(f"shortest is {shortest}, and random walks find {found} such loops; allowed: lengths of its loops")


def _loop(rng: np.random.Generator, start, neighbours, edges) -> Int[np.ndarray, "l"]:
    """Return the edges of the loop that a walk without steps back closes first; none from a dead end."""
    site, last = int(rng.integers(len(start) - 1)), -1
    seen, walked = {site: 0}, []
    while True:
        slots = np.arange(start[site], start[site + 1])
        slots = slots[edges[slots] != last]
        if not len(slots):
            return np.zeros(0, int)
        slot = rng.choice(slots)
        site, last = int(neighbours[slot]), int(edges[slot])
        walked.append(last)
        if site in seen:
            return np.array(walked[seen[site] :])
        seen[site] = len(walked)


def chimera(side: int, half: int = 4) -> Graph:
    """Return the Chimera graph of side x side cells, each complete bipartite with 2 `half` spins.

    Spins 0 .. half - 1 of a cell are joined to those of the cells above and below, the others to those beside it.
    """
    number = np.arange(side * side * 2 * half).reshape(side, side, 2, half)
    cells = np.broadcast_arrays(number[:, :, 0, :, None], number[:, :, 1, None, :])
    pairs = [cells, (number[:-1, :, 0], number[1:, :, 0]), (number[:, :-1, 1], number[:, 1:, 1])]
    return Graph(np.concatenate([np.stack(ends, -1).reshape(-1, 2) for ends in pairs]), number.size)
