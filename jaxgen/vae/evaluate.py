"""What is measured of a VAE: bounds of the log-likelihood, samples and their cost."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from tqdm import tqdm

from jaxgen import data, runs, training
from jaxgen.vae.bounds import elbo, importance_weighted_bound, kl_divergence, log_weights
from jaxgen.vae.config import N_CLASSES
from jaxgen.vae.model import VAE
from jaxgen.vae.networks import SIDE
from jaxgen.vae.task import VAETask, run_key

_ROWS = 2048  # decoder evaluations at once in the importance-weighted bound
_CHUNK = 500
_SHOWN = 64
_REPEATS = 7


class Bounds(NamedTuple):
    """Of every image, in nats: the ELBO, its KL part, and the importance-weighted bound."""

    elbo: Float[np.ndarray, "n"]
    kl: Float[np.ndarray, "n"]
    importance_weighted: Float[np.ndarray, "n"]


class Drawn(NamedTuple):
    """Samples and what they cost.

    Attributes:
        states: draws from p(x | z), z from the prior: samples of the model.
        means: mean grey of p(x | z), 0 to 255, for the same z: not samples, though often shown as such.
        labels: the class of each, or None.
        per_second: draws a second, compilation excluded; median of several rounds.
        flops: floating-point operations a draw as the compiler counts them, transcendental functions apart.
        compile_s: seconds to compile.
    """

    states: UInt8[np.ndarray, "n H W"]
    means: UInt8[np.ndarray, "n H W"]
    labels: UInt8[np.ndarray, "n"] | None
    per_second: float
    flops: float
    compile_s: float


def measure_bounds(task: VAETask, params: dict) -> Bounds:
    """Bounds of the test images from `importance_samples` draws each, the noise keyed by the image's number."""
    samples, n = task.config.importance_samples, len(task.test)
    some = max(1, min(_ROWS // samples, n))
    key = run_key(task.config, "test")

    @jax.jit
    def chunk(params: dict, x: Array, label: Array | None, index: Array) -> tuple[Array, Array, Array]:
        weights = log_weights(task.model, task.likelihood, params, key, x, label, index, samples)
        posterior = task.model.apply({"params": params}, x, label, method=VAE.encode)
        prior = task.model.apply({"params": params}, len(x), label, method=VAE.prior)
        return weights.mean(0), kl_divergence(posterior, prior), importance_weighted_bound(weights)

    pieces = []
    for start in tqdm(range(0, n, some), desc=f"bounds, {samples} draws an image", unit="chunk", mininterval=1):
        # The last chunk goes back over images that are done, so that one compiled program serves all.
        index = np.minimum(np.arange(start, start + some), n - 1)
        found = chunk(params, *_rows(task.test, task.test_label, index), index)
        pieces.append([np.asarray(part)[: n - start] for part in found])
    return Bounds(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def draw_samples(task: VAETask, params: dict) -> Drawn:
    """`samples` images, number k from fold_in(key, k), classes in turn, and how fast they were drawn."""
    n = task.config.samples
    key = run_key(task.config, "samples")
    sampler = jax.jit(functools.partial(_draw, task))
    every = np.arange(_CHUNK, dtype=np.uint32)
    begin = time.perf_counter()
    compiled = sampler.lower(params, key, every).compile()
    compile_s = time.perf_counter() - begin
    starts = range(0, n, _CHUNK)
    pieces = [jax.device_get(compiled(params, key, start + every)) for start in starts]
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready([compiled(params, key, start + every) for start in starts])
        times.append(time.perf_counter() - begin)
    states, means = (np.concatenate(parts)[:n] for parts in zip(*pieces, strict=True))
    labels = (np.arange(n) % N_CLASSES).astype(np.uint8) if task.model.n_classes else None
    speed = len(starts) * _CHUNK / float(np.median(times))
    return Drawn(states, means, labels, speed, compiled.cost_analysis()["flops"] / _CHUNK, compile_s)


def _draw(task: VAETask, params: dict, key: Array, index: Array) -> tuple[Array, Array]:
    model, law = task.model, task.likelihood
    keys = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(key, k)))(index)
    label = index % N_CLASSES if model.n_classes else None
    prior = model.apply({"params": params}, len(index), label, method=VAE.prior)
    noise = jax.vmap(lambda k: jax.random.normal(k, (model.latent,)))(keys[:, 0])
    z = prior.mean + jnp.exp(0.5 * prior.log_var) * noise
    outputs = model.apply({"params": params}, z, label, method=VAE.decode)
    return jax.vmap(law.sample)(keys[:, 1], outputs), _grey(law.mean(outputs))


def reconstructions(task: VAETask, params: dict, index: Int[np.ndarray, "n"]) -> UInt8[np.ndarray, "n H W"]:
    """Mean grey of p(x | z) for these test images, z the posterior's mean."""
    x, label = _rows(task.test, task.test_label, index)
    return np.asarray(_grey(task.likelihood.mean(task.model.apply({"params": params}, x, label))))


def evaluation_hook(task: VAETask, log: runs.Logger) -> Callable[[int, training.TrainState], dict[str, float]]:
    """A hook for `fit`: the ELBO of the validation images, and pictures."""
    key = run_key(task.config, "validation")
    score = jax.jit(functools.partial(elbo, task.model, task.likelihood))
    pictures = jax.jit(functools.partial(_draw, task))

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        pieces = []
        for chunk in data.evaluation_slices(len(task.validation), _CHUNK):
            index = np.arange(chunk.start, chunk.stop, dtype=np.uint32)
            pieces.append(score(state.params, key, *_rows(task.validation, task.validation_label, index), index))
        found, kl = (np.concatenate(parts).mean(dtype=np.float64) for parts in zip(*pieces, strict=True))
        drawn, means = pictures(state.params, key, np.arange(_SHOWN, dtype=np.uint32))
        log.images(step, "draws", grey(drawn, task.config.levels))
        log.images(step, "means", means)
        return {"validation_elbo": float(found), "validation_kl": float(kl)}

    return hook


def rows(task: VAETask, params: dict, found: Bounds, drawn: Drawn, training_s: float) -> list[runs.Row]:
    """The numbers of a record, but for the panel."""
    config = task.config
    coding = {2: "fixed stochastic binarisation", 256: "8-bit grey"}.get(config.levels, f"{config.levels} levels")
    about = f"{len(found.elbo)} test images, {coding}" + ", class given" * config.conditional
    target = ">= -102" if config.levels == 2 and config.dataset == "mnist" else ""
    return [
        runs.Row("parameters", sum(leaf.size for leaf in jax.tree.leaves(params))),
        _mean_row("ELBO", found.elbo, target, about),
        _mean_row("importance-weighted bound", found.importance_weighted, "", f"K = {config.importance_samples}"),
        _bits_row("ELBO", found.elbo),
        _bits_row("importance-weighted bound", found.importance_weighted),
        _mean_row("KL(q || prior)", found.kl, "", "part of the ELBO"),
        runs.Row(
            "training",
            training_s,
            "s",
            "< 300",
            f"{config.steps} steps of {config.batch_size} images; compilation and evaluation apart",
        ),
        runs.Row(
            "samples a second", drawn.per_second, "1/s", "", f"draws; {drawn.compile_s:.1f} s of compilation apart"
        ),
        runs.Row("operations a sample", drawn.flops, "", "", "floating-point, as the compiler counts them"),
    ]


def _mean_row(name: str, values: Float[np.ndarray, "n"], target: str, note: str) -> runs.Row:
    error = values.std(dtype=np.float64) / math.sqrt(len(values))
    mean = float(values.mean(dtype=np.float64))
    return runs.Row(name, mean, "nats", target, f"{note}; standard error over images {error:.2g}")


def _bits_row(name: str, values: Float[np.ndarray, "n"]) -> runs.Row:
    bits = -float(values.mean(dtype=np.float64)) / math.log(2.0) / SIDE**2
    return runs.Row(f"{name}, negative", bits, "bits a pixel", "", "at least what a code by this model needs")


def training_seconds(records: Sequence[dict], batch_size: int) -> float:
    """Seconds of training by a run's metrics, over all its starts, without compilation and evaluation."""
    seconds, done = 0.0, 0
    for record in records:
        if "images_per_s" in record:
            seconds += (record["step"] - done) * batch_size / record["images_per_s"]
            done = record["step"]
    return seconds


def grey(states: UInt8[np.ndarray, "n H W"], levels: int) -> UInt8[np.ndarray, "n H W"]:
    """States as grey images."""
    states = np.asarray(states)
    return states if levels == 256 else data.decode(states, levels)


def _grey(mean: Float[Array, "n H W"]) -> UInt8[Array, "n H W"]:
    return jnp.round(255.0 * mean).astype(jnp.uint8)


def _rows(states: np.ndarray, label: np.ndarray | None, index: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    return states[index], None if label is None else label[index]
