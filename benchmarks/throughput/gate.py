"""The check, before a path is timed, that it samples the right law.

Independent chains run SWEEPS sweeps from uniform noise. Pearson's chi-square compares the states of every site and of
every edge with enumeration on a 3 x 3 grid (with the transfer matrix where L^9 is too many), and with THRML's there and
at the size that is timed. Bonferroni over sites and edges: a right path fails a check with probability at most ALPHA.
"""

import time

import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Int

from benchmarks.throughput.peers import Path, Problem
from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.oracles import enumeration, transfer_matrix

ALPHA = 1e-5
SWEEPS = 30
SIDE = 3
SEED = 20
LEAST_EXPECTED = 5.0


def small_problem(path: Path, levels: int, coupling: str) -> Problem:
    """Return the grid on which the law is known exactly."""
    return Problem(SIDE, levels, path.gate_chains, coupling)


def sampled(path: Path, problem: Problem) -> tuple[np.ndarray, float]:
    """Return the states after SWEEPS sweeps, and the site updates per nanosecond, by which longer runs are planned."""
    run = path.prepare(problem, SWEEPS).run
    begin = time.perf_counter()
    states = np.asarray(run(SEED))
    return states, problem.updates_per_sweep * SWEEPS / (time.perf_counter() - begin) * 1e-9


def row(engine: str, problem: Problem, p_exact: float | None, p_thrml: float, ok: bool) -> dict:
    """Return one check in the form of the record."""
    return {"engine": engine, **problem._asdict(), "p_exact": p_exact, "p_thrml": p_thrml, "ok": ok}


def p_against_exact(problem: Problem, states: Array) -> float:
    """Return the Bonferroni-corrected p-value of the states under the exact law."""
    law = enumeration if problem.levels**problem.lattice.n_sites <= enumeration.MAX_STATES else transfer_matrix
    wanted = law.marginals(problem.lattice, problem.params())
    pairs = [np.asarray(wanted["coupling"][gibbs.offset_name(o)], np.float64) for o in problem.lattice.offsets]
    groups = [np.asarray(wanted["bias"], np.float64).reshape(-1, problem.levels)]
    groups += [pair.reshape(-1, problem.levels**2) for pair in pairs]
    observed = _counts(problem, states)
    p = [
        _chi_square(count, law * len(states))
        for counts, laws in zip(observed, groups, strict=True)
        for count, law in zip(counts, laws, strict=True)
    ]
    return min(1.0, min(p) * len(p))


def p_against(problem: Problem, states: Array, others: Array) -> float:
    """Return the Bonferroni-corrected p-value of two sets of independent states under one law (chi-square)."""
    ratio = np.sqrt(len(others) / len(states))
    p = []
    for a, b in zip(_counts(problem, states), _counts(problem, others), strict=True):
        total = a + b
        statistic = ((ratio * a - b / ratio) ** 2 / np.maximum(total, 1)).sum(1)
        p.append(scipy.stats.chi2.sf(statistic, np.maximum((total > 0).sum(1) - 1, 1)))
    p = np.concatenate(p)
    return float(min(1.0, p.min() * len(p)))


def _counts(problem: Problem, states: Array) -> list[Int[np.ndarray, "places cells"]]:
    """Return how often each site has each level, then, for each offset, how often each edge has each pair of levels."""
    levels = problem.levels
    flat = np.asarray(states).reshape(len(states), -1).astype(np.int64)
    if flat.max() >= levels:
        raise UserError(f"states has a level of {flat.max()}; allowed: 0 to {levels - 1}")
    codes = [(flat, levels)]
    for offset in problem.lattice.offsets:
        source, target = problem.lattice.edges(offset)
        codes.append((flat[:, source] * levels + flat[:, target], levels**2))
    counts = []
    for code, cells in codes:
        places = code.shape[1]
        counts.append(np.bincount((code + cells * np.arange(places)).ravel(), minlength=places * cells))
    return [c.reshape(-1, cells) for c, (_, cells) in zip(counts, codes, strict=True)]


def _chi_square(counts: Int[np.ndarray, "cells"], expected: Float[np.ndarray, "cells"]) -> float:
    """Return the p-value; cells are pooled, rarest first, until every one expects LEAST_EXPECTED."""
    order = np.argsort(expected)
    expected, counts = expected[order], counts[order]
    pooled = max(np.searchsorted(expected, LEAST_EXPECTED), np.searchsorted(expected.cumsum(), LEAST_EXPECTED) + 1)
    expected = np.append(expected[pooled:], expected[:pooled].sum())
    counts = np.append(counts[pooled:], counts[:pooled].sum())
    return float(scipy.stats.chisquare(counts, expected * (counts.sum() / expected.sum())).pvalue)
