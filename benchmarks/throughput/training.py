"""One whole CD-1 step of the Potts model, and where the time of a sweep and of a step goes.

Sampling, the statistics of both phases, the gradient and Adam's update are one jitted function with donated buffers, as
in training; images are random states, which take as long as real ones. Reading data, logging and evaluation are not
included.
"""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from benchmarks.throughput.peers import Prepared, Problem, compiled_jax, prepare_engine, stated_memory
from jaxgen import training
from jaxgen.gibbs.engines import lattice as lattice_engine
from jaxgen.gibbs.engines.threefry import threefry2x32
from jaxgen.gibbs.types import Conditions
from jaxgen.potts import ContrastiveSettings, PottsEBM, contrastive_divergence, mean_statistics

BATCH = 256
PROBLEM = Problem(28, 4, BATCH, "edge")
ENGINES = {"lattice": "lattice", "thrml": "jaxgen thrml"}  # engine of gibbs.sample -> path whose law was checked
IMAGE_COUNTS = (10_000, 60_000)
METHOD = (
    "by ablation: hash = sweeps with 20 rounds less sweeps with none; conditionals, draw and stores = sweeps with no "
    "rounds; fixed cost of a call = a call of one sweep less a sweep; statistics and optimiser jitted by themselves; "
    "rest = the step less its parts, negative where fusion makes the whole cheaper"
)


def prepare_step(engine: str) -> Prepared:
    """Prepare a training step; each run continues from the state that the last one left."""
    tx = optax.adam(2e-2)
    settings = ContrastiveSettings(sweeps=1, engine=engine)
    model = PottsEBM(PROBLEM.lattice, PROBLEM.levels, PROBLEM.coupling)
    step = training.make_train_step(contrastive_divergence(model, settings), tx)
    state = training.create(jax.random.key(0), PROBLEM.params(), tx)
    batch = {"image": jnp.asarray(PROBLEM.start()), "position": jnp.arange(BATCH, dtype=jnp.uint32)}
    begin = time.perf_counter()
    executable = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    compile_s = time.perf_counter() - begin
    last = [state]

    def run(seed):
        last[0], metrics = executable(last[0], batch)
        return jax.block_until_ready(metrics)

    return Prepared(run, compile_s, stated_memory(executable))


def training_row(engine: str, prepared: Prepared, times: np.ndarray) -> dict:
    """Return the seconds for whole datasets, from the median step of 256 images."""
    step_s = float(np.median(times))
    row = {"engine": engine, "step_ms": 1e3 * step_s, "low_ms": 1e3 * times.min(), "high_ms": 1e3 * times.max()}
    row |= {f"s_for_{count}_images": step_s * count / BATCH for count in IMAGE_COUNTS}
    return row | {"compile_s": prepared.compile_s, "memory_bytes": prepared.memory}


