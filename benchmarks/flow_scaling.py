"""What does the pushing-medium flow cost against centres, latent size, batch and devices, and is it linear?

  python -m benchmarks.flow_scaling --json=flow.json
  python -m benchmarks.flow_scaling --write          puts the tables into benchmarks/README.md as well

Around a base case (16 centres, latents of 8, batch 128, 4 steps, the PMFlow BNN's) one number varies at a time. The
paths: jaxgen's array expression under jit, the loop of the original notebook over centres in PyTorch, and the same
array expression in PyTorch, which separates the gains of vectorising and of compiling. A path is compared with numpy in
double precision before it is timed; one that is wrong is left out, and the exit code is 1. Devices split the batch; on
a CPU they also share its cores.
"""

import dataclasses
import functools
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks import timing
from jaxgen import pmflow, runs
from jaxgen.errors import UserError
from jaxgen.runs import option
from jaxgen.runs.tables import aligned, markdown, write_between, write_json

DT, SOFTENING, MU = 0.15, 0.4, 0.5
LARGE_BATCH = 8192  # shared between devices
LINEAR = (0.9, 1.1)  # exponents of the time that count as linear
EFFICIENT = 0.9  # speed-up per device that counts as parallel without loss
COLUMNS = ("varied", "path", "pass", "centres", "latent", "batch", "devices", "us", "low", "high", "x PyTorch loop")
# PyTorch's threads spin while they wait; on a machine with other work that costs them a factor of 15.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@dataclasses.dataclass(frozen=True)
class ScalingConfig:
    """The settings of the benchmark."""

    centres: str = option("1,4,16,64,256", "numbers of centres", group="sizes")
    latents: str = option("2,8,32,128", "sizes of the latent", group="sizes")
    batches: str = option("1,32,128,512,2048,8192", "batch sizes", group="sizes")
    devices: str = option("1,2", "numbers of devices; more than one is made out of a CPU", group="sizes")
    steps: int = option(4, "Euler steps", group="sizes", low=1, high=2**31 - 1)
    repeats: int = option(timing.LEAST_REPEATS, "rounds", group="timing", low=timing.LEAST_REPEATS, high=1000)
    target_ms: float = option(30.0, "how long the calls of one round take together", group="timing", low=0.1, high=1e6)
    json: str = option("", "file for everything measured", group="run")
    write: bool = option(False, "put the tables into benchmarks/README.md", group="run")


class Case(NamedTuple):
    """What one row is about; backward: with the gradients of latents and parameters of sum(flow(z)^2) / 2."""

    varied: str
    path: str
    centres: int = 16
    latent: int = 8
    batch: int = 128
    devices: int = 1
    backward: bool = False

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return latents, centres and strengths in float32."""
        rng = np.random.default_rng(0)
        shapes = (self.batch, self.latent), (self.centres, self.latent)
        z, centres = (rng.normal(0, 0.7, shape).astype(np.float32) for shape in shapes)
        return z, centres, np.full(self.centres, MU, np.float32)


Run = Callable[[], Float[np.ndarray, "n d"]]


def numpy_flow(case: Case, steps: int) -> Float[np.ndarray, "n d"]:
    """Compute the flow in double precision, centre by centre."""
    z, centres, mu = (array.astype(np.float64) for array in case.arrays())
    for _ in range(steps):
        n, pull = 1.0, 0.0
        for centre, strength in zip(centres, mu, strict=True):
            r = np.sqrt(((z - centre) ** 2).sum(1, keepdims=True) + SOFTENING**2)
            n, pull = n + strength / r, pull - strength * (z - centre) / r**3
        z = z + DT * pull / n
    return z


def jax_run(case: Case, steps: int) -> tuple[Run, float]:
    """Return jaxgen's flow, compiled, its batch split over the first devices, and the seconds of compilation."""

    def flow(z, centres, mu):
        field = functools.partial(pmflow.log_index_gradient, centres=centres, mu=mu, softening=SOFTENING)
        return pmflow.euler(field, z, steps, DT)

    def loss(*arrays):
        moved = flow(*arrays)
        return 0.5 * jnp.square(moved).sum(), moved

    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[: case.devices]), ("batch",))
    places = [jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (("batch",), (), ())]
    arrays = [jax.device_put(array, place) for array, place in zip(case.arrays(), places, strict=True)]
    function = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True) if case.backward else flow
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arrays).compile()
    seconds = time.perf_counter() - begin

    def run():
        out = jax.block_until_ready(compiled(*arrays))
        return out[0][1] if case.backward else out

    return run, seconds


def torch_run(case: Case, steps: int, loop: bool) -> tuple[Run, float]:
    """Return the flow in PyTorch, with the loop of the original notebook over centres or as one array expression."""
    import torch

    def by_loop(z, centres, mu):
        n, pull = torch.ones(len(z), 1), torch.zeros_like(z)
        for centre, strength in zip(centres, mu, strict=True):
            offset = z - centre
            r = torch.sqrt((offset * offset).sum(1, keepdim=True) + SOFTENING**2)
            n = n + strength / r
            pull = pull + -strength * offset / r**3
        return pull / n

    def by_array(z, centres, mu):
        offset = z[:, None] - centres
        inverse_r = torch.rsqrt((offset * offset).sum(-1) + SOFTENING**2)
        weights = mu * inverse_r**3 / (1 + (mu * inverse_r).sum(-1, keepdim=True))
        return -(weights[..., None] * offset).sum(-2)

    field = by_loop if loop else by_array
    arrays = [torch.tensor(array, requires_grad=case.backward) for array in case.arrays()]

    def run():
        z = arrays[0]
        for _ in range(steps):
            z = z + DT * field(z, *arrays[1:])
        if case.backward:
            torch.autograd.grad(0.5 * (z * z).sum(), arrays)
        return z.detach().numpy()

    return run, 0.0


