"""Bad input to the engines is refused by name."""

import commands
import flax.core
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
    refused(rf"n_sweeps is {n_sweeps!r}; allowed: an integer, 1 to 2147483647", n_sweeps=n_sweeps)


def test_refusals():
    refused("engine is 'fast'; allowed: lattice, lattice13, kernel, thrml, sequential, columns, graph", engine="fast")
    torus = Lattice.grid(3, 3, boundary="periodic")
    refused(
        r"lattice is periodic, 3 x 3, .*; allowed with engine='lattice': .*by 2 x 2 tiles. Use 'graph', 'thrml' or",
        torus,
        random_params(0, torus, 2),
        np.zeros((1, 3, 3), np.uint8),
        engine="lattice13",
    )
    refused(r"x is int32 \(2, 3, 4\); allowed: uint8 \(n, 3, 4\) with n of 1 or more", x=IMAGES.astype(np.int32))
    refused(r"x is uint8 \(2, 4, 3\)", x=IMAGES.reshape(2, 4, 3))
    refused(r"x is uint8 \(0, 3, 4\)", x=IMAGES[:0])
    refused(r"x has a state of 3; allowed: 0..2", x=IMAGES + np.uint8(3))
    refused(r"clamp is bool \(3, 3\); allowed: bool \(3, 4\) or \(2, 3, 4\)", clamp=np.zeros((3, 3), bool))
    refused(r"clamp is uint8 \(3, 4\)", clamp=np.zeros((3, 4), np.uint8))
    refused(r"clamp is bool \(1, 3, 4\)", clamp=np.zeros((1, 3, 4), bool))
    refused(r"field has shape \(3, 4\); allowed: \(3, 4, 3\) or \(2, 3, 4, 3\)", field=np.zeros((3, 4)))
    refused(r"chain_ids is int32 \(3,\); allowed: integers of shape \(2,\)", chain_ids=jnp.arange(3))
    refused(r"chain_ids is float32 \(2,\); allowed: integers", chain_ids=jnp.array([0.1, 0.9]))
    refused("chain_ids repeats 7; allowed: every number once", chain_ids=[7, 7])
    refused(r"chain_ids has -1\.\.0; allowed: 0\.\.4294967295", chain_ids=[0, -1])
    for bad in (np.nan, np.inf):
        refused("beta is .*; allowed: 0 or more, finite in float32", beta=bad)
        message = "has an entry that is NaN or [+]inf; allowed: finite, or -inf for forbidden"
        refused(f"field {message}", field=np.full((3, 4, 3), bad, np.float32))
        refused(rf"params\['bias'\] {message}", params=PARAMS | {"bias": PARAMS["bias"] + bad})
    refused("field has dtype complex64; allowed: real numbers", field=np.zeros((3, 4, 3), np.complex64))
    refused("field has an entry that is NaN or [+]inf", field=np.full((3, 4, 3), 1e39))
    refused(r"x is int64 \(2, 3, 4\); allowed: uint8", x=IMAGES.tolist())
    refused("params is list; allowed: a mapping with 'bias' and 'coupling'", params=[1, 2])


def test_arguments_of_another_kind_are_refused():
    refused("lattice is NoneType; allowed: a gibbs.Lattice or a gibbs.Graph", lattice=None)
    refused(r"engine is \['lattice'\]; allowed: lattice", engine=["lattice"])
    refused("n_sweeps is 2147483648; allowed: an integer, 1 to 2147483647", n_sweeps=2**31)
    for key in (0, jax.random.split(jax.random.key(0)), jnp.zeros(2), None):
        with pytest.raises(ValueError, match=r"key is .*; allowed: one key, jax.random.key\(seed\)"):
            gibbs.sample(key, GRID, PARAMS, IMAGES, 1)
    with pytest.raises(ValueError, match=r"neighbourhood is \['4'\]; allowed: 4, 8"):
        Lattice.grid(3, 3, ["4"])


@pytest.mark.parametrize("engine", ["lattice", "thrml", "sequential", "columns", "graph"])
def test_beta_is_one_number_of_at_least_zero_in_every_engine(engine):
    refused("beta is .* allowed: 0 or more, finite in float32", beta=1e39, engine=engine)
    refused("beta is -0.5; allowed: 0 or more, finite in float32", beta=-0.5, engine=engine)
    refused(r"beta is float32 \(3,\); allowed: one finite number, 0 or more", beta=jnp.ones(3), engine=engine)


def test_any_mapping_and_lists_are_taken():
    key, clamp = jax.random.key(0), np.arange(12).reshape(3, 4) % 2 == 0
    expected, _ = gibbs.sample(key, GRID, PARAMS, IMAGES, 2, clamp=clamp, chain_ids=jnp.array([3, 1]))
    states, _ = gibbs.sample(
        key, GRID, flax.core.freeze(PARAMS), IMAGES, 2, clamp=clamp.tolist(), chain_ids=[3, 1], beta=jnp.ones(())
    )
    np.testing.assert_array_equal(states, expected)