def ablation(sweeps: int, repeats: int, target_s: float) -> list[dict]:
    """Return the milliseconds of each part of a sweep and of a CD-1 step, medians of interleaved repeats."""
    parts = {
        "sweeps": prepare_engine(PROBLEM, sweeps, "lattice").run,
        "one sweep": prepare_engine(PROBLEM, 1, "lattice").run,
        "sweeps without hash": _prepare_rounds(sweeps, rounds=0).run,
        "hash alone": _prepare_hash(sweeps).run,
        "statistics": compiled_jax(lambda _, p, x: mean_statistics(PROBLEM.lattice, p, x), PROBLEM.params(), _x()).run,
        "optimiser": _prepare_optimiser().run,
        "step": prepare_step("lattice").run,
    }
    runs = list(parts.values())
    calls = [timing.calls_for(run, target_s) for run in runs]
    ms = dict(zip(parts, 1e3 * np.median(timing.interleaved(runs, calls, repeats), axis=0), strict=True))
    sweep = (ms["sweeps"] - ms["one sweep"]) / (sweeps - 1)
    fixed = ms["one sweep"] - sweep
    bare = (ms["sweeps without hash"] - fixed) / sweeps
    statistics = 2 * ms["statistics"]
    rest = ms["step"] - ms["one sweep"] - statistics - ms["optimiser"]
    sweep_parts = {"hash": sweep - bare, "conditionals, draw and stores": bare}
    step_parts = {"a sweep": sweep, "fixed cost of a call": fixed, "statistics, both phases": statistics}
    step_parts |= {"optimiser": ms["optimiser"], "rest": rest}
    rows = [{"of": "sweep", "part": "whole", "ms": sweep, "share": 1.0}]
    rows += [{"of": "sweep", "part": k, "ms": v, "share": v / sweep} for k, v in sweep_parts.items()]
    rows.append({"of": "sweep", "part": "hash in a loop of its own", "ms": ms["hash alone"] / sweeps, "share": None})
    rows.append({"of": "CD-1 step", "part": "whole", "ms": ms["step"], "share": 1.0})
    rows += [{"of": "CD-1 step", "part": k, "ms": v, "share": v / ms["step"]} for k, v in step_parts.items()]
    return [{k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()} for row in rows]


def _x() -> jax.Array:
    return jnp.asarray(PROBLEM.start())


def _prepare_rounds(sweeps: int, rounds: int) -> Prepared:
    def sampler(key, params, x):
        around = Conditions(jnp.float32(1), None, None, jnp.arange(len(x), dtype=jnp.uint32))
        return lattice_engine.run(key, PROBLEM.lattice, params, x, sweeps, around, rounds)[0]

    return compiled_jax(sampler, PROBLEM.params(), _x())


def _prepare_hash(sweeps: int) -> Prepared:
    """Prepare as many two-word hashes as the sweeps draw: one for every two sites."""
    shape = (PROBLEM.size**2 // 4, BATCH)

    def sampler(key, params, x):
        def sweep(mixed, keys):
            for colour in keys:
                counters = tuple(jax.lax.broadcasted_iota(jnp.uint32, shape, axis) for axis in (0, 1))
                words = threefry2x32((colour[0], colour[1]), counters)
                mixed = mixed ^ words[0] ^ words[1]
            return mixed, None

        return jax.lax.scan(sweep, jnp.zeros(shape, jnp.uint32), jax.random.bits(key, (sweeps, 2, 2), jnp.uint32))[0]

    return compiled_jax(sampler, {}, _x())


def _prepare_optimiser() -> Prepared:
    tx = optax.adam(2e-2)

    def sampler(key, params, x):
        grads, state = params
        updates, state = tx.update(grads, state, grads)
        return optax.apply_updates(grads, updates), state

    return compiled_jax(sampler, (PROBLEM.params(), tx.init(PROBLEM.params())), _x())


def profile(folder: Path, sweeps: int, repeats: int, target_s: float) -> tuple[list[dict], str | None]:
    """Write a trace and a device-memory profile; the ablation rows and, on a GPU, how busy it was."""
    folder.mkdir(parents=True, exist_ok=True)
    sampler, step = prepare_engine(PROBLEM, sweeps, "lattice").run, prepare_step("lattice").run
    with jax.profiler.trace(str(folder)):
        sampler(0)
        step(0)
    jax.profiler.save_device_memory_profile(str(folder / "memory.prof"))
    return ablation(sweeps, repeats, target_s), _gpu_use(sampler)


def _gpu_use(run: Callable[[int], object], seconds: float = 3.0) -> str | None:
    """Return what nvidia-smi states about the GPU's use while `run` is repeated."""
    if jax.default_backend() != "gpu" or not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200", "--id=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds:
            run(0)
        monitor.terminate()
        readings = [int(line) for line in monitor.stdout.read().split() if line.isdecimal()]
    return f"GPU use {np.median(readings):.0f} % (median of {len(readings)} readings)" if readings else None
