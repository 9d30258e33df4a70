"""Scan orders of Gibbs sampling compared with predictions: two colours, four colours, site by site.

On a lattice with two colours, updating the even sites in one block or in two gives the same kernel, since even sites
are independent given the odd ones. With four colours in 2 x 2 tiles, in the order of the lattice's colouring,

    P_4 = E_1 O E_2     and     P_2 = E_1 E_2 O

are cyclic shifts of each other. They have the same eigenvalues, so the same autocorrelation at equilibrium, apart from
the point of the sweep at which states are observed: the predicted ratio of autocorrelation times is 1, at twice as many
passes. A raster scan relates to the checkerboard scan as lexicographic to red-black Gauss-Seidel, which converge at the
same rate for Gaussian fields (Young 1954; Goodman and Sokal 1989): the predicted ratio is about 1 as well, at as many
passes as there are sites. Blocked columns (engine "columns") make moves that single sites cannot: the predicted ratio
is below 1.
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp

from jaxgen import gibbs, runs
from jaxgen.errors import UserError
from jaxgen.potts.studies.trajectory import Mixing

BLOCKED_COLUMNS = "blocked columns"
_DIAGONAL = (1, 1)  # one is enough to make a checkerboard improper
_WINDOW = 5  # of `gibbs.integrated_autocorrelation_time`


def in_four_colours(lattice: gibbs.Lattice, params: dict) -> tuple[gibbs.Lattice, dict]:
    """Return the same model on a lattice with four colours: diagonal edges of one direction with coupling 0 are added.

    UserError for a lattice that has more than two colours already.
    """
    if lattice.n_colours > 2:
        raise UserError(f"lattice has {lattice.n_colours} colours; allowed: a lattice for which two suffice")
    wider = gibbs.Lattice(lattice.height, lattice.width, (*lattice.offsets, _DIAGONAL), lattice.boundary)
    coupling, levels = params["coupling"], gibbs.n_levels(params)
    if gibbs.is_tied(params):
        coupling = jnp.append(coupling, 0.0)
    else:
        idle = jnp.zeros((*wider.edge_shape(_DIAGONAL), levels, levels))
        coupling = coupling | {gibbs.offset_name(_DIAGONAL): idle}
    return wider, {"bias": params["bias"], "coupling": coupling}


def relative_error(mixing: Mixing, tau: float) -> float:
    """Return the relative standard error of tau, sqrt(2 (2 M + 1) / (n T)) with window M (Sokal 1997, eq. 3.19)."""
    _, sweeps, chains = mixing.settled.shape
    return math.sqrt(2 * (2 * max(10.0, _WINDOW * tau) + 1) / (sweeps * chains))


def scan_rows(scans: Mapping[str, Mixing]) -> list[runs.Row]:
    """Return rows of tau of each scan divided by tau of the first, per observable, with two standard errors.

    Args:
        scans: the runs by name; the others are compared with the first.
    """
    rows = []
    (first, reference), *others = scans.items()
    for name, mixing in others:
        for what, mine, theirs in zip(("energy", "component"), mixing.times, reference.times, strict=True):
            quantity = f"{name} / {first}: autocorrelation time of the {what}"
            target = "< 1 predicted" if name == BLOCKED_COLUMNS else "1 predicted"
            if math.isfinite(mine) and math.isfinite(theirs):
                error = math.hypot(relative_error(mixing, mine), relative_error(reference, theirs))
                ratio = mine / theirs
                note = f"+- {2 * error * ratio:.2g}, two standard errors"
                rows.append(runs.Row(quantity, ratio, "", target, note))
            else:
                rows.append(runs.Row(quantity, "longer than the run can measure", "", target))
    return rows
