"""The GPU kernel against the lattice engine, whose law is tested elsewhere: with one key they draw the same states.

Without a GPU the kernel runs interpreted, and is compiled as far as a machine without one can: lowered for CUDA.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_params

from jaxgen import UserError, gibbs
from jaxgen.gibbs import Lattice
from jaxgen.gibbs.arguments import checked_arguments
from jaxgen.gibbs.engines import kernel as kernel_engine

sample_module = importlib.import_module("jaxgen.gibbs.sample")
CASES = {  # lattice, levels, coupling, whether sites are clamped and every chain has a field
    "matrices": (Lattice.grid(5, 4), 3, "edge", True),
    "four colours": (Lattice.grid(4, 3, "8"), 2, "edge", False),
    "torus": (Lattice(4, 6, ((0, 1), (1, 2)), "periodic"), 3, "tied", False),
}
CHAINS = 5  # in blocks of 4: the second block is filled up
SWEEPS = 3


@pytest.fixture
def interpreted(monkeypatch):
    """The name of an engine: the kernel, interpreted, with several chains a block and several pieces a row of cells."""
    monkeypatch.setattr(kernel_engine, "THREADS", 4)
    monkeypatch.setattr(kernel_engine, "_ENOUGH_PROGRAMS", 1)
    run = functools.partial(kernel_engine.run, launch=kernel_engine.interpreted)
    monkeypatch.setitem(sample_module._ENGINES, "interpreted", run)
    return "interpreted"


def arguments(case, n):
    """Arguments of gibbs.sample after the key, and its conditions."""
    lattice, levels, coupling, conditioned = CASES[case]
    rng = np.random.default_rng(40)
    x = rng.integers(levels, size=(n, lattice.height, lattice.width), dtype=np.uint8)
    around = {"chain_ids": jnp.asarray(rng.permutation(1000)[:n], jnp.uint32)}
    if conditioned:
        around["clamp"] = rng.random(x.shape) < 0.3
        around["field"] = rng.normal(size=(*x.shape, levels)).astype(np.float32)
    return (lattice, random_params(41, lattice, levels, coupling), x), around


@pytest.mark.parametrize(
    "case", [case if case == "matrices" else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_the_states_are_those_of_the_lattice_engine(case, interpreted):
    (lattice, params, x), around = arguments(case, CHAINS)
    for beta in (0.9, 150.0):  # products, then logarithms
        (expected, _), (states, info) = (
            gibbs.sample(jax.random.key(42), lattice, params, x, SWEEPS, engine=engine, beta=beta, **around)
            for engine in ("lattice", interpreted)
        )
        np.testing.assert_array_equal(states, expected)
        free = x.size if "clamp" not in around else (~around["clamp"]).sum()
        assert int(info.sweeps) == SWEEPS and info.site_updates == SWEEPS * free
        assert np.mean(np.asarray(states) != x) > 0.1


def test_an_older_jax_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 1))
    monkeypatch.setattr(jax, "__version__", "0.10.1")
    with pytest.raises(UserError, match=r"jax is 0\.10\.1; allowed with engine 'kernel': 0\.10\.2 or newer"):
        kernel_engine.on_gpu(None, 1, (), (1, 1))


@pytest.mark.skipif(jax.__version_info__ < kernel_engine.OLDEST_JAX, reason="this jax cannot compile the kernel")
def test_it_lowers_for_cuda():
    (lattice, params, x), around = arguments("matrices", 64)
    params, x, conditions = checked_arguments(lattice, params, x, 1.0, around["clamp"], around["field"])

    def sampler(key, params, x, conditions):
        launch = functools.partial(kernel_engine.on_gpu)  # not itself: that is refused where there is no GPU
        return kernel_engine.run(jax.random.wrap_key_data(key), lattice, params, x, 50, conditions, launch)[0]

    exported = jax.export.export(jax.jit(sampler), platforms=["cuda"])(np.zeros(2, np.uint32), params, x, conditions)
    assert exported.mlir_module().count("call @mosaic_gpu") == 2  # products and logarithms
    assert exported.out_avals[0].shape == x.shape


def refused(message, lattice, levels, coupling="edge", engine="kernel", n=2):
    x = np.zeros((n, lattice.height, lattice.width), np.uint8)
    with pytest.raises(ValueError, match=message):
        gibbs.sample(jax.random.key(0), lattice, random_params(0, lattice, levels, coupling), x, 1, engine=engine)


def test_refusals(interpreted):
    if jax.default_backend() != "gpu":
        refused("engine is 'kernel' on a cpu; allowed: on an NVIDIA GPU. Use 'lattice'", Lattice.grid(3, 3), 2)
    message = r"params\['bias'\] has 5 levels; allowed with engine='kernel' and edge couplings: up to 4. Use 'lattice'"
    refused(message, Lattice.grid(3, 3), 5, engine=interpreted)
    message = r"params\['bias'\] has 17 levels; allowed with engine='kernel' and tied couplings: up to 16"
    refused(message, Lattice.grid(3, 3), 17, "tied", interpreted)
    refused(
        "lattice is 300 x 300, where a chain takes 67500 words of shared memory; allowed .*: up to 57344",
        Lattice.grid(300, 300, boundary="periodic"),
        2,
        "tied",
        interpreted,
    )


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
@pytest.mark.parametrize("case", CASES)
def test_on_a_gpu_the_states_are_those_of_the_lattice_engine(case):
    """The exception are uniforms within a rounding of a threshold, where the compilers contract differently."""
    (lattice, params, x), around = arguments(case, 2000)
    for beta in (0.9, 150.0):
        expected, states = (
            np.asarray(gibbs.sample(jax.random.key(45), lattice, params, x, 20, engine=e, beta=beta, **around)[0])
            for e in ("lattice", "kernel")
        )
        assert np.mean(states != expected) < 1e-3 and np.mean(states != x) > 0.1
