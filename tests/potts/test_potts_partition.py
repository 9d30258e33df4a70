"""The bracket of log Z: exact values, and a warning on a model of which the annealed chains miss a mode."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_params

from jaxgen import gibbs, potts
from jaxgen.errors import UserError
from jaxgen.potts.likelihood.annealed_importance import PartitionEstimate
from jaxgen.potts.likelihood.partition import Partition, PartitionWarning, doubts
from jaxgen.potts.oracles import transfer_matrix

GRID = gibbs.Lattice.grid(4, 6)
MODEL = potts.PottsEBM(GRID, 3, "tied")
THREE_MODES = {"bias": jnp.zeros((4, 6, 3)), "coupling": jnp.full(2, 2.5)}


def estimate(seed, tilt, n_temperatures=600):
    """log Z of three modes from a base that leans against the first, and what was warned of."""
    base = jnp.zeros((4, 6, 3)).at[..., 0].set(tilt)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        both = potts.log_partition(jax.random.key(seed), MODEL, THREE_MODES, base, 64, n_temperatures)
    return both, [str(one.message) for one in caught if one.category is PartitionWarning]


@pytest.mark.slow
def test_an_error_bar_that_cannot_be_trusted_is_said_so():
    """All chains end in two of three modes: log Z is log(2/3) too low, with half of the chains effective."""
    log_z = float(transfer_matrix.log_partition(GRID, THREE_MODES))
    for seed in range(4):
        both, said = estimate(seed, -2.0)
        assert both.low.log_z - log_z < -2 * both.low.standard_error and both.low.effective_chains > 20
        assert said and ("differ in" in " ".join(said) or "standard errors" in " ".join(said))
        assert abs(both.high.log_z - log_z) < 3 * both.high.standard_error


def test_a_base_that_finds_every_mode_is_not_warned_of():
    log_z = float(transfer_matrix.log_partition(GRID, THREE_MODES))
    both, said = estimate(0, 0.0)
    assert said == [] and abs(both.low.log_z - log_z) < 3 * both.low.standard_error
    assert both.gap == pytest.approx(both.high.log_z - both.low.log_z)


def ends(log_z_high, x_low, effective=20.0):
    """A bracket with errors of 0.1 whose annealed chains are x_low."""
    weights = np.zeros(len(x_low))
    low = PartitionEstimate(0.0, 0.1, effective, weights, x_low)
    return Partition(low, PartitionEstimate(log_z_high, 0.1, effective, weights, x_low))


def test_every_doubt_has_its_reason():
    lattice = gibbs.Lattice.grid(2, 3)
    params = random_params(0, lattice, 2)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (40, 2, 3)), jnp.uint8)
    assert doubts(ends(0.3, x), lattice, params, x) == []
    (apart,) = doubts(ends(0.5, x), lattice, params, x)
    assert apart.startswith("log Z from above is +0.5 nats from log Z from below")
    (few,) = doubts(ends(0.0, x, effective=3.0), lattice, params, x)
    assert few.startswith("3.0 of 40 chains carry an estimate")
    (missed,) = doubts(ends(0.0, jnp.zeros_like(x)), lattice, params, x)
    assert "differ in" in missed and "misses a mode" in missed


def test_sizes_are_checked_first():
    with pytest.raises(UserError, match="n_chains is 1; allowed"):
        potts.log_partition(jax.random.key(0), MODEL, THREE_MODES, jnp.zeros((4, 6, 3)), 1, 10)
    with pytest.raises(UserError, match="n_temperatures is 0; allowed"):
        potts.log_partition(jax.random.key(0), MODEL, THREE_MODES, jnp.zeros((4, 6, 3)), 8, 0)
