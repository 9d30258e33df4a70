"""Block Gibbs sweeps by PyTorch, numba and adabmDCA, each if it is installed.

Up to four levels, the conditional of a site is read from a table over the joint state of its neighbours,

    k = ((x_1 L + x_2) L + x_3) L + x_4          x_i = #{ a : u > T_i[a, k] }          u uniform on (0, 1)

with T the cumulative conditional probabilities; with more levels, it is computed from one row of Boltzmann factors per
neighbour. The tables are made before the clock starts. This was the fastest of the forms tried in PyTorch (masks,
Gumbel, rows, gather, index_select).
"""

import functools
import importlib.util
import os
import shutil
import time

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks.throughput.peers import Path, Prepared, Problem, Tables, numpy_tables
from jaxgen import gibbs

TABLE_LEVELS = 4
# PyTorch's threads spin while they wait; on a machine with other work that costs them a factor of 15.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def threshold_table(tables: Tables) -> Float[np.ndarray, "sites L-1 K"]:
    """Return T[i, a, k] = p(x_i <= a | neighbours in joint state k)."""
    bias, _, weights = tables
    sites, levels = bias.shape
    theta = bias[:, :, None]
    for k in range(weights.shape[1]):
        theta = (theta[..., None] + weights[:, k, :, None, :]).reshape(sites, levels, -1)
    p = np.exp(theta - theta.max(1, keepdims=True))
    return np.ascontiguousarray((p.cumsum(1) / p.sum(1, keepdims=True))[:, :-1], np.float32)


def boltzmann_rows(tables: Tables) -> list[Float[np.ndarray, "sites L L"]]:
    """Return exp W[x_j, x_i] for each neighbour, with the row chosen by the neighbour; the first holds the bias too."""
    rows = [np.exp(tables.weights[:, k].swapaxes(1, 2)) for k in range(tables.weights.shape[1])]
    rows[0] = rows[0] * np.exp(tables.bias)[:, None]
    return rows


