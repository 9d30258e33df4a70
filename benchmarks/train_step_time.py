"""How long do a training step and a sampling step of the diffusion U-Nets take, against PyTorch, eager and compiled?

  python -m benchmarks.train_step_time --json=steps.json --workdir=runs/steps
  python -m benchmarks.train_step_time --sizes=small --batches=64 --json=steps.json --workdir=runs/steps
  python -m benchmarks.train_step_time --write           puts the table into benchmarks/README.md as well

A training step includes everything: gather of the batch, times, noise, label dropout, forward and backward pass,
clipping, Adam. A sampling step is one step of ancestral sampling with guidance 3, on a batch of twice as many images.
PyTorch's model is the one that the tests compare layer by layer (tests/torch_reference); it is timed if torch is
installed, and compiled if there is a C++ compiler. Before a path is timed, it must agree: PyTorch is given the random
draws of jaxgen's own step, and the program ends with an error unless loss, updated parameters and images agree.
"""

import dataclasses
import functools
import importlib.util
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from benchmarks import timing
from jaxgen import data, diffusion, runs, training
from jaxgen.diffusion import guidance, objectives, samplers
from jaxgen.errors import UserError
from jaxgen.runs import option
from jaxgen.runs.tables import aligned, markdown, write_between, write_json

# PyTorch's threads spin while they wait; on a machine with other work that costs them dearly.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

SIZES = ("small", "medium", "large")  # those that PyTorch's reference has
TIMES, GUIDANCE, RATE = 300, 3.0, 1e-3
LOSS_ERROR, PARAMETER_ERROR, IMAGE_ERROR = 2e-3, 0.05, 2e-2
COLUMNS = ("what", "path", "size", "batch", "median_ms", "low_ms", "high_ms", "ratio", "compile_s", "s_for_64_images")


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    sizes: str = option("small,medium", "U-Nets, separated by commas", group="cases")
    batches: str = option("64,128", "images per step, separated by commas", group="cases")
    sample_steps: int = option(5, "steps of one timed sampling run", group="cases", low=1, high=TIMES)
    repeats: int = option(
        timing.LEAST_REPEATS, "rounds through all paths", group="run", low=timing.LEAST_REPEATS, high=1000
    )
    torch: bool = option(True, "time PyTorch where it is installed", group="run")
    json: str = option("", "file for the rows", group="run")
    write: bool = option(False, "put the table into benchmarks/README.md", group="run")


class Case(NamedTuple):
    """One U-Net and batch, with what both sides start from."""

    size: str
    batch: int
    diffusion: diffusion.Diffusion
    params: dict
    images: np.ndarray
    labels: np.ndarray


class Timed(NamedTuple):
    """A path: `run(seed)` does one step, or `steps` of them, and waits."""

    what: str
    path: str
    run: Callable[[int], object]
    compile_s: float
    steps: int = 1


def run(config: BenchmarkConfig, workdir: Path) -> None:
    """Check and time every case, print, write. UserError for sizes or batches that are not allowed."""
    start = time.perf_counter()
    timing.disable_compilation_cache()
    sizes, batches = words(config, "sizes", str), words(config, "batches", int)
    if not set(sizes) <= set(SIZES):
        raise UserError(f"sizes is {config.sizes!r}; allowed: some of {', '.join(SIZES)}")
    if min(batches) < 1:
        raise UserError(f"batches is {config.batches!r}; allowed: numbers, 1 or more")
    rows, absent = [], missing(config)
    for size in sizes:
        for batch in batches:
            rows += case_rows(config, make_case(size, batch))
            print(aligned(rows, COLUMNS), flush=True)
    record = timing.environment() | {"rows": rows, "absent": absent}
    for line in absent:
        print(line)
    if config.json:
        write_json(config.json, record)
    if config.write:
        names = ", ".join(f"{name} {record['versions'][name]}" for name in ("jax", "torch"))
        head = f"`{record['command']}` on {record['device']}, load {record['load_at_start']} at the start; {names}."
        write_between(Path(__file__).with_name("README.md"), "train_step_time", f"{head}\n\n{markdown(rows, COLUMNS)}")
    runs.write_record(
        workdir / "result.json",
        title=f"time of training and sampling steps, {', '.join(sizes)} U-Net, batch {config.batches}",
        family="Diffusion",
        rows=[result_row(row) for row in rows],
        config=config,
        wall_time_s=time.perf_counter() - start,
    )


def words(config: BenchmarkConfig, field: str, kind: type) -> list:
    """Return the items of a flag; UserError if one is not of its kind."""
    try:
        return [kind(word.strip()) for word in getattr(config, field).split(",")]
    except ValueError as error:
        raise UserError(f"{field} is {getattr(config, field)!r}; allowed: numbers separated by commas") from error


def missing(config: BenchmarkConfig) -> list[str]:
    """Return what is not timed, and why."""
    if not config.torch:
        return ["PyTorch: left out by --notorch"]
    if importlib.util.find_spec("torch") is None:
        return ["PyTorch: not installed"]
    return [] if compiler() else ["PyTorch compiled: no C++ compiler"]


