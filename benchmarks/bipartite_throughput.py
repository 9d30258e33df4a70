"""How many units per nanosecond does the bipartite engine update on dense restricted machines, beside its peers?

python -m benchmarks.bipartite_throughput            about 5 minutes on 2 cores
python -m benchmarks.bipartite_throughput --quick    the small machine only, under a minute

A machine has V visible and H hidden binary units and a coupling for every pair. A sweep updates all of them, hidden
units first. THRML runs it as a FactorSamplingProgram of square categorical factors, one block per layer, under jit and
vmap; PyTorch and numpy do the two matrix products and compare logistic functions with uniform numbers. THRML touches
every pair of every chain, so on large machines it runs fewer chains; rates are per update. Before a path is timed, its
states on a machine of 4 + 3 units are compared with enumeration by chi-square; one that fails is left out, and the exit
code is 1.
"""

import functools
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Float
from thrml import Block, BlockGibbsSpec, CategoricalNode, FactorSamplingProgram, SamplingSchedule, sample_states
from thrml.models import CategoricalGibbsConditional, SquareCategoricalEBMFactor

from benchmarks import command_line, timing
from jaxgen import gibbs
from jaxgen.runs.tables import aligned, write_json

NAME = "bipartite_throughput"
ANCHOR = "thrml"
ALPHA = 1e-5
GATE_CHAINS, GATE_SWEEPS = 16_384, 30
TARGET_S = 0.1
MOST_PAIRS = 2**22  # of THRML, over all chains
COLUMNS = ("path", "visible", "hidden", "chains", "sweeps", "updates/ns", "range", "x thrml", "compile s")
# PyTorch's threads spin while they wait; on a machine with other work that costs them a factor of 15.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class Machine(NamedTuple):
    """A restricted machine with random parameters; couplings small enough for its chains to mix within the gate."""

    visible: int
    hidden: int
    chains: int

    def params(self) -> tuple[Float[np.ndarray, "V H"], Float[np.ndarray, " V"], Float[np.ndarray, " H"]]:
        """Return the couplings, visible biases and hidden biases."""
        rng = np.random.default_rng(0)
        scale = 2.0 / np.sqrt(self.visible + self.hidden)
        shapes = (self.visible, self.hidden), (self.visible,), (self.hidden,)
        return tuple(scale * rng.standard_normal(shape).astype(np.float32) for shape in shapes)

    @property
    def updates_per_sweep(self) -> int:
        """Return the number of unit updates per sweep of all chains."""
        return (self.visible + self.hidden) * self.chains


class Prepared(NamedTuple):
    """run: seed -> visible states (chains, V), all work finished. chains: of the run. sweeps: of the run."""

    run: Callable
    chains: int
    sweeps: int
    compile_s: float


def compiled(sampler: Callable, machine: Machine, sweeps: int, *arguments) -> Prepared:
    """Return sampler(key, *arguments) compiled ahead of time."""
    begin = time.perf_counter()
    seeded = jax.jit(lambda seed, *rest: sampler(jax.random.key(seed), *rest))
    executable = seeded.lower(np.uint32(0), *arguments).compile()
    seconds = time.perf_counter() - begin
    run = lambda seed: jax.block_until_ready(executable(np.uint32(seed), *arguments))  # noqa: E731
    return Prepared(run, machine.chains, sweeps, seconds)


def by_engine(machine: Machine, sweeps: int, dtype: jnp.dtype) -> Prepared:
    """Return the path of `gibbs.sample_bipartite`, which takes fresh parameters on every call."""

    def sampler(key, weight, a, c):
        n = machine.chains
        fields = jnp.broadcast_to(a[:, None], (n, len(a), 1)), jnp.broadcast_to(c, (n, len(c)))
        v = jnp.zeros((n, len(a)), jnp.uint8)
        return gibbs.sample_bipartite(key, weight[:, None], *fields, v, sweeps, dtype=dtype)

    return compiled(sampler, machine, sweeps, *map(jnp.asarray, machine.params()))