def prepare_torch(problem: Problem, sweeps: int, compiled: bool) -> Prepared:
    """Prepare PyTorch: chains last, one checkerboard colour at a time, inverse CDF, on a GPU where PyTorch sees one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    sweep = _torch_table_sweep(problem, device) if problem.levels <= TABLE_LEVELS else _torch_row_sweep(problem, device)
    begin = time.perf_counter()
    start = torch.tensor(problem.start().reshape(problem.chains, -1).T.copy(), device=device)
    if compiled:
        sweep = torch.compile(sweep, dynamic=False)
        with torch.inference_mode():
            sweep(start.clone())

    def run(seed):
        torch.manual_seed(seed)
        states = start.clone()
        with torch.inference_mode():
            for _ in range(sweeps):
                sweep(states)
        return states.cpu().numpy().T.reshape(-1, problem.size, problem.size)

    return Prepared(run, time.perf_counter() - begin if compiled else 0.0)


def _torch_colours(problem: Problem, device: str) -> list[tuple]:
    """Return (sites, neighbours (degree, sites)) of every colour."""
    import torch

    lattice, neighbours = problem.lattice, numpy_tables(problem).neighbours
    of_colour = [np.flatnonzero(lattice.colouring == colour) for colour in range(lattice.n_colours)]
    return [tuple(torch.tensor(a, device=device) for a in (s, neighbours[s].T.copy())) for s in of_colour]


def _torch_table_sweep(problem: Problem, device: str):
    import torch

    table = torch.tensor(threshold_table(numpy_tables(problem)), device=device)
    colours = []
    for sites, around in _torch_colours(problem, device):
        first = torch.arange(len(sites), dtype=torch.int32, device=device)[:, None] * table.shape[2]
        colours.append((sites, around, first, [level.reshape(-1) for level in table[sites].unbind(1)]))

    def sweep(states):
        for sites, around, first, thresholds in colours:
            joint = states.index_select(0, around[0])
            for neighbour in around[1:]:
                joint = joint * problem.levels + states.index_select(0, neighbour)  # below 4^4: fits a byte
            where = (joint.int() + first).reshape(-1)
            uniform = torch.rand(where.shape, device=device)
            drawn = torch.zeros(where.shape, dtype=torch.uint8, device=device)
            for threshold in thresholds:
                drawn += uniform > threshold.index_select(0, where)
            states.index_copy_(0, sites, drawn.view(joint.shape))

    return sweep


def _torch_row_sweep(problem: Problem, device: str):
    import torch

    levels = problem.levels
    rows = [torch.tensor(r.reshape(-1, levels), device=device) for r in boltzmann_rows(numpy_tables(problem))]
    colours = [(s, around, (s * levels)[:, None]) for s, around in _torch_colours(problem, device)]

    def sweep(states):
        for sites, around, first in colours:
            weights = 1.0
            for neighbour, row in zip(around, rows, strict=True):
                weights = weights * torch.nn.functional.embedding(states.index_select(0, neighbour) + first, row)
            cumulative = weights.cumsum(-1)
            uniform = torch.rand(cumulative[..., :1].shape, device=device) * cumulative[..., -1:]
            states.index_copy_(0, sites, (uniform > cumulative[..., :-1]).sum(-1, dtype=torch.uint8))

    return sweep


@functools.cache
def _numba_kernels():
    import numba

    u32, f32, i32 = np.uint32, np.float32, np.int32
    grain = f32(2**-24)

    @numba.njit(inline="always")
    def uniforms(state, out):
        for j in range(len(state)):
            x = state[j]
            x = u32(x ^ u32(x << u32(13)))
            x = u32(x ^ u32(x >> u32(17)))
            state[j] = x = u32(x ^ u32(x << u32(5)))
            out[j] = f32(i32(x >> u32(8))) * grain

    @numba.njit(parallel=True, fastmath=True)
    def by_table(x, rng, sweeps, neighbours, table):
        chains, levels, degree = x.shape[2], i32(table.shape[1] + 1), neighbours.shape[1]
        for block in numba.prange(x.shape[0]):
            u, joint = np.empty(chains, f32), np.empty(chains, i32)
            for _ in range(sweeps):
                for i in range(x.shape[1]):
                    uniforms(rng[block], u)
                    joint[:] = 0
                    for d in range(degree):
                        n = neighbours[i, d]
                        for j in range(chains):
                            joint[j] = joint[j] * levels + i32(x[block, n, j])
                    for j in range(chains):
                        level = i32(0)
                        for a in range(table.shape[1]):
                            level += i32(u[j] > table[i, a, joint[j]])
                        x[block, i, j] = level

    @numba.njit(parallel=True, fastmath=True)
    def by_rows(x, rng, sweeps, neighbours, rows):
        chains, levels, degree = x.shape[2], rows.shape[3], neighbours.shape[1]
        for block in numba.prange(x.shape[0]):
            u, weight = np.empty(chains, f32), np.empty(levels, f32)
            for _ in range(sweeps):
                for i in range(x.shape[1]):
                    uniforms(rng[block], u)
                    for j in range(chains):
                        weight[:] = 1
                        for d in range(degree):
                            c = x[block, neighbours[i, d], j]
                            for a in range(levels):
                                weight[a] *= rows[d, i, c, a]
                        threshold = u[j] * weight.sum()
                        total, level = f32(0), 0
                        for a in range(levels - 1):
                            total += weight[a]
                            level += threshold > total
                        x[block, i, j] = level

    return by_table, by_rows


def prepare_numba(problem: Problem, sweeps: int) -> Prepared:
    """Prepare numba: raster scans, chains last, one block per thread, a 32-bit xorshift, weaker than threefry."""
    import numba

    by_table, by_rows = _numba_kernels()
    tables = numpy_tables(problem)
    kernel = by_table if problem.levels <= TABLE_LEVELS else by_rows
    model = threshold_table(tables) if problem.levels <= TABLE_LEVELS else np.stack(boltzmann_rows(tables))
    blocks = min(numba.get_num_threads(), problem.chains)
    width = -(-problem.chains // blocks)
    start = np.zeros((problem.size**2, blocks * width), np.uint8)
    start[:, : problem.chains] = problem.start().reshape(problem.chains, -1).T
    start = np.ascontiguousarray(start.reshape(-1, blocks, width).swapaxes(0, 1))

    def run(seed, sweeps=sweeps):
        states = start.copy()
        rng = np.random.default_rng(seed).integers(1, 2**32, (blocks, width), np.uint32)
        kernel(states, rng, sweeps, tables.neighbours, model)
        flat = states.swapaxes(1, 2).reshape(blocks * width, -1)
        return flat[: problem.chains].reshape(-1, problem.size, problem.size)

    begin = time.perf_counter()
    run(0, sweeps=0)
    return Prepared(run, time.perf_counter() - begin)


def prepare_adabmdca(problem: Problem, sweeps: int) -> Prepared:
    """Prepare adabmDCA's sampler: dense couplings, one-hot chains; a sweep draws as many random sites as there are."""
    import torch
    from adabmDCA.sampling import prepare_sampler

    lattice, levels, params = problem.lattice, problem.levels, problem.params()
    dense = np.zeros((lattice.n_sites, levels, lattice.n_sites, levels), np.float32)
    for offset, weights in gibbs.edge_couplings(lattice, params):
        source, target = lattice.edges(offset)
        weights = np.asarray(jnp.reshape(weights, (-1, levels, levels)))
        dense[source, :, target] = weights
        dense[target, :, source] = weights.swapaxes(1, 2)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = {"bias": np.asarray(params["bias"]).reshape(-1, levels), "coupling_matrix": dense}
    model = {name: torch.tensor(value, device=device) for name, value in model.items()}
    start = torch.tensor(problem.start().reshape(problem.chains, -1).astype(np.int64), device=device)
    start = torch.nn.functional.one_hot(start, levels).float()
    sampler = prepare_sampler("gibbs", device)

    def run(seed):
        torch.manual_seed(seed)
        with torch.inference_mode():
            states = sampler(start, model, sweeps, 1.0).argmax(-1)
        return states.cpu().numpy().astype(np.uint8).reshape(-1, problem.size, problem.size)

    return Prepared(run, 0.0)


def installed_peers(quick: bool) -> tuple[dict[str, Path], list[str]]:
    """Return the peers that can run here, and why each other one cannot."""
    paths, absent = {}, []
    has = {name: importlib.util.find_spec(name) is not None for name in ("torch", "numba", "adabmDCA")}
    if has["torch"]:
        paths["PyTorch"] = Path(functools.partial(prepare_torch, compiled=False))
        if quick:
            absent.append("PyTorch compiled: left out by --quick")
        elif shutil.which("g++") or shutil.which("clang++"):
            paths["PyTorch compiled"] = Path(functools.partial(prepare_torch, compiled=True), slow=True)
        else:
            absent.append("PyTorch compiled: no C++ compiler")
    if has["numba"]:
        paths["numba"] = Path(prepare_numba, note="xorshift32; table up to 4 levels; compiled once, at the gate")
    if has["torch"] and has["adabmDCA"]:
        paths["adabmDCA"] = Path(prepare_adabmdca, slow=True, note="random sites", gate_chains=4096, least_sweeps=1)
    absent += [f"{name}: not installed" for name, installed in has.items() if not installed]
    return paths, absent
