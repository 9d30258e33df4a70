"""Check an installation: its devices, its speed, whether it samples the right law, and what to repair.

python -m experiments.selfcheck

Takes about half a minute. Prints devices, versions, XLA's flags, the state of the compilation cache, a throughput
measured over ten seconds and a check of the sampler against enumeration; then what is wrong and how to repair it. The
exit code is 1 if anything is wrong, and 0 if there are only remarks.
"""

import dataclasses
import os
import platform
import re
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import data, gibbs, potts, runs
from jaxgen.potts.oracles import enumeration
from jaxgen.runs import option

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
ENGINES = ("lattice", "thrml")
SIGMAS = 6.0
LEAST_FREE = 2**30


@dataclasses.dataclass(frozen=True)
class SelfcheckConfig:
    """How long it takes."""

    seconds: float = option(10.0, "time over which the throughput is taken", group="check", low=0.1, high=86_400.0)


@dataclasses.dataclass
class Findings:
    """What is wrong, each with the way to mend it, and what is only worth knowing."""

    wrong: list[str] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)


def run(config: SelfcheckConfig, workdir: Path) -> None:
    """Check everything in turn, then print what is wrong."""
    findings = Findings()
    for look in (versions, devices, settings, cache, dataset, oracle):
        look(findings)
    throughput(findings, config.seconds)
    print()
    for text in findings.wrong:
        print(f"WRONG: {text}")
    for text in findings.remarks:
        print(f"remark: {text}")
    print("nothing is wrong" if not findings.wrong else f"{len(findings.wrong)} to mend")
    if findings.wrong:
        sys.exit(1)


def versions(findings: Findings) -> None:
    """Check Python and the packages of requirements.txt against the versions that it allows."""
    print(f"python {platform.python_version()}")
    if _numbers(platform.python_version()) < [3, 11]:
        findings.wrong.append(f"Python is {platform.python_version()}; install 3.11 or newer")
    for line in REQUIREMENTS.read_text().split():
        name, least, below = re.fullmatch(r"([\w-]+)>=([\d.]+),<([\d.]+)", line).groups()
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            findings.wrong.append(f"{name} is missing; pip install -r requirements.txt")
            continue
        print(f"{name} {version}")
        if not _numbers(least) <= _numbers(version) < _numbers(below):
            findings.wrong.append(f"{name} is {version}, not {least} to below {below}; pip install -r requirements.txt")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.match(r"\d+(\.\d+)*", version)[0].split(".")]