PATHS = {
    "jaxgen": jax_run,
    "PyTorch loop": functools.partial(torch_run, loop=True),
    "PyTorch array": functools.partial(torch_run, loop=False),
}


def cases(config: ScalingConfig) -> list[Case]:
    """Return the base case forwards and backwards, then one number varied at a time; PyTorch only if installed."""
    paths = [path for path in PATHS if path == "jaxgen" or importlib.util.find_spec("torch")]
    varied = [Case("base", path, backward=backward) for backward in (False, True) for path in paths]
    for field, text in (("centres", config.centres), ("latent", config.latents), ("batch", config.batches)):
        flag = {"latent": "latents", "batch": "batches"}.get(field, field)
        varied += [Case(field, path, **{field: n}) for n in runs.integers(flag, text) for path in paths]
    counts = runs.integers("devices", config.devices)
    return varied + [Case("devices", "jaxgen", batch=LARGE_BATCH, devices=n) for n in counts]


def measure(config: ScalingConfig) -> tuple[list[dict], list[str]]:
    """Return one row per case, and the cases that were wrong."""
    prepared, wrong = [], []
    for case in cases(config):
        run, seconds = PATHS[case.path](case, config.steps)
        if np.abs(np.asarray(run()) - numpy_flow(case, config.steps)).max() < 1e-4:
            prepared.append((case, run, seconds))
        else:
            wrong.append(f"{case}: not what numpy gives")
    runs = [lambda seed, run=run: run() for _, run, _ in prepared]
    calls = [timing.calls_for(run, config.target_ms / 1e3) for run in runs]
    times = timing.interleaved(runs, calls, config.repeats) * 1e6
    # The key of a case without its path finds the loop that was timed in the same rounds.
    loops = {case._replace(path=""): i for i, (case, _, _) in enumerate(prepared) if case.path == "PyTorch loop"}
    rows = []
    for i, (case, _, seconds) in enumerate(prepared):
        row = case._asdict() | {"pass": "forward, gradient" if case.backward else "forward", "compile_s": seconds}
        row |= {"us": float(np.median(times[:, i])), "low": float(times[:, i].min()), "high": float(times[:, i].max())}
        loop = loops.get(case._replace(path=""))
        row["x PyTorch loop"] = None if loop is None else float(np.median(times[:, loop] / times[:, i]))
        rows.append(row)
    return rows, wrong


def claims(rows: list[dict]) -> list[dict]:
    """Return the claims "linear" and "embarrassingly parallel", each confirmed or denied by jaxgen's numbers."""
    verdicts = []
    for field in ("centres", "latent", "batch"):
        curve = sorted((row[field], row["us"]) for row in rows if row["varied"] == field and row["path"] == "jaxgen")
        if len(curve) > 1:
            (a, first), (b, last) = curve[-2:]
            exponent = float(np.log(last / first) / np.log(b / a))
            word = "confirmed" if LINEAR[0] <= exponent <= LINEAR[1] else "denied"
            claim = f"cost linear in {field}, {a} to {b}"
            verdicts.append({"claim": claim, "measured": f"exponent {exponent:.2f}", "verdict": word})
    alone = [row["us"] for row in rows if row["varied"] == "devices" and row["devices"] == 1]
    for row in rows:
        if row["varied"] == "devices" and row["devices"] > 1 and alone:
            gain = alone[0] / row["us"]
            word = "confirmed" if gain >= EFFICIENT * row["devices"] else "denied"
            claim = f"{row['devices']} devices are {row['devices']} times as fast, batch {row['batch']}"
            verdicts.append({"claim": claim, "measured": f"{gain:.2f} times", "verdict": word})
    return verdicts


def run(config: ScalingConfig, workdir: Path) -> None:
    """Measure, print, write; exit code 1 if a path was wrong. UserError for more devices than there are."""
    counts = runs.integers("devices", config.devices)
    if max(counts) > 1:
        jax.config.update("jax_num_cpu_devices", max(counts))
    if max(counts) > jax.device_count():
        raise UserError(f"devices is {config.devices!r}; allowed here: up to {jax.device_count()}")
    timing.disable_compilation_cache()
    record = timing.environment()
    rows, wrong = measure(config)
    record |= {"rows": rows, "claims": claims(rows), "wrong": wrong}
    shown = ("claim", "measured", "verdict")
    print(aligned(rows, COLUMNS), aligned(record["claims"], shown), *wrong, sep="\n\n")
    if config.json:
        write_json(config.json, record)
    if config.write:
        names = ", ".join(f"{name} {record['versions'][name]}" for name in ("jax", "torch"))
        head = f"`{record['command']}` on {record['device']}, load {record['load_at_start']} at the start; {names}."
        text = f"{head}\n\n{markdown(rows, COLUMNS)}\n\n{markdown(record['claims'], shown)}"
        write_between(Path(__file__).with_name("README.md"), "flow_scaling", text)
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    runs.main(ScalingConfig, run)