def test_256_levels_and_states_closed_over_by_jit():
    """Tested with the engine that compiles in a second at 256 levels; every engine checks the states alike."""
    lattice = Lattice.grid(1, 2)
    params = random_params(0, lattice, 256)
    x = jnp.array([[[255, 0]]], jnp.uint8)
    expected, _ = gibbs.sample(jax.random.key(1), lattice, params, x, 1, engine="sequential")
    run = jax.jit(lambda p: gibbs.sample(jax.random.key(1), lattice, p, x, 1, engine="sequential")[0])
    states = run(params)
    np.testing.assert_array_equal(states, expected)


def test_refused_parameters():
    refused(
        r"params has entries \['bias'\]; allowed: a mapping with 'bias' and 'coupling\'",
        params={"bias": PARAMS["bias"]},
    )
    refused(
        r"params\['bias'\] has shape \(4, 3, 3\); allowed: \(3, 4, L\)", params=random_params(0, Lattice.grid(4, 3), 3)
    )
    refused(r"params\['coupling'\] has shape \(3,\); allowed: \(2,\)", params=PARAMS | {"coupling": jnp.zeros(3)})
    across, down = PARAMS["coupling"]["0,1"], PARAMS["coupling"]["1,0"]
    refused(r"params\['coupling'\] has offsets \['0,1'\]", params=PARAMS | {"coupling": {"0,1": across}})
    swapped = {"0,1": down, "1,0": across}
    refused(
        r"params\['coupling'\]\['0,1'\] has shape \(2, 4, 3, 3\); allowed: \(3, 3, 3, 3\)",
        params=PARAMS | {"coupling": swapped},
    )
    one_level = {"bias": PARAMS["bias"][..., :1], "coupling": jnp.zeros(2)}
    refused(r"params\['bias'\] has shape \(3, 4, 1\); allowed: .* L in 2..256", params=one_level)
    with pytest.raises(ValueError, match="stage is 0; allowed: an integer, 1 or more"):
        list(gibbs.sample_stages(jax.random.key(0), GRID, PARAMS, IMAGES, 4, 0))


@pytest.mark.skipif(jax.device_count() < 2, reason="run by the test below in a process with two devices")
@pytest.mark.parametrize(
    "make_mesh",
    [
        lambda devices: jax.sharding.Mesh(devices, "chains"),
        lambda devices: jax.make_mesh((2,), ("chains",), devices=devices),  # with explicit axes
    ],
    ids=["automatic", "explicit"],
)
@pytest.mark.parametrize("engine", ["lattice", "graph", "sequential"])
def test_arrays_of_any_sharding(engine, make_mesh):
    mesh = make_mesh(jax.devices()[:2])
    spec = jax.sharding.PartitionSpec
    copied, by_chain = (jax.sharding.NamedSharding(mesh, spec(*axes)) for axes in ((), ("chains",)))
    x = jnp.zeros((4, 3, 4), jnp.uint8)
    expected, _ = gibbs.sample(jax.random.key(0), GRID, PARAMS, x, 2, engine=engine)
    params = jax.device_put(PARAMS, copied)
    bound = jax.device_put(PARAMS, jax.devices()[1])
    for p, start in (
        (params, x),
        (params, jax.device_put(x, by_chain)),
        (bound, jax.device_put(x, by_chain)),
        (bound, x),
    ):
        states, _ = gibbs.sample(jax.random.key(0), GRID, p, start, 2, engine=engine)
        np.testing.assert_array_equal(states, expected)
    split = params | {"bias": jax.device_put(PARAMS["bias"], jax.sharding.NamedSharding(mesh, spec(None, "chains")))}
    states, _ = gibbs.sample(jax.random.key(0), GRID, split, x, 2, engine=engine)
    np.testing.assert_array_equal(states, expected)


@pytest.mark.slow
def test_arrays_of_any_sharding_on_two_devices():
    status, out, _ = commands.ended(
        commands.start("pytest", __file__, "-n0", "-k", "any_sharding and not two", devices=2)
    )
    assert status == 0 and "6 passed" in out, out


def test_a_site_without_an_allowed_level_is_refused_where_it_is_known():
    bias = np.asarray(PARAMS["bias"]).copy()
    bias[1, 2, :2] = -np.inf
    field = np.zeros((2, 3, 4, 3))
    field[1, 1, 2, 2] = -np.inf
    message = r"bias and field forbid \(-inf\) every level of site "
    refused(message + r"\(1, 1, 2\)", params=PARAMS | {"bias": bias}, field=field)
    bias[1, 2, 2] = -np.inf
    refused(message + r"\(1, 2\); allowed: at least one", params=PARAMS | {"bias": bias})
    graph = gibbs.Graph([(0, 1)], 2, [2, 3])
    forbidden = np.array([[-np.inf, -np.inf, 0], [0, 0, 0]])  # the third level of the first site does not exist
    refused(message + r"\(0,\)", graph, {"bias": forbidden, "coupling": np.zeros(1)}, np.zeros((1, 2), np.uint8))
