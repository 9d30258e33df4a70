"""Bad input to the engines is refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_params

from jaxgen import gibbs
from jaxgen.gibbs import Lattice

GRID, PARAMS = Lattice.grid(3, 4), random_params(0, Lattice.grid(3, 4), 3)
IMAGES = np.zeros((2, 3, 4), np.uint8)


def refused(message, lattice=GRID, params=PARAMS, x=IMAGES, n_sweeps=1, **conditions):
    with pytest.raises(ValueError, match=message):
        gibbs.sample(jax.random.key(0), lattice, params, x, n_sweeps, **conditions)


@pytest.mark.parametrize("n_sweeps", [0, -1, True, 2.0, "3", None])
def test_sweeps_are_at_least_one(n_sweeps):
    refused(rf"n_sweeps: got {n_sweeps!r}, must be an integer of at least 1", n_sweeps=n_sweeps)


def test_refusals():
    refused(
        "engine: got 'fast', allowed are lattice, lattice13, kernel, thrml, sequential, columns, graph", engine="fast"
    )
    torus = Lattice.grid(3, 3, boundary="periodic")
    refused(
        r"engine: 'lattice' needs a colouring by 2 x 2 tiles, which the periodic 3 x 3 .* use 'graph', 'thrml' or",
        torus,
        random_params(0, torus, 2),
        np.zeros((1, 3, 3), np.uint8),
        engine="lattice13",
    )
    refused(r"x: got int32 \(2, 3, 4\), must be uint8 \(n, 3, 4\) with n >= 1", x=IMAGES.astype(np.int32))
    refused(r"x: got uint8 \(2, 4, 3\)", x=IMAGES.reshape(2, 4, 3))
    refused(r"x: got uint8 \(0, 3, 4\)", x=IMAGES[:0])
    refused(r"x: got a state of 3, allowed are 0..2", x=IMAGES + np.uint8(3))
    refused(r"clamp: got bool \(3, 3\), must be bool \(3, 4\) or \(2, 3, 4\)", clamp=np.zeros((3, 3), bool))
    refused(r"clamp: got uint8 \(3, 4\)", clamp=np.zeros((3, 4), np.uint8))
    refused(r"clamp: got bool \(1, 3, 4\)", clamp=np.zeros((1, 3, 4), bool))
    refused(r"field: got shape \(3, 4\), must be \(3, 4, 3\) or \(2, 3, 4, 3\)", field=np.zeros((3, 4)))
    refused(r"chain_ids: got shape \(3,\), must be \(2,\)", chain_ids=jnp.arange(3))
    for bad in (np.nan, np.inf):
        refused("beta: got a value that is not finite", beta=bad)
        refused("field: got a value that is not finite", field=np.full((3, 4, 3), bad, np.float32))
        refused("params: got a value that is not finite", params=PARAMS | {"bias": PARAMS["bias"] + bad})


def test_refused_parameters():
    refused(r"params: got entries \['bias'\], missing \['coupling'\]", params={"bias": PARAMS["bias"]})
    refused(
        r"params\['bias'\]: got shape \(4, 3, 3\), must be \(3, 4, L\)", params=random_params(0, Lattice.grid(4, 3), 3)
    )
    refused(r"params\['coupling'\]: got shape \(3,\), must be \(2,\)", params=PARAMS | {"coupling": jnp.zeros(3)})
    across, down = PARAMS["coupling"]["0,1"], PARAMS["coupling"]["1,0"]
    refused(r"params\['coupling'\]: got offsets \['0,1'\]", params=PARAMS | {"coupling": {"0,1": across}})
    swapped = {"0,1": down, "1,0": across}
    refused(
        r"params\['coupling'\]\['0,1'\]: got shape \(2, 4, 3, 3\), must be \(3, 3, 3, 3\)",
        params=PARAMS | {"coupling": swapped},
    )
    one_level = {"bias": PARAMS["bias"][..., :1], "coupling": jnp.zeros(2)}
    refused(r"params\['bias'\]: got shape \(3, 4, 1\), must be .* with 2 <= L <= 256", params=one_level)
    with pytest.raises(ValueError, match="stage: got 0, must be at least 1"):
        list(gibbs.sample_stages(jax.random.key(0), GRID, PARAMS, IMAGES, 4, 0))