def by_thrml(machine: Machine, sweeps: int) -> Prepared:
    """Return the path of THRML by itself, with as many chains as its gathers of all pairs allow."""
    weight, a, c = machine.params()
    few = machine._replace(chains=min(machine.chains, max(1, MOST_PAIRS // weight.size)))
    nodes = [CategoricalNode() for _ in a], [CategoricalNode() for _ in c]
    first, second = np.indices(weight.shape).reshape(2, -1)
    ends = [Block([nodes[0][i] for i in first]), Block([nodes[1][j] for j in second])]
    factors = [
        SquareCategoricalEBMFactor([Block(nodes[0])], jnp.pad(a[:, None], ((0, 0), (1, 0)))),
        SquareCategoricalEBMFactor([Block(nodes[1])], jnp.pad(c[:, None], ((0, 0), (1, 0)))),
        SquareCategoricalEBMFactor(ends, jnp.pad(weight.reshape(-1, 1, 1), ((0, 0), (1, 0), (1, 0)))),
    ]
    blocks = [Block(nodes[1]), Block(nodes[0])]
    samplers = [CategoricalGibbsConditional(2) for _ in blocks]
    program = FactorSamplingProgram(BlockGibbsSpec(blocks, []), samplers, factors, [])
    schedule = SamplingSchedule(n_warmup=sweeps, n_samples=1, steps_per_sample=0)
    start = [jnp.zeros(len(block.nodes), jnp.uint8) for block in blocks]

    def chain(key):
        return sample_states(key, program, schedule, start, [], blocks[1:])[0][0]

    return compiled(lambda key: jax.vmap(chain)(jax.random.split(key, few.chains)), few, sweeps)


def by_numpy(machine: Machine, sweeps: int) -> Prepared:
    """Return the path of numpy, in float32 throughout."""
    weight, a, c = machine.params()

    def drawn(rng, logits):
        return (rng.random(logits.shape, np.float32) < 1 / (1 + np.exp(-logits))).astype(np.float32)

    def run(seed):
        rng = np.random.default_rng(seed)
        v = np.zeros((machine.chains, machine.visible), np.float32)
        for _ in range(sweeps):
            v = drawn(rng, drawn(rng, v @ weight + c) @ weight.T + a)
        return v

    return Prepared(run, machine.chains, sweeps, 0.0)


def by_torch(machine: Machine, sweeps: int, name: str) -> Prepared:
    """Return the path of PyTorch, with products of type `name` and the rest in float32."""
    import torch

    dtype = getattr(torch, name)
    weight, a, c = map(torch.from_numpy, machine.params())
    weight = weight.to(dtype)
    back = weight.T.contiguous()

    def drawn(states, weight, bias):
        logits = (states @ weight).float() + bias
        return (torch.rand(logits.shape) < torch.sigmoid(logits)).to(dtype)

    def run(seed):
        torch.manual_seed(seed)
        v = torch.zeros(machine.chains, machine.visible, dtype=dtype)
        with torch.inference_mode():
            for _ in range(sweeps):
                v = drawn(drawn(v, weight, c), back, a)
        return v.float().numpy()

    return Prepared(run, machine.chains, sweeps, 0.0)


def paths() -> dict[str, Callable[[Machine, int], Prepared]]:
    """Return all paths that can run here, THRML first."""
    named = {
        ANCHOR: by_thrml,
        "jaxgen float32": functools.partial(by_engine, dtype=jnp.float32),
        "jaxgen bfloat16": functools.partial(by_engine, dtype=jnp.bfloat16),
        "numpy": by_numpy,
    }
    if importlib.util.find_spec("torch"):
        named["PyTorch float32"] = functools.partial(by_torch, name="float32")
        named["PyTorch bfloat16"] = functools.partial(by_torch, name="bfloat16")
    return named


def gate(build: Callable[[Machine, int], Prepared]) -> float:
    """Return the p-value of a path's states under the enumerated law of a machine of 4 + 3 units."""
    machine = Machine(4, 3, GATE_CHAINS)
    weight, a, c = (array.astype(np.float64) for array in machine.params())
    states = np.array(list(itertools.product((0, 1), repeat=machine.visible)))
    log_f = states @ a + np.logaddexp(0, states @ weight + c).sum(1)
    law = np.exp(log_f - np.logaddexp.reduce(log_f))
    v = np.asarray(build(machine, GATE_SWEEPS).run(1)).astype(int)
    counts = np.bincount(v @ 2 ** np.arange(machine.visible)[::-1], minlength=len(law))
    return float(scipy.stats.chisquare(counts, law * len(v)).pvalue)


def affordable(build: Callable[[int], Prepared], most: int = 200) -> Prepared:
    """Return how many sweeps take about TARGET_S, from 2 to `most`."""
    first = build(2)
    first.run(0)
    sweeps = int(np.clip(2 * TARGET_S / timing.seconds(first.run), 2, most))
    return first if sweeps < 4 else build(sweeps)


def measure(machine: Machine, named: dict[str, Callable], repeats: int) -> list[dict]:
    """Return one row per path."""
    prepared = [affordable(functools.partial(build, machine)) for build in named.values()]
    calls = [timing.calls_for(path.run, TARGET_S) for path in prepared]
    times = timing.interleaved([path.run for path in prepared], calls, repeats)
    updates = np.array([(machine.visible + machine.hidden) * path.chains * path.sweeps for path in prepared])
    rates = updates / times * 1e-9
    anchor = list(named).index(ANCHOR) if ANCHOR in named else None
    rows = []
    for k, (name, path) in enumerate(zip(named, prepared, strict=True)):
        row = {"path": name, "visible": machine.visible, "hidden": machine.hidden, "chains": path.chains}
        row |= {"sweeps": path.sweeps, "updates/ns": float(np.median(rates[:, k])), "compile s": path.compile_s}
        row |= {"range": f"{rates[:, k].min():.2g}-{rates[:, k].max():.2g}", "repeats": repeats}
        ratio = None if anchor is None else float(np.median(rates[:, k] / rates[:, anchor]))
        rows.append(row | {"x thrml": ratio})
    return rows


def main(argv: list[str]) -> int:
    """Check, measure, print, write; the exit code is 1 if a law differed."""
    values = command_line.define_flags("the small machine only")

    def measure_all() -> bool:
        timing.disable_compilation_cache()
        record, rows = timing.environment(), []
        checked = {name: gate(build) for name, build in paths().items()}
        named = {name: build for name, build in paths().items() if checked[name] >= ALPHA}
        small, large = [Machine(196, 128, n) for n in (1, 256)], [Machine(784, 512, n) for n in (1, 256)]
        for machine in small if values["quick"].value else small + large:
            rows += measure(machine, named, values["repeats"].value)
        if values["json"].value:
            write_json(values["json"].value, record | {"gate": checked, "rows": rows})
        print(aligned(rows, COLUMNS))
        for name in checked.keys() - named.keys():
            print(f"FAILED, not timed: {name}, p = {checked[name]:.2g}")
        if values["write"].value:
            packages = [name for name in record["versions"] if name not in ("numba", "adabmDCA")]
            command_line.write_table(NAME, record, rows, COLUMNS, packages)
        return len(named) == len(checked)

    return command_line.run(NAME, __doc__, values, argv, measure_all)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
