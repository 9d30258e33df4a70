"""How many sites per second does the graph engine update on graphs other than grids, beside THRML?

python -m benchmarks.gibbs_graphs            about 10 minutes on 2 cores
python -m benchmarks.gibbs_graphs --quick    three graphs, under 3 minutes

Every row is one graph, spins or 4 levels with one coupling matrix per edge, at 1 or 256 chains. THRML runs the same
model as a FactorSamplingProgram with one block per colour and square factors, `sample_states` under jit and vmap; the
program is built before the clock starts. `gibbs.sample` takes fresh parameters on every call and is timed with the
tables that it makes of them. On the graph of a lattice the lattice engine runs as well. The samplers of a row are
interleaved. Before a row is accepted, the states of both samplers after equally many sweeps are compared by chi-square
over all sites and edges.
"""

import functools
import itertools
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import scipy.stats
from absl import flags
from thrml import SamplingSchedule, SpinNode, sample_states
from tqdm import tqdm

from benchmarks import command_line, timing
from jaxgen import gibbs
from jaxgen.gibbs import Graph, Lattice
from jaxgen.runs.tables import aligned, write_json

NAME = "gibbs_graphs"
ALPHA = 1e-5
GATE_CHAINS, GATE_SWEEPS = 512, 20
TARGET_S = 0.1
COLUMNS = (
    *("graph", "sites", "degree", "colours", "levels", "chains"),
    *("updates/ns", "range", "thrml updates/ns", "x thrml", "x lattice engine", "compile s", "thrml compile s", "p"),
)


def chimera(side: int, half: int = 4) -> nx.Graph:
    """Return the Chimera graph of side x side cells, each complete bipartite with 2 half sites; degree half + 2."""
    cell = nx.complete_bipartite_graph(half, half)
    graph = nx.Graph()
    for y in range(side):
        for x in range(side):
            graph.add_edges_from(((y, x, a), (y, x, b)) for a, b in cell.edges)
            for k in range(half):
                if y + 1 < side:
                    graph.add_edge((y, x, k), (y + 1, x, k))
                if x + 1 < side:
                    graph.add_edge((y, x, half + k), (y, x + 1, half + k))
    return graph


# Of the vertical and of the horizontal qubits; the default of dwave_networkx.
_PEGASUS_SHIFTS = (2,) * 4 + (10,) * 4 + (6,) * 4, (6,) * 4 + (2,) * 4 + (10,) * 4


def pegasus(size: int) -> nx.Graph:
    """The Pegasus graph P_size (Boothby et al. 2020, arXiv:2003.00133), without the qubits at its borders; degree 15.

    Site (u, w, k, z): orientation, row or column, track 0 to 11, place along it.
    """
    graph = nx.Graph()
    for u, w, k, z in itertools.product(range(2), range(size), range(12), range(size - 1)):
        if z + 2 < size:
            graph.add_edge((u, w, k, z), (u, w, k, z + 1))
        if k % 2 == 0:
            graph.add_edge((u, w, k, z), (u, w, k + 1, z))
        if u == 0:
            for kk in range(12):
                across = z + (kk < _PEGASUS_SHIFTS[0][k]), w - (k < _PEGASUS_SHIFTS[1][kk])
                if 0 <= across[1] < size - 1:
                    graph.add_edge((u, w, k, z), (1, across[0], kk, across[1]))
    return graph.subgraph(max(nx.connected_components(graph), key=len))


class Case(NamedTuple):
    """A graph, or the lattice it is the graph of."""

    name: str
    graph: nx.Graph | Lattice

    def sized(self, levels: int) -> Graph:
        """Return the graph with this number of levels per site."""
        if isinstance(self.graph, Lattice):
            return Graph.from_lattice(self.graph, levels)
        numbered = nx.convert_node_labels_to_integers(self.graph)
        return Graph(list(numbered.edges), numbered.number_of_nodes(), levels)


def cases(quick: bool) -> list[Case]:
    """Return the graphs of the benchmark, three of them with --quick."""
    some = [
        Case("grid 28 x 28", Lattice.grid(28, 28)),
        Case("6-regular", nx.random_regular_graph(6, 2000, seed=0)),
        Case("complete", nx.complete_graph(80)),
    ]
    more = [
        Case("Chimera 16 x 16", chimera(16)),
        Case("Pegasus P6", pegasus(6)),
        Case("G12 70 x 70", Lattice.grid(70, 70, "G12")),
        Case("scale-free", nx.barabasi_albert_graph(2000, 4, seed=0)),
    ]
    return some if quick else some + more