def compiler() -> str | None:
    """Return a C++ compiler, which torch.compile needs on a CPU; None if there is none."""
    return shutil.which("g++") or shutil.which("clang++")


def make_case(size: str, batch: int) -> Case:
    """Start values of a U-Net, and a thousand training images."""
    model = diffusion.Diffusion(diffusion.make_unet(size), diffusion.make_process("cosine", TIMES), "eps")
    images = data.load()
    params = diffusion.init_params(jax.random.key(0), model.unet)
    return Case(size, batch, model, params, images.train_images[:1000], images.train_labels[:1000].astype(np.int32))


def case_rows(config: BenchmarkConfig, case: Case) -> list[dict]:
    """Check all paths of a case, then time them in turn."""
    ours_train, step_check = our_training(case)
    ours_sample, sample_check = our_sampling(case, config.sample_steps)
    timed = [ours_train, ours_sample]
    if config.torch and importlib.util.find_spec("torch"):
        for compiled in (False, True) if compiler() else (False,):
            timed += torch_paths(case, config.sample_steps, step_check, sample_check, compiled)
    times = timing.interleaved([path.run for path in timed], [1] * len(timed), config.repeats)
    rows = [row(case, path, seconds / path.steps) for path, seconds in zip(timed, times.T, strict=True)]
    for result, path, seconds in zip(rows, timed, times.T, strict=True):
        ours = times[:, [p.what for p in timed].index(path.what)]
        result["ratio"] = float(np.median(seconds / ours))
    return rows


def row(case: Case, path: Timed, seconds: Float[np.ndarray, "repeats"]) -> dict:
    """Return the milliseconds per step; for sampling also the seconds that 64 images take at T = 300."""
    result = {"what": path.what, "path": path.path, "size": case.size, "batch": case.batch}
    low, middle, high = 1e3 * np.quantile(seconds, [0, 0.5, 1])
    result |= {"median_ms": float(middle), "low_ms": float(low), "high_ms": float(high), "repeats": len(seconds)}
    result |= {"images_per_s": case.batch / float(np.median(seconds)), "compile_s": path.compile_s}
    if path.what == "sampling" and case.batch == 64:
        result["s_for_64_images"] = TIMES * float(np.median(seconds))
    return result


def result_row(row: dict) -> runs.Row:
    """Return a row of the record."""
    what = f"{row['what']} step, {row['size']}, batch {row['batch']}, {row['path']}"
    note = f"{row['low_ms']:.3g} to {row['high_ms']:.3g} over {row['repeats']} rounds; "
    return runs.Row(what, row["median_ms"], "ms", note=note + f"{row['ratio']:.3g} times jaxgen's time")


def our_training(case: Case) -> tuple[Timed, dict]:
    """Return the step as it is in training, and what its first call drew and computed."""
    model = case.diffusion
    objective, shape = diffusion.Objective(), (28, 28, 1)

    def loss_fn(params, key, batch):
        draws = objectives.draw(key, batch["position"], TIMES, shape, objective.label_dropout)
        x0 = diffusion.to_unit(batch["image"])
        apply = guidance.network(model.unet, params)
        losses, _ = objectives.example_losses(apply, objective, model.process, x0, batch["label"], draws)
        return losses.mean(), {}

    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE))
    state = training.create(jax.random.key(1), case.params, tx)
    devices = jax.local_devices()[:1]
    step = training.parallel_step(training.from_loss(loss_fn), tx, devices=devices)
    held = training.replicate_data({"image": case.images, "label": case.labels}, devices)
    index = np.random.default_rng(0).permutation(len(case.images))[: case.batch]
    shards, begin = training.shard_index(index, devices), time.perf_counter()
    stacked, metrics = step(training.replicate_state(state, devices), held, shards)
    jax.block_until_ready(metrics)
    compile_s = time.perf_counter() - begin
    key = jax.random.fold_in(jax.random.key(1), 0)
    draws = objectives.draw(key, jnp.arange(case.batch, dtype=jnp.uint32), TIMES, shape, objective.label_dropout)
    after = training.unreplicate_state(stacked).params
    check = {"index": index, "draws": jax.device_get(draws), "loss": float(metrics["loss"]), "params": after}
    last = [stacked]

    def once(seed):
        last[0], metrics = step(last[0], held, shards)
        return jax.block_until_ready(metrics)

    return Timed("training", "jaxgen", once, compile_s), check


