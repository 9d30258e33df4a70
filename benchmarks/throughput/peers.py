"""Ways to run block Gibbs sweeps of one Potts model: THRML, this library's engines, dense JAX, plain Python.

Every path takes the same parameters and states (n, H, W) and returns states (n, H, W). What it derives from the
parameters before the first sweep (programs, tables) is made in `prepare`, outside the timed region, except in the
engines of `gibbs.sample`, which take fresh parameters on every call and so are timed with that work.
"""

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from thrml import Block, BlockGibbsSpec, CategoricalNode, FactorSamplingProgram, SamplingSchedule, sample_states
from thrml.models import CategoricalGibbsConditional, SquareCategoricalEBMFactor

from jaxgen import gibbs
from jaxgen.gibbs.engines import kernel as kernel_engine
from jaxgen.gibbs.engines.sequential import neighbour_table

ANCHOR = "thrml"


class Problem(NamedTuple):
    """A square lattice of side `size` with random parameters, and the states its chains start from."""

    size: int
    levels: int
    chains: int
    coupling: str

    @property
    def lattice(self) -> gibbs.Lattice:
        """Return the lattice of the problem."""
        return gibbs.Lattice.grid(self.size, self.size)

    @property
    def updates_per_sweep(self) -> int:
        """Return the number of site updates per sweep of all chains."""
        return self.size**2 * self.chains

    def params(self) -> dict:
        """Return random parameters."""
        rng = np.random.default_rng(0)
        bias = 0.5 * rng.standard_normal((self.size, self.size, self.levels), np.float32)
        if self.coupling == "tied":
            return {"bias": jnp.asarray(bias), "coupling": jnp.array([0.6, 0.3])}
        shapes = {gibbs.offset_name(o): (*self.lattice.edge_shape(o), *[self.levels] * 2) for o in self.lattice.offsets}
        pairs = {name: jnp.asarray(0.5 * rng.standard_normal(shape, np.float32)) for name, shape in shapes.items()}
        return {"bias": jnp.asarray(bias), "coupling": pairs}

    def start(self) -> UInt8[np.ndarray, "n H W"]:
        """Return uniformly distributed states."""
        shape = (self.chains, self.size, self.size)
        return np.random.default_rng(1).integers(0, self.levels, shape, np.uint8)


class Prepared(NamedTuple):
    """run: seed -> states after the sweeps, all work finished. memory: peak bytes by the compiler's account, if any."""

    run: Callable[[int], Array | np.ndarray]
    compile_s: float
    memory: int | None = None


class Path(NamedTuple):
    """prepare: (problem, sweeps) -> Prepared. slow: timed only at the base case and at one chain.

    one_chain: cannot run several. note: printed with its rows. gate_chains: chains of the correctness gate.
    least_sweeps: fewer would time what a call costs besides sweeps. most_levels: it takes no more.
    """

    prepare: Callable[[Problem, int], Prepared]
    slow: bool = False
    one_chain: bool = False
    note: str = ""
    gate_chains: int = 16384
    least_sweeps: int = 5
    most_levels: int = 256


def compiled_jax(sampler: Callable, params: dict, x: Array) -> Prepared:
    """Compile sampler(key, params, x) ahead of time."""
    x = jnp.asarray(x)
    begin = time.perf_counter()
    seeded = jax.jit(lambda seed, params, x: sampler(jax.random.key(seed), params, x))
    executable = seeded.lower(np.uint32(0), params, x).compile()
    compile_s = time.perf_counter() - begin

    def run(seed):
        return jax.block_until_ready(executable(np.uint32(seed), params, x))

    return Prepared(run, compile_s, stated_memory(executable))


def stated_memory(executable: jax.stages.Compiled) -> int | None:
    """Return arguments, outputs and temporaries in bytes, as the compiler states them."""
    sizes = executable.memory_analysis()
    if sizes is None:
        return None
    return sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes


def prepare_engine(problem: Problem, sweeps: int, engine: str) -> Prepared:
    """Prepare `gibbs.sample` with one of its engines."""

    def sampler(key, params, x):
        return gibbs.sample(key, problem.lattice, params, x, sweeps, engine=engine)[0]

    return compiled_jax(sampler, problem.params(), problem.start())


def thrml_sampler(problem: Problem, schedule: SamplingSchedule) -> Callable[[Array, dict, Array], Array]:
    """THRML by itself: one square factor for the biases, one for all edges, `sample_states`, vmap over chains."""
    lattice, params, levels = problem.lattice, problem.params(), problem.levels
    nodes = [CategoricalNode() for _ in range(lattice.n_sites)]
    sources, targets = (np.concatenate(ends) for ends in zip(*map(lattice.edges, lattice.offsets), strict=True))
    weights = [w.reshape(-1, levels, levels) for _, w in gibbs.edge_couplings(lattice, params)]
    ends = [Block([nodes[i] for i in end]) for end in (sources, targets)]
    factors = [
        SquareCategoricalEBMFactor([Block(nodes)], params["bias"].reshape(-1, levels)),
        SquareCategoricalEBMFactor(ends, jnp.concatenate(weights)),
    ]
    colours = [np.flatnonzero(lattice.colouring == colour) for colour in range(lattice.n_colours)]
    blocks = [Block([nodes[i] for i in sites]) for sites in colours]
    samplers = [CategoricalGibbsConditional(levels) for _ in blocks]
    program = FactorSamplingProgram(BlockGibbsSpec(blocks, []), samplers, factors, [])
    order = np.argsort(np.concatenate(colours))

    def chain(key, x):
        start = [x.ravel()[sites] for sites in colours]
        states = sample_states(key, program, schedule, start, [], blocks)
        return jnp.concatenate([state[0] for state in states])[order].reshape(x.shape)

    return lambda key, params, x: jax.vmap(chain)(jax.random.split(key, len(x)), x)


