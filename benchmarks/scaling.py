"""What do more devices and processes cost here, and what would they give on machines that have them?

  python -m benchmarks.scaling --json=scaling.json --write         about five minutes
  python -m benchmarks.scaling --quick                             one family, three layouts

Starts the training commands themselves and reads the speed that they record. Strong scaling splits the batch of the
flag file; weak scaling gives every device that batch. Devices of one CPU share its cores, so here the ratios measure
the overhead of splitting, not a gain; 1.00 means no overhead. A layout's speed counts only if its first record under
strong scaling agrees with that of one device.

The plan past one machine is calculated, not measured. One all-reduce of the gradients, 4 bytes per parameter, follows
the backward pass:

    t_comm = 2 (n - 1) / n * 4 P / bandwidth + 2 ceil(log2 n) * latency        efficiency = t_step / (t_step + t_comm)

P is the number of parameters, and t_step is measured here in one process; bandwidth, latency and the gain of a GPU over
this CPU are assumptions, the constants below.
"""

import contextlib
import dataclasses
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from benchmarks import timing
from jaxgen import diffusion, energy_learning, information, pmflow, potts, runs, vae
from jaxgen.errors import UserError
from jaxgen.runs import flags as runs_flags
from jaxgen.runs import option
from jaxgen.runs.tables import aligned, markdown, write_between, write_json

README = Path(__file__).with_name("README.md")
ROOT = README.parents[1]
COLUMNS = ("family", "scaling", "processes", "devices", "batch", "images/s", "range", "updates/s", "x one device")
PLAN = ("family", "parameters", "MB per step", "step here ms", "8 GPUs", "64 hosts", "64 hosts, CPU", "90 % at ms")
LAYOUTS = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2))  # processes, devices of each
QUICK = ((1, 1), (1, 2), (2, 1))
PATIENCE_S = 240.0
AGREE = 0.02

GPU_GAIN = 50.0  # assumed: a step on one GPU is so many times as fast as on the CPU measured
NODE = (300e9, 10e-6)  # assumed: bytes/s of all-reduce over NVLink in one host, seconds a hop
NETWORK = (10e9, 30e-6)  # assumed: 100 Gbit/s a host at four fifths, seconds a hop


@dataclasses.dataclass(frozen=True)
class Family:
    """A training command and its flag file; `quantity` is what layouts must agree on, `split` what grows when weak."""

    module: str
    flagfile: str
    config: type
    windows: int = 2
    quantity: str = ""
    split: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


OFTEN = ("--log_every=20", "--eval_every=100000", "--checkpoint_every=100000")
FAMILIES = {
    "Potts EBM": Family("ebm_cd", "ebm_digit3", potts.PottsConfig, 8, "data_energy", ("batch_size", "chains"), OFTEN),
    "VAE": Family("vae", "vae_binary", vae.VAEConfig, 8, "loss", ("batch_size",), OFTEN),
    "Diffusion, tiny": Family("diffusion", "diffusion_tiny", diffusion.DiffusionConfig, 2, more=("--log_every=5",)),
    "Pushing-medium flow": Family("pmflow", "pmflow", pmflow.PMFlowConfig),
    "Energy learning, EP": Family("energy_learning", "mnist_ep", energy_learning.EnergyLearningConfig, 1),
    "Information": Family("information_bound", "information_recommended", information.InformationConfig),
}
SCALED = ("Potts EBM", "VAE")


@dataclasses.dataclass(frozen=True)
class ScalingConfig:
    """What is measured."""

    quick: bool = option(False, "one family, three layouts, strong scaling, no plan", group="benchmark")
    json: str = option("", "file for the rows", group="benchmark")
    write: bool = option(False, "write the tables into benchmarks/README.md", group="benchmark")


@dataclasses.dataclass(frozen=True)
class Measured:
    """Return the images per second of every window of records, and what the first of them says."""

    speeds: list[float]
    first: dict[str, float]


def config_of(family: Family) -> object:
    """Return the Config that the flag file describes."""
    values = flags.FlagValues()
    runs_flags.define_flags(family.config, values)
    values(["scaling", f"--flagfile={ROOT / 'experiments' / 'flags' / family.flagfile}.flags"])
    return runs.from_flags(family.config, values)


def measure(family: Family, processes: int, devices: int, sizes: Sequence[str], windows: int) -> Measured:
    """Start the command in this layout, wait for its records, and kill it."""
    flagfile = f"--flagfile=experiments/flags/{family.flagfile}.flags"
    command = [sys.executable, "-m", f"experiments.{family.module}", flagfile, *family.more, *sizes]
    split = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {split}"}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as started:
        workdir = Path(scratch) / "run"
        errors = started.enter_context(open(Path(scratch) / "errors", "w+"))
        address = f"--coordinator_address=127.0.0.1:{_free_port()}"
        for i in range(processes):
            several = [address, f"--num_processes={processes}", f"--process_id={i}"] if processes > 1 else []
            process = subprocess.Popen(
                [*command, *several, f"--workdir={workdir}"], cwd=ROOT, env=environment, stdout=errors, stderr=errors
            )
            started.callback(process.wait)
            started.callback(process.kill)
        deadline = time.monotonic() + PATIENCE_S
        while len(records := _records(workdir)) < windows:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{family.module}: too few records: {Path(errors.name).read_text()[-2000:]}")
            time.sleep(0.1)
    return Measured([record["images_per_s"] for record in records], records[0])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _records(workdir: Path) -> list[dict[str, float]]:
    paths = sorted(workdir.rglob("metrics.jsonl"))  # pmflow has a run folder a model
    return [record for path in paths for record in runs.read_metrics(path) if "images_per_s" in record]


