"""Small Potts models whose every state can be enumerated, and counts over their states."""

import jax.numpy as jnp
import numpy as np

from jaxgen.gibbs.lattice import Lattice, offset_name
from jaxgen.potts.oracles import enumeration

# name: (lattice, levels). Even and odd tori, two to four colours, a knight's jump, double edges on a 2 x 2 torus.
SMALL_LATTICES = {
    "2x3 open": (Lattice.grid(2, 3), 4),
    "3x3 open": (Lattice.grid(3, 3), 3),
    "2x2 torus": (Lattice.grid(2, 2, boundary="periodic"), 4),
    "3x3 torus": (Lattice.grid(3, 3, boundary="periodic"), 2),
    "3x3 diagonals": (Lattice.grid(3, 3, "8"), 2),
    "2x4 diagonals": (Lattice.grid(2, 4, "8"), 2),
    "2x4 torus diagonals": (Lattice.grid(2, 4, "8", "periodic"), 3),
    "3x3 jumps": (Lattice(3, 3, ((0, 1), (1, 0), (2, 1), (1, -2))), 2),
}


def random_params(seed: int, lattice: Lattice, levels: int, coupling: str = "edge", scale: float = 0.5) -> dict:
    """Independent normal biases and couplings, float32; coupling "edge" or "tied"."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)

    bias = normal(lattice.height, lattice.width, levels)
    if coupling == "tied":
        return {"bias": bias, "coupling": normal(len(lattice.offsets))}
    return {
        "bias": bias,
        "coupling": {
            offset_name(offset): normal(*lattice.edge_shape(offset), levels, levels) for offset in lattice.offsets
        },
    }


def empirical(x, levels: int) -> np.ndarray:
    """How many images x (n, H, W) are in each state, in the order of enumeration.all_states."""
    x = np.asarray(x)
    return np.bincount(enumeration.state_numbers(x, levels), minlength=levels ** x[0].size)


def exact_draws(seed: int, lattice: Lattice, params: dict, n: int, beta: float = 1.0, field=None) -> np.ndarray:
    """n independent images (n, H, W) uint8, by inverting the enumerated distribution function."""
    p = np.asarray(enumeration.distribution(lattice, params, beta, field), np.float64)
    states = enumeration.all_states(lattice, params["bias"].shape[-1])
    return states[np.random.default_rng(seed).choice(len(p), n, p=p / p.sum())]
