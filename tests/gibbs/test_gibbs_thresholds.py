"""The thresholds of a draw, to 2e-4 of a probability: without couplings every update is one draw of its softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistical import ALPHA, chi_square_p

from jaxgen import gibbs

LOGITS = np.array([0.3, -0.5, 0.0, 0.8], np.float32)
UPDATES = 10_000_000  # a threshold 0.998 times too low is then eleven standard deviations off
BATCH = 10


def level_counts(engine: str) -> np.ndarray:
    """How often each level is drawn."""
    lattice = gibbs.Lattice.grid(32, 32)
    params = {"bias": jnp.broadcast_to(jnp.asarray(LOGITS), (32, 32, 4)), "coupling": jnp.zeros(2)}
    chains = UPDATES // BATCH // lattice.n_sites
    x, counts = jnp.zeros((chains, 32, 32), jnp.uint8), np.zeros(4)
    for key in jax.random.split(jax.random.key(0), BATCH):
        x, _ = gibbs.sample(key, lattice, params, x, 1, engine=engine)
        counts += np.bincount(np.asarray(x).ravel(), minlength=4)
    return counts


@pytest.mark.parametrize("engine", ["lattice", "lattice13"])
def test_levels_have_the_shares_of_their_softmax(engine):
    p = np.exp(LOGITS.astype(np.float64))
    assert chi_square_p(level_counts(engine), p / p.sum()) > ALPHA
