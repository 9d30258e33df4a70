"""Known thermodynamics of the two-dimensional Ising and Potts models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special

from jaxgen import gibbs
from jaxgen.gibbs import Lattice


def energies_per_site(levels, beta, x, warm_up, calls):
    """Mean over `calls` calls of E / sites of every chain, E = -sum delta, on a torus."""
    lattice = Lattice.grid(*x.shape[1:], boundary="periodic")
    params = {"bias": jnp.zeros((*x.shape[1:], levels)), "coupling": jnp.ones(2)}
    total = 0.0
    for call, key in enumerate(jax.random.split(jax.random.key(21), warm_up + calls)):
        x, _ = gibbs.sample(key, lattice, params, x, 5, beta=beta)
        if call >= warm_up:
            ends = [lattice.ends(np.asarray(x), offset) for offset in lattice.offsets]
            total = total - sum((here == there).mean((1, 2)) for here, there in ends) / calls
    return total


def onsager_energy(k):
    """Onsager 1944, eq. 116: -sum s s' per site of the infinite Ising lattice at K = J / kT."""
    modulus = 2 * np.sinh(2 * k) / np.cosh(2 * k) ** 2
    elliptic = scipy.special.ellipk(modulus**2)
    return -(1 + 2 / np.pi * (2 * np.tanh(2 * k) ** 2 - 1) * elliptic) / np.tanh(2 * k)


@pytest.mark.parametrize("k", [0.3, 0.55])
def test_ising_energy_is_onsagers(k):
    """Off the critical point (0.4407) a 32 x 32 torus is infinite to 1e-6; delta = (1 + s s') / 2, beta = 2 K."""
    x = np.zeros((64, 32, 32), np.uint8)
    energies = energies_per_site(2, 2 * k, x, warm_up=20, calls=80)
    error = energies.std() / np.sqrt(len(energies))
    assert error < 1e-3
    assert abs(energies.mean() - (onsager_energy(k) / 2 - 1)) < 4 * error


def test_four_state_potts_at_its_critical_point():
    """-(1 + 1 / sqrt 4) per site at ln(1 + sqrt 4) (Wu 1982): the mean of hot and cold starts, to 0.06."""
    hot = np.random.default_rng(22).integers(4, size=(64, 32, 32), dtype=np.uint8)
    cold, critical = np.zeros_like(hot), np.log(3)
    energies = [energies_per_site(4, critical, start, 40, 40).mean() for start in (hot, cold)]
    assert abs(np.mean(energies) + 1.5) < 0.06
    assert energies_per_site(4, 0.9 * critical, hot, 15, 10).mean() > -1.3
    assert energies_per_site(4, 1.1 * critical, cold, 15, 10).mean() < -1.7