def scaled(name: str, layouts: Sequence[tuple[int, int]], weak: bool) -> list[dict]:
    """Return the rows of one family under strong and weak scaling."""
    family, rows = FAMILIES[name], []
    config = config_of(family)
    alone = measure(family, 1, 1, (), family.windows)
    for scaling in ("strong", "weak")[: 1 + weak]:
        for processes, each in layouts:
            devices = processes * each
            times = devices if scaling == "weak" else 1
            sizes = [f"--{size}={times * getattr(config, size)}" for size in family.split]
            measured = alone if devices == 1 else measure(family, processes, each, sizes, family.windows)
            if scaling == "strong":
                _require_agreement(name, family.quantity, alone, measured)
            elif devices == 1:
                continue
            rows.append(_row(name, scaling, (processes, devices), times * config.batch_size, measured, alone))
            print(aligned(rows[-1:], COLUMNS), flush=True)
    return rows


def _require_agreement(name: str, quantity: str, alone: Measured, measured: Measured) -> None:
    reference, other = alone.first[quantity], measured.first[quantity]
    if not abs(other - reference) <= AGREE * abs(reference):
        raise UserError(
            f"{name}: {quantity} is {other}, on one device {reference}; allowed: the same within {AGREE:.0%}"
        )


def _row(name: str, scaling: str, layout: tuple[int, int], batch: int, measured: Measured, alone: Measured) -> dict:
    speed = statistics.median(measured.speeds)
    return {
        "family": name,
        "scaling": scaling,
        "processes": layout[0],
        "devices": layout[1],
        "batch": batch,
        "images/s": speed,
        "range": f"{min(measured.speeds):,.0f}-{max(measured.speeds):,.0f}",
        "updates/s": speed / batch,
        "x one device": speed / statistics.median(alone.speeds),
    }


def parameters(name: str, config: object) -> int:
    """Return the number of parameters whose gradients one step reduces, of all networks trained side by side."""
    if name == "Pushing-medium flow":
        config = next(iter(pmflow.model_configs(config)))
    task = {
        "Potts EBM": potts.PottsTask,
        "VAE": vae.VAETask,
        "Diffusion, tiny": diffusion.DiffusionTask,
        "Pushing-medium flow": pmflow.PMFlowTask,
        "Energy learning, EP": energy_learning.EnergyTask,
        "Information": information.InformationTask,
    }[name].load(config)
    return sum(leaf.size for leaf in jax.tree.leaves(task.initial_state()[0].params))


def communication_s(n_parameters: int, n: int, link: tuple[float, float]) -> float:
    """Return the seconds of the all-reduce over n places: bandwidth term of a ring, latency term of a tree."""
    bandwidth, latency = link
    return 2 * (n - 1) / n * 4 * n_parameters / bandwidth + 2 * math.ceil(math.log2(n)) * latency


def plan_row(name: str, n_parameters: int, step_s: float) -> dict:
    """Return the expected efficiency under weak scaling, the flag file's batch on every device, nothing overlapped."""
    inside, across = communication_s(n_parameters, 8, NODE), communication_s(n_parameters, 64, NETWORK)
    gpu = step_s / GPU_GAIN
    return {
        "family": name,
        "parameters": n_parameters,
        "MB per step": 2 * 4 * n_parameters * 1e-6,
        "step here ms": step_s * 1e3,
        "8 GPUs": gpu / (gpu + inside),
        # Each host of 8 first reduces inside.
        "64 hosts": gpu / (gpu + inside + across),
        "64 hosts, CPU": step_s / (step_s + across),
        "90 % at ms": 9e3 * (inside + across),
    }


def plan(rows: list[dict]) -> list[dict]:
    """Return one row per family; the speed of a scaled one is already known."""
    known = {row["family"]: 1 / row["updates/s"] for row in rows if row["devices"] == 1}
    planned = []
    for name, family in FAMILIES.items():
        config = config_of(family)
        if name not in known:
            measured = measure(family, 1, 1, (), family.windows)
            known[name] = config.batch_size / statistics.median(measured.speeds)
            if name == "Pushing-medium flow":
                # Its batch holds the images of every seed.
                known[name] *= config.seeds
        planned.append(plan_row(name, parameters(name, config), known[name]))
        print(aligned(planned[-1:], PLAN), flush=True)
    return planned


def run(config: ScalingConfig, workdir: Path) -> None:
    """Measure, plan, print and write."""
    layouts, names = (QUICK, SCALED[:1]) if config.quick else (LAYOUTS, SCALED)
    rows = [row for name in names for row in scaled(name, layouts, weak=not config.quick)]
    planned = [] if config.quick else plan(rows)
    print(aligned(rows, COLUMNS) + "\n\n" + (aligned(planned, PLAN) if planned else ""))
    there = timing.environment()
    if config.json:
        write_json(config.json, there | {"rows": rows, "plan": planned})
    if config.write:
        where = f"{there['device']}, load {there['load_at_start']} at the end, jax {jax.__version__}"
        line = f"`{there['command']}` on {where}."
        write_between(README, "scaling", f"{line}\n\n{markdown(rows, COLUMNS)}")
        write_between(README, "scaling_plan", markdown(planned, PLAN))


if __name__ == "__main__":
    runs.main(ScalingConfig, run)
