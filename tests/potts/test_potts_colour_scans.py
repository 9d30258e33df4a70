"""The prediction about colours, from exact one-sweep matrices; and when chains count as readable."""

import numpy as np
import pytest
from oracles import random_params

from jaxgen import gibbs
from jaxgen.potts.oracles import enumeration
from jaxgen.potts.studies import trajectory
from jaxgen.potts.studies.colour_scans import in_four_colours, scan_rows
from jaxgen.potts.studies.trajectory import Mixing

LATTICE = gibbs.Lattice.grid(2, 4)
PARAMS = random_params(4, LATTICE, 2, scale=1.0)


def test_four_colours_are_a_cyclic_shift_of_two_and_relax_at_the_same_rate():
    wider, params = in_four_colours(LATTICE, PARAMS)
    assert wider.n_colours == 4 and LATTICE.n_colours == 2
    law = np.asarray(enumeration.distribution(LATTICE, PARAMS))
    np.testing.assert_allclose(enumeration.distribution(wider, params), law, rtol=1e-5)
    two = enumeration.sweep_matrix(LATTICE, PARAMS, enumeration.colour_blocks(LATTICE))
    four = enumeration.sweep_matrix(wider, params, enumeration.colour_blocks(wider))
    assert np.abs(two - four).max() > 0.01
    # A site order that is no cyclic shift has other eigenvalues; traces of powers are sums of theirs.
    rough = enumeration.sweep_matrix(LATTICE, PARAMS, [np.array([i]) for i in (0, 2, 1, 3, 5, 4, 7, 6)])
    powers = [[np.trace(np.linalg.matrix_power(p, k)) for k in (1, 2, 5)] for p in (two, four, rough)]
    np.testing.assert_allclose(powers[1], powers[0], rtol=1e-5)
    assert np.abs(np.subtract(powers[2], powers[0])).max() > 2e-4


def test_tied_couplings_in_four_colours_and_a_lattice_that_needs_them():
    tied = random_params(0, LATTICE, 2, "tied")
    wider, params = in_four_colours(LATTICE, tied)
    np.testing.assert_allclose(
        enumeration.distribution(wider, params), enumeration.distribution(LATTICE, tied), rtol=1e-5
    )
    with pytest.raises(ValueError, match="lattice has 4 colours; allowed: a lattice for which two suffice"):
        in_four_colours(wider, params)


def test_readable_from_where_the_share_stays():
    black = [(0, 1.0), (25, 0.4), (50, 0.3), (100, 0.5), (200, 0.8), (400, 0.8), (800, 0.8)]
    assert trajectory.readable_from(black) == (200, pytest.approx(0.8))
    scattered = [(0, 0.0), (100, 0.8), (120, 0.6), (140, 0.8), (160, 0.85), (400, 0.8), (800, 0.8)]
    assert trajectory.readable_from(scattered)[0] == 100  # one low reading among high ones
    assert trajectory.readable_from([(0, 0.9), (10, 0.9)])[0] == 0
    assert trajectory.readable_from([(0, 0.9), (25, 0.8), (50, 0.4)])[0] is None


def ar(tau, n, length, seed):
    """AR(1) chains of both observables with a given autocorrelation time."""
    rng, phi = np.random.default_rng(seed), (tau - 1) / (tau + 1)
    x = [rng.normal(size=(2, n))]
    for _ in range(length - 1):
        x.append(phi * x[-1] + np.sqrt(1 - phi**2) * rng.normal(size=(2, n)))
    return Mixing(np.stack(x, 1), 1.0)


def test_ratios_of_scans_with_their_errors():
    ratios = {
        "two": ar(9, 32, 2000, 0),
        "four": ar(9, 32, 2000, 1),
        "slow": ar(27, 32, 2000, 2),
        "short": ar(200, 4, 60, 3),
    }
    rows = {row.quantity: row for row in scan_rows(ratios)}
    assert len(rows) == 6
    for what in ("energy", "component"):
        same = rows[f"four / two: autocorrelation time of the {what}"]
        error = float(same.note.split()[1].rstrip(","))
        assert abs(same.value - 1) < error < 0.4 and same.target == "1 predicted"
        assert rows[f"slow / two: autocorrelation time of the {what}"].value == pytest.approx(3, rel=0.25)
        assert rows[f"short / two: autocorrelation time of the {what}"].value == "longer than the run can measure"