def random_params(graph: Graph, spins: bool) -> dict:
    """Return couplings small enough for the chains to mix within the sweeps of the gate."""
    rng = np.random.default_rng(0)
    levels, scale = graph.max_levels, 0.6 / np.sqrt(graph.degrees.max())
    bias = 0.5 * rng.standard_normal((graph.n_sites,) if spins else (graph.n_sites, levels))
    coupling = scale * rng.standard_normal((graph.n_edges,) if spins else (graph.n_edges, levels, levels))
    return {"bias": jnp.asarray(bias, jnp.float32), "coupling": jnp.asarray(coupling, jnp.float32)}


class Prepared(NamedTuple):
    """run: seed -> states (chains, sites), all work finished. sweeps: of one run."""

    run: Callable
    sweeps: int
    compile_s: float


def compiled(sampler: Callable, *arguments) -> tuple[Callable, float]:
    """Return sampler(key, *arguments), compiled ahead of time, as a function of a seed."""
    begin = time.perf_counter()
    seeded = jax.jit(lambda seed, *rest: sampler(jax.random.key(seed), *rest))
    executable = seeded.lower(np.uint32(0), *arguments).compile()
    seconds = time.perf_counter() - begin
    return lambda seed: jax.block_until_ready(executable(np.uint32(seed), *arguments)), seconds


def ours(graph: Graph, params: dict, chains: int, sweeps: int) -> Prepared:
    """Return prepared sweeps of `gibbs.sample`."""
    x = jnp.zeros((chains, graph.n_sites), jnp.uint8)
    run, seconds = compiled(lambda key, params, x: gibbs.sample(key, graph, params, x, sweeps)[0], params, x)
    return Prepared(run, sweeps, seconds)


def by_lattice(lattice: Lattice, graph: Graph, params: dict, chains: int, sweeps: int) -> Prepared:
    """Return the path of the same model through the lattice engine; spins are two levels with a matrix per edge."""
    full = gibbs.edge_matrices(graph, params)
    ends = np.cumsum([np.prod(lattice.edge_shape(offset)) for offset in lattice.offsets])[:-1]
    pieces = jnp.split(full["coupling"], ends)
    coupling = {
        gibbs.offset_name(o): piece.reshape(*lattice.edge_shape(o), *piece.shape[1:])
        for o, piece in zip(lattice.offsets, pieces, strict=True)
    }
    tree = {"bias": full["bias"].reshape(lattice.height, lattice.width, -1), "coupling": coupling}
    x = jnp.zeros((chains, lattice.height, lattice.width), jnp.uint8)
    run, seconds = compiled(lambda key, tree, x: gibbs.sample(key, lattice, tree, x, sweeps)[0], tree, x)
    return Prepared(run, sweeps, seconds)


def by_thrml(graph: Graph, params: dict, chains: int, sweeps: int) -> Prepared:
    """Return prepared sweeps of THRML on the same model."""
    program, nodes = gibbs.to_thrml(graph, params)
    blocks = program.gibbs_spec.free_blocks
    schedule = SamplingSchedule(n_warmup=sweeps, n_samples=1, steps_per_sample=0)
    number = {node: i for i, node in enumerate(nodes)}
    order = np.argsort([number[node] for block in blocks for node in block])

    def chain(key):
        start = [jnp.zeros(len(b), bool if b.node_type is SpinNode else jnp.uint8) for b in blocks]
        states = sample_states(key, program, schedule, start, [], blocks)
        return jnp.concatenate([state[0] for state in states])[order]

    run, seconds = compiled(lambda key: jax.vmap(chain)(jax.random.split(key, chains)).astype(jnp.uint8))
    return Prepared(run, sweeps, seconds)


def affordable(build: Callable[[int], Prepared], most: int) -> Prepared:
    """Return how many sweeps take about TARGET_S, from 2 to `most`."""
    first = build(2)
    first.run(0)
    sweeps = int(np.clip(2 * TARGET_S / timing.seconds(first.run), 2, most))
    return first if sweeps < 4 else build(sweeps)


