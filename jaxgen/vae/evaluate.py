"""Measurements of a VAE: bounds of the log-likelihood, samples and their cost, and the evaluation during training."""

import functools
import time
import typing
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key, UInt8

from jaxgen import data, runs, training
from jaxgen.vae.bounds import elbo, importance_weighted_bound, kl_divergence, log_weights
from jaxgen.vae.config import run_key
from jaxgen.vae.likelihoods import Likelihood
from jaxgen.vae.model import VAE

if typing.TYPE_CHECKING:
    from jaxgen.vae.task import VAETask

_ROWS = 2048  # decoder evaluations at once in the importance-weighted bound
_CHUNK = 500
_SHOWN = 64
_REPEATS = 7


class Bounds(NamedTuple):
    """The bounds of every image in nats: the ELBO, its KL part, and the importance-weighted bound."""

    elbo: Float[np.ndarray, "n"]
    kl: Float[np.ndarray, "n"]
    importance_weighted: Float[np.ndarray, "n"]


class Drawn(NamedTuple):
    """Samples and their cost.

    Attributes:
        states: draws from p(x | z), z from the prior: samples of the model.
        means: mean grey of p(x | z), 0 to 255, for the same z: not samples, though often shown as such.
        labels: the class of each image, or None.
        per_second: draws per second without compilation; median of several rounds.
        flops: floating-point operations per draw as the compiler counts them, without transcendental functions.
        compile_s: seconds of compilation.
    """

    states: UInt8[np.ndarray, "n H W"]
    means: UInt8[np.ndarray, "n H W"]
    labels: UInt8[np.ndarray, "n"] | None
    per_second: float
    flops: float
    compile_s: float