def our_sampling(case: Case, steps: int) -> tuple[Timed, dict]:
    """Return the first steps of ancestral sampling from t = T, and what they drew and computed."""
    model, index = case.diffusion, jnp.arange(case.batch, dtype=jnp.uint32)
    label = diffusion.classes_in_turn(case.batch)
    times = np.arange(TIMES, TIMES - steps - 1, -1).astype(np.int32)
    start = jax.random.normal(jax.random.key(3), (case.batch, 28, 28, 1))

    @jax.jit
    def draw(key, params, process, start, times):
        denoise = diffusion.Diffusion(model.unet, process, "eps").denoiser(params, label, GUIDANCE, True)
        return diffusion.sample(key, process, denoise, diffusion.make_sampler("ancestral"), times, index, start)[0]

    once = functools.partial(draw, params=case.params, process=model.process, start=start, times=times)
    begin, key = time.perf_counter(), jax.random.key(2)
    images = np.asarray(once(key))
    compile_s = time.perf_counter() - begin
    key_steps, _ = jax.random.split(key)
    noises = [np.asarray(samplers.keyed_noise(key_steps, index, int(t), (28, 28, 1))) for t in times[:-1]]
    check = {"start": np.asarray(start), "noises": noises, "images": images, "label": label}
    keys = [jax.random.key(seed) for seed in range(64)]
    run = Timed("sampling", "jaxgen", lambda seed: jax.block_until_ready(once(keys[seed % 64])), compile_s, steps)
    return run, check


def torch_paths(case: Case, steps: int, step_check: dict, sample_check: dict, compiled: bool) -> list[Timed]:
    """Return PyTorch's training and sampling, each checked on our draws; UserError if they disagree."""
    import torch

    from tests.torch_reference import diffusion as reference

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = "PyTorch compiled" if compiled else "PyTorch"
    plain = reference.load(reference.make_unet(case.size), case.params).to(device)
    model = torch.compile(plain, dynamic=False) if compiled else plain
    betas = reference.betas("cosine", TIMES).to(device).float()
    left = torch.cumprod(1 - reference.betas("cosine", TIMES), 0).float().to(device)

    def image(x):
        return torch.tensor(np.asarray(x, np.float32).transpose(0, 3, 1, 2), device=device)

    begin = time.perf_counter()
    sampled = image(sample_check["start"])
    label = torch.tensor(sample_check["label"], device=device).long()
    for k, noise in enumerate(sample_check["noises"]):
        sampled = reference.ancestral_step(model, sampled, TIMES - 1 - k, label, GUIDANCE, betas, left, image(noise))
    check_images(name, sample_check["images"], sampled.cpu().numpy().transpose(0, 2, 3, 1))
    sample_compile = time.perf_counter() - begin
    begin = time.perf_counter()
    images = torch.tensor(case.images[:, None].astype(np.float32) / 127.5 - 1, device=device)
    labels = torch.tensor(case.labels, device=device).long()
    index = torch.tensor(step_check["index"], device=device)
    optimiser = torch.optim.AdamW(plain.parameters(), lr=RATE, weight_decay=0.0)
    draws = step_check["draws"]
    dropped = torch.tensor(np.where(draws.dropped, 10, case.labels[step_check["index"]])).long()
    times = torch.tensor(np.asarray(draws.t) - 1).long()
    args = (images[index], times.to(device), dropped.to(device), image(draws.noise), left)
    loss = float(reference.train_step(model, optimiser, *args))
    ours = reference.load(reference.make_unet(case.size), step_check["params"])
    check_step(name, step_check, loss, ours, plain)
    train_compile = time.perf_counter() - begin

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def train(seed):
        x0, n = images[index], case.batch
        t = torch.randint(0, TIMES, (n,), device=device)
        shown = torch.where(torch.rand(n, device=device) < 0.1, 10, labels[index])
        reference.train_step(model, optimiser, x0, t, shown, torch.randn_like(x0), left)
        wait()

    start = image(sample_check["start"])

    def sample(seed):
        x = start
        for k in range(steps):
            x = reference.ancestral_step(model, x, TIMES - 1 - k, label, GUIDANCE, betas, left, torch.randn_like(x))
        wait()

    return [
        Timed("training", name, train, train_compile if compiled else 0.0),
        Timed("sampling", name, sample, sample_compile if compiled else 0.0, steps),
    ]


def check_images(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raise UserError if images from the same noise differ."""
    error = float(np.abs(ours - theirs).max())
    if not error < IMAGE_ERROR:
        raise UserError(f"{name}: images differ by {error:.2g} after the same noise; allowed: {IMAGE_ERROR}")


def check_step(name: str, check: dict, loss: float, ours, theirs) -> None:
    """Raise UserError if the loss differs, or if the updates of more than a few parameters do.

    Adam's first update is the gradient's sign, so parameters whose gradient is rounding noise may go either way.
    """
    if not abs(loss - check["loss"]) < LOSS_ERROR * check["loss"]:
        raise UserError(f"{name}: loss is {loss:.6g}, jaxgen's {check['loss']:.6g}; allowed: {LOSS_ERROR:.1%} apart")
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    apart = [float(((a - b.cpu()).abs() > 0.1 * RATE).float().sum()) for a, b in pairs]
    share = sum(apart) / sum(p.numel() for p in ours.parameters())
    if not share < PARAMETER_ERROR:
        raise UserError(f"{name}: {share:.1%} of the parameters differ after a step; allowed: {PARAMETER_ERROR:.0%}")


if __name__ == "__main__":
    runs.main(BenchmarkConfig, run)