def p_value(graph: Graph, a: np.ndarray, b: np.ndarray) -> float:
    """Return the Bonferroni-corrected p-value of two sets of independent states under one law, by sites and edges."""
    levels, (first, second) = graph.max_levels, graph.edges.T
    p = []
    for sites, others in ((np.arange(graph.n_sites), None), (first, second)):
        counts = []
        for states in (a, b):
            code, cells = states[:, sites].astype(np.int64), levels
            if others is not None:
                code, cells = code * levels + states[:, others], levels**2
            flat = (code + cells * np.arange(code.shape[1])).ravel()
            counts.append(np.bincount(flat, minlength=cells * code.shape[1]).reshape(-1, cells))
        ratio = np.sqrt(len(b) / len(a))
        statistic = ((ratio * counts[0] - counts[1] / ratio) ** 2 / np.maximum(sum(counts), 1)).sum(1)
        p.append(scipy.stats.chi2.sf(statistic, np.maximum((sum(counts) > 0).sum(1) - 1, 1)))
    p = np.concatenate(p)
    return float(min(1.0, p.min() * len(p)))


def gate(graph: Graph, params: dict) -> float:
    """Return the p-value of a chi-square test that both samplers draw from the same law."""
    states = [
        np.asarray(build(graph, params, GATE_CHAINS, GATE_SWEEPS).run(k)) for k, build in enumerate((ours, by_thrml))
    ]
    return p_value(graph, *states)


def measure(case: Case, levels: int, chains: int, p: float, repeats: int) -> dict:
    """Return one row of the table."""
    graph, spins = case.sized(levels), levels == 2
    params = random_params(graph, spins)
    builds = [functools.partial(ours, graph, params, chains), functools.partial(by_thrml, graph, params, chains)]
    if isinstance(case.graph, Lattice):
        builds.append(functools.partial(by_lattice, case.graph, graph, params, chains))
    paths = [affordable(build, 500) for build in builds]
    calls = [timing.calls_for(path.run, TARGET_S) for path in paths]
    times = timing.interleaved([path.run for path in paths], calls, repeats)
    rates = graph.n_sites * chains * np.array([path.sweeps for path in paths]) / times * 1e-9
    row = {"graph": case.name, "sites": graph.n_sites, "degree": int(graph.degrees.max()), "colours": graph.n_colours}
    row |= {"levels": "spins" if spins else levels, "chains": chains, "updates/ns": float(np.median(rates[:, 0]))}
    row |= {"range": f"{rates[:, 0].min():.2g}-{rates[:, 0].max():.2g}"}
    row |= {"thrml updates/ns": float(np.median(rates[:, 1])), "x thrml": float(np.median(rates[:, 0] / rates[:, 1]))}
    row |= {"x lattice engine": float(np.median(rates[:, 0] / rates[:, 2])) if len(paths) > 2 else None}
    return row | {"compile s": paths[0].compile_s, "thrml compile s": paths[1].compile_s, "p": p}


def main(argv: list[str]) -> int:
    """Measure, print, write; the exit code is 1 if a law differed."""
    values = command_line.define_flags("three graphs")
    known = [case.name for case in cases(quick=False)]
    flags.DEFINE_list("graphs", None, f"only these, of {', '.join(known)}", flag_values=values)

    def check() -> None:
        unknown = set(values["graphs"].value or ()) - set(known)
        if unknown:
            raise flags.Error(f"flag --graphs={', '.join(sorted(unknown))}: allowed: {', '.join(known)}")

    def measure_all() -> bool:
        timing.disable_compilation_cache()
        record, rows = timing.environment(), []
        names = values["graphs"].value
        chosen = [case for case in cases(values["quick"].value and not names) if not names or case.name in names]
        wanted = [(case, levels) for case in chosen for levels in (2, 4)]
        for case, levels in tqdm(wanted, desc="graphs", unit="graph"):
            graph = case.sized(levels)
            p = gate(graph, random_params(graph, levels == 2))
            rows += [measure(case, levels, chains, p, values["repeats"].value) for chains in (1, 256)]
        if values["json"].value:
            write_json(values["json"].value, record | {"rows": rows})
        print(aligned(rows, COLUMNS))
        if values["write"].value:
            command_line.write_table(NAME, record, rows, COLUMNS, ("python", "jax", "thrml"))
        return all(row["p"] >= ALPHA for row in rows)

    return command_line.run(NAME, __doc__, values, argv, measure_all, check)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