def measure_bounds(task: "VAETask", params: dict) -> Bounds:
    """Return bounds of the test images from `importance_samples` draws each; the noise is keyed by image number."""
    samples, n = task.config.importance_samples, len(task.test)
    size = max(1, min(_ROWS // samples, n))
    key = run_key(task.config, "test")

    @jax.jit
    def bounds_of(params: dict, x: Array, label: Array | None, index: Array) -> tuple[Array, Array, Array]:
        weights = log_weights(task.model, task.likelihood, params, key, x, label, index, samples)
        posterior = task.model.apply({"params": params}, x, label, method=VAE.encode)
        prior = task.model.apply({"params": params}, len(x), label, method=VAE.prior)
        return weights.mean(0), kl_divergence(posterior, prior), importance_weighted_bound(weights)

    pieces = []
    with runs.progress(n, f"bounds, {samples} draws per image", "image") as bar:
        for start in range(0, n, size):
            # The last chunk repeats the last image, so that one compiled program serves all chunks.
            index = np.minimum(np.arange(start, start + size), n - 1)
            bounds = bounds_of(params, *_rows(task.test, task.test_label, index), index)
            pieces.append([np.asarray(part)[: n - start] for part in bounds])
            bar.update(min(size, n - start))
    return Bounds(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def draw_samples(task: "VAETask", params: dict) -> Drawn:
    """Draw `samples` images, whose classes alternate, number k from fold_in(key, k), and measure the speed."""
    n = task.config.samples
    key = run_key(task.config, "samples")
    sampler = jax.jit(functools.partial(_draw_in_turn, task.model, task.likelihood))
    chunk = np.arange(_CHUNK, dtype=np.uint32)
    begin = time.perf_counter()
    compiled = sampler.lower(params, key, chunk).compile()
    compile_s = time.perf_counter() - begin
    starts = range(0, n, _CHUNK)
    pieces = [jax.device_get(compiled(params, key, start + chunk)) for start in starts]
    times = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready([compiled(params, key, start + chunk) for start in starts])
        times.append(time.perf_counter() - begin)
    states, means = (np.concatenate(parts)[:n] for parts in zip(*pieces, strict=True))
    classes = task.model.n_classes
    labels = (np.arange(n) % classes).astype(np.uint8) if classes else None
    speed = len(starts) * _CHUNK / float(np.median(times))
    return Drawn(states, means, labels, speed, compiled.cost_analysis()["flops"] / _CHUNK, compile_s)


def generate(
    key: Key[Array, ""],
    model: VAE,
    likelihood: Likelihood,
    params: dict,
    n: int,
    label: Integer[np.ndarray, "n"] | None = None,
) -> tuple[UInt8[np.ndarray, "n H W"], UInt8[np.ndarray, "n H W"]]:
    """Draw n images, z from the prior, then x from p(x | z); image k depends on `key` and k alone.

    Args:
        key: the key of the whole set of images.
        model: the VAE.
        likelihood: what its outputs mean.
        params: the parameters.
        n: number of images.
        label: the class of each image, for a model with classes.

    Returns:
        The states of the samples, and the mean grey of p(x | z), 0 to 255, for the same z.

    Raises:
        UserError: labels for a model without classes, or none for one with classes.
    """
    draw = jax.jit(functools.partial(_draw, model, likelihood))
    pieces = []
    with runs.progress(n, "draws", "image") as bar:
        for part in data.evaluation_slices(n, min(n, _CHUNK)):
            # Whole chunks only, so that one program serves any n.
            index = np.arange(part.start, part.start + min(n, _CHUNK), dtype=np.uint32)
            some = None if label is None else np.asarray(label)[np.minimum(index, n - 1)]
            pieces.append(jax.device_get(draw(params, key, index, some)))
            bar.update(part.stop - part.start)
    states, means = (np.concatenate(parts)[:n] for parts in zip(*pieces, strict=True))
    return states, means


def _draw(
    model: VAE, law: Likelihood, params: dict, key: Array, index: Array, label: Array | None
) -> tuple[Array, Array]:
    keys = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(key, k)))(index)
    prior = model.apply({"params": params}, len(index), label, method=VAE.prior)
    noise = jax.vmap(lambda k: jax.random.normal(k, (model.latent,)))(keys[:, 0])
    z = prior.mean + jnp.exp(0.5 * prior.log_var) * noise
    outputs = model.apply({"params": params}, z, label, method=VAE.decode)
    return jax.vmap(law.sample)(keys[:, 1], outputs), _grey_mean(law.mean(outputs))


def _draw_in_turn(model: VAE, law: Likelihood, params: dict, key: Array, index: Array) -> tuple[Array, Array]:
    label = index % model.n_classes if model.n_classes else None
    return _draw(model, law, params, key, index, label)


def reconstructions(task: "VAETask", params: dict, index: Integer[np.ndarray, "n"]) -> UInt8[np.ndarray, "n H W"]:
    """Return the mean grey of p(x | z) of these test images, where z is the mean of the posterior."""
    x, label = _rows(task.test, task.test_label, index)
    return np.asarray(_grey_mean(task.likelihood.mean(task.model.apply({"params": params}, x, label))))


def evaluation_hook(task: "VAETask", log: runs.Logger) -> Callable[[int, training.TrainState], dict[str, float]]:
    """Return a hook for `fit` that measures the ELBO of the validation images and logs pictures."""
    key = run_key(task.config, "validation")
    score = jax.jit(functools.partial(elbo, task.model, task.likelihood))
    pictures = jax.jit(functools.partial(_draw_in_turn, task.model, task.likelihood))

    def hook(step: int, state: training.TrainState) -> dict[str, float]:
        pieces = []
        for chunk in data.evaluation_slices(len(task.validation), _CHUNK):
            index = np.arange(chunk.start, chunk.stop, dtype=np.uint32)
            pieces.append(score(state.params, key, *_rows(task.validation, task.validation_label, index), index))
        bound, kl = (np.concatenate(parts).mean(dtype=np.float64) for parts in zip(*pieces, strict=True))
        drawn, means = pictures(state.params, key, np.arange(_SHOWN, dtype=np.uint32))
        log.images(step, "draws", grey(drawn, task.config.levels))
        log.images(step, "means", means)
        return {"validation_elbo": float(bound), "validation_kl": float(kl)}

    return hook


def grey(states: UInt8[np.ndarray, "n H W"], levels: int) -> UInt8[np.ndarray, "n H W"]:
    """Return states as grey images, 0 to 255."""
    states = np.asarray(states)
    return states if levels == 256 else data.decode(states, levels)


def _grey_mean(mean: Float[Array, "n H W"]) -> UInt8[Array, "n H W"]:
    return jnp.round(255.0 * mean).astype(jnp.uint8)


def _rows(states: np.ndarray, label: np.ndarray | None, index: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    return states[index], None if label is None else label[index]