def devices(findings: Findings) -> None:
    """Check what JAX computes on, and whether it misses a GPU."""
    there = jax.local_devices()
    print(f"devices: {len(there)} x {runs.device_name()} ({there[0].platform})")
    if there[0].platform == "cpu" and (Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
        asked = os.environ.get("JAX_PLATFORMS")
        mend = f"unset JAX_PLATFORMS={asked}" if asked else 'pip install "jax[cuda13]"'
        findings.wrong.append(f"this machine has an NVIDIA GPU, but JAX computes on the CPU; {mend}")
    load, cores = runs.platform.load_average(), runs.platform.cpu_count()
    print(f"load: {'unknown' if load is None else f'{load:.1f}'} on {cores} cores")
    if load is not None and load > cores:
        findings.remarks.append(f"load {load:.1f} on {cores} cores: other programs are running, speeds will be low")


def settings(findings: Findings) -> None:
    """Check settings that change numbers or speed without a message."""
    flags = os.environ.get("XLA_FLAGS", "")
    print(f"XLA_FLAGS: {flags or 'none'}")
    if "force_host_platform_device_count" in flags:
        findings.remarks.append("XLA_FLAGS splits the CPU into several devices: right for trying out, not faster")
    wide = "avx512f" in runs.platform.cpu_flags()
    if jax.local_devices()[0].platform == "cpu" and wide and "prefer_vector_width" not in flags:
        findings.remarks.append("this CPU has AVX-512; XLA_FLAGS=--xla_cpu_prefer_vector_width=512 may be faster")
    if jax.config.jax_disable_jit:
        findings.wrong.append("JAX_DISABLE_JIT is set: everything is slow; unset it")
    if jax.config.jax_enable_x64:
        findings.wrong.append("JAX_ENABLE_X64 is set: numbers differ from the published ones; unset it")
    if jax.config.jax_debug_nans:
        findings.remarks.append("JAX_DEBUG_NANS is set: every step is checked and slow")


def cache(findings: Findings) -> None:
    """Check where compiled programs are kept, and whether there is room."""
    runs.configure()
    folder = Path(jax.config.jax_compilation_cache_dir)
    try:
        with runs.atomic_write(folder / "selfcheck") as probe:
            probe.write_text("")
        (folder / "selfcheck").unlink()
    except OSError as error:
        findings.wrong.append(f"the compilation cache cannot be written ({error}); set JAX_COMPILATION_CACHE_DIR")
        print(f"compilation cache: {folder}, not writable")
        return
    files = [path for path in folder.iterdir() if path.is_file()]
    free = shutil.disk_usage(folder).free
    size = sum(path.stat().st_size for path in files)
    print(f"compilation cache: {len(files)} files, {size / 2**20:.0f} MiB, {free / 2**30:.1f} GiB free, in {folder}")
    if not jax.config.jax_enable_compilation_cache:
        findings.remarks.append("JAX's compilation cache is switched off: every start compiles anew")
    for name, path in (("the compilation cache", folder), ("this folder", Path.cwd())):
        if shutil.disk_usage(path).free < LEAST_FREE:
            findings.wrong.append(f"less than 1 GiB is free for {name}; make room, or runs will stop at a checkpoint")


def dataset(findings: Findings) -> None:
    """Check MNIST in the package by its checksums."""
    try:
        mnist = data.load("mnist")
        print(f"mnist: {len(mnist.train_images)} and {len(mnist.test_images)} images, checksums right")
    except (ValueError, FileNotFoundError) as error:
        findings.wrong.append(f"{error}; or restore jaxgen/data/mnist from the repository")


def oracle(findings: Findings) -> None:
    """Check every engine's P(x_i) on a 3 x 3 grid of 3 levels against enumeration, after 30 sweeps from noise."""
    lattice = gibbs.Lattice.grid(3, 3, "4", "open")
    model = potts.PottsEBM(lattice, levels=3, coupling="edge")
    chains = 4096
    x = potts.noise(jax.random.key(0), model, chains)
    shapes = model.init(jax.random.key(1), x[:1])["params"]
    leaves, structure = jax.tree.flatten(shapes)
    params = structure.unflatten(
        [0.5 * jax.random.normal(jax.random.fold_in(jax.random.key(2), k), leaf.shape) for k, leaf in enumerate(leaves)]
    )
    wanted = np.asarray(enumeration.marginals(lattice, params)["bias"])
    for engine in ENGINES:
        states, _ = gibbs.sample(jax.random.key(3), lattice, params, x, 30, engine=engine)
        counted = np.asarray(jax.nn.one_hot(states, 3, dtype=jnp.float32).mean(0))
        far = float(np.max(np.abs(counted - wanted) / np.sqrt(wanted * (1 - wanted) / chains)))
        print(f"exact oracle, {engine}: worst of {wanted.size} frequencies {far:.1f} standard errors off")
        if not far < SIGMAS:
            findings.wrong.append(
                f"the {engine} engine does not sample the enumerated law ({far:.1f} standard errors off, allowed: "
                f"{SIGMAS}); do not trust results of this machine: update jax, unset XLA_FLAGS, empty the cache"
            )


def throughput(findings: Findings, seconds: float) -> None:
    """Measure updates per nanosecond of 256 chains, 28 x 28, 4 levels, one matrix per edge; median of five parts."""
    lattice = gibbs.Lattice.grid(28, 28, "4", "open")
    model = potts.PottsEBM(lattice, levels=4, coupling="edge")
    x = potts.noise(jax.random.key(0), model, 256)
    params = model.init(jax.random.key(1), x[:1])["params"]
    sweeps, speeds, call = 50, [], 0
    sample = jax.jit(lambda key, x: gibbs.sample(key, lattice, params, x, sweeps)[0])
    sample(jax.random.key(0), x).block_until_ready()
    for _ in range(5):
        begin, done = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds / 5:
            call += 1
            sample(jax.random.key(call), x).block_until_ready()
            done += x.size * sweeps
        speeds.append(done / (time.perf_counter() - begin) * 1e-9)
    middle, spread = float(np.median(speeds)), max(speeds) / min(speeds)
    print(f"throughput: {middle:.3g} site updates/ns, {min(speeds):.3g} to {max(speeds):.3g}")
    if spread > 1.5:
        findings.remarks.append(
            f"the throughput varied {spread:.1f}-fold within {seconds:g} s: the machine is shared or hot"
        )
    cores = runs.platform.cpu_count()
    if jax.local_devices()[0].platform == "cpu" and middle < 0.1 * min(cores, 2):
        findings.wrong.append(
            f"{middle:.3g} updates/ns is under a fifth of the usual 0.5 per core; stop other programs"
        )


if __name__ == "__main__":
    runs.main(SelfcheckConfig, run)