def prepare_thrml(problem: Problem, sweeps: int) -> Prepared:
    """Return prepared sweeps of THRML."""
    sampler = thrml_sampler(problem, SamplingSchedule(n_warmup=sweeps, n_samples=1, steps_per_sample=0))
    return compiled_jax(sampler, {}, problem.start())


def prepare_dense(problem: Problem, sweeps: int) -> Prepared:
    """Prepare dense JAX: conditionals of the whole grid by gathers, jax.random.categorical, and a checkerboard mask."""
    lattice = problem.lattice
    (_, across), (_, down) = gibbs.edge_couplings(lattice, problem.params())
    bias, still = problem.params()["bias"], (0, 0)

    def pull(rows, x):
        return jnp.take_along_axis(rows[None], x[..., None, None].astype(jnp.int32), axis=-2)[..., 0, :]

    def logits(x):
        theta = bias + jnp.pad(pull(across.swapaxes(2, 3), x[:, :, 1:]), (still, still, (0, 1), still))
        theta += jnp.pad(pull(across, x[:, :, :-1]), (still, still, (1, 0), still))
        theta += jnp.pad(pull(down.swapaxes(2, 3), x[:, 1:]), (still, (0, 1), still, still))
        return theta + jnp.pad(pull(down, x[:, :-1]), (still, (1, 0), still, still))

    def sampler(key, params, x):
        def sweep(x, sweep_key):
            for colour, colour_key in enumerate(jax.random.split(sweep_key)):
                drawn = jax.random.categorical(colour_key, logits(x)).astype(jnp.uint8)
                x = jnp.where(lattice.colouring == colour, drawn, x)
            return x, None

        return jax.lax.scan(sweep, x, jax.random.split(key, sweeps))[0]

    return compiled_jax(sampler, {}, problem.start())


class Tables(NamedTuple):
    """What a peer outside JAX needs of a problem: neighbours of every site (missing: site 0 with weight 0)."""

    bias: Float[np.ndarray, "sites L"]
    neighbours: np.ndarray
    weights: Float[np.ndarray, "sites degree L L"]


def numpy_tables(problem: Problem) -> Tables:
    """Return the parameters as tables over flat sites."""
    neighbours, weights = neighbour_table(problem.lattice, problem.params())
    bias = np.asarray(problem.params()["bias"]).reshape(-1, problem.levels)
    return Tables(bias, neighbours.astype(np.int64), np.asarray(weights))


def prepare_python(problem: Problem, sweeps: int) -> Prepared:
    """Prepare numpy on a few numbers, one chain after another, one site after another."""
    bias, neighbours, weights = numpy_tables(problem)
    start = problem.start().reshape(problem.chains, -1)

    def run(seed):
        rng = np.random.default_rng(seed)
        states = start.copy()
        for x in states:
            for _ in range(sweeps):
                for i in range(len(x)):
                    theta = bias[i].copy()
                    for j, w in zip(neighbours[i], weights[i], strict=True):
                        theta += w[:, x[j]]
                    cumulative = np.exp(theta).cumsum()
                    x[i] = np.searchsorted(cumulative, rng.random() * cumulative[-1])
        return states.reshape(-1, problem.size, problem.size)

    return Prepared(run, 0.0)


PATHS = {
    ANCHOR: Path(prepare_thrml),
    "jaxgen thrml": Path(functools.partial(prepare_engine, engine="thrml"), slow=True),
    "lattice": Path(functools.partial(prepare_engine, engine="lattice")),
    "lattice13": Path(functools.partial(prepare_engine, engine="lattice13")),
    "dense JAX": Path(prepare_dense),
    "Python": Path(
        prepare_python,
        slow=True,
        one_chain=True,
        note="numpy, few sweeps, extrapolated per update",
        gate_chains=512,
        least_sweeps=1,
    ),
}


def gpu_paths() -> tuple[dict[str, Path], list[str]]:
    """Return the engine that needs a GPU, or why it cannot run here."""
    if jax.default_backend() != "gpu":
        return {}, ["kernel: no GPU"]
    most_levels = kernel_engine.MOST_LEVELS["edge"]
    return {"kernel": Path(functools.partial(prepare_engine, engine="kernel"), most_levels=most_levels)}, []
