"""Why coupling the samples of a batch fails: eigenvalues of I + gain K against batch size, and what predictions do.

    h <- (I + gain K) h          K_ij = K(|z_i - z_j|) over the batch, the source's kernel, negative at every distance

An eigenvalue below -1 turns the sign of a state and lets it grow at every step. Eigenvalues fall in proportion to the
batch size, so a network trained in batches of 128 and tested in batches of 256 is another network.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxgen.pmflow.lateral import SOURCE_KERNEL, Kernel, squared_distances
from jaxgen.pmflow.models import SOURCE_GAIN
from jaxgen.pmflow.task import PMFlowTask, logits
from jaxgen.runs import Row

SIZES = (1, 4, 16, 64, 128, 256, 512)  # each divides the last
GAUSSIAN_SCALE = 0.3
_LATENT_SIZE = 8
_REPEATS = 8


class Diagnosis(NamedTuple):
    """By batch size: the smallest eigenvalue of I + gain K, of Gaussian latents and of the trained networks' latents;
    test accuracy; and the share of test images whose label changes with the other images of the batch."""

    sizes: tuple[int, ...]
    trained_with: int
    latent_scale: float
    gaussian: Float[np.ndarray, " sizes"]
    trained: Float[np.ndarray, " sizes"]
    accuracy: Float[np.ndarray, "seeds sizes"]
    changed: Float[np.ndarray, "seeds sizes"]


def smallest_eigenvalue(z: Float[np.ndarray, "n d"], gain: float, kernel: Kernel = SOURCE_KERNEL) -> float:
    """Of I + gain K over the rows of z; K is symmetric."""
    z = np.asarray(z, np.float64)
    matrix = np.asarray(kernel(squared_distances(z, z)), np.float64)
    return float(1.0 + gain * np.linalg.eigvalsh(matrix)[0])


def gaussian_eigenvalue(size: int, scale: float = GAUSSIAN_SCALE, gain: float = SOURCE_GAIN, seed: int = 0) -> float:
    """Mean smallest eigenvalue over eight batches of `size` normal latents in 8 dimensions."""
    draws = np.random.default_rng(seed).normal(0.0, scale, (_REPEATS, size, _LATENT_SIZE))
    return float(np.mean([smallest_eigenvalue(z, gain) for z in draws]))


def diagnose(task: PMFlowTask, params: PyTree) -> Diagnosis:
    """Measure a trained network that couples its batch, all its seeds, on the test images in shuffled batches."""
    count = len(task.test["image"]) // max(SIZES) * max(SIZES)  # so that every batch is full
    images, labels = task.test["image"][:count], task.test["label"][:count]
    latents = _latents(task, params, images[: _REPEATS * max(SIZES)])
    accuracy, changed = [], []
    for size in SIZES:
        guesses = []
        for shuffle in range(2):
            order = np.random.default_rng((shuffle, size)).permutation(count)
            guesses.append(_predictions(task, params, images[order], size)[:, np.argsort(order)])
        accuracy.append(np.mean([(guess == labels).mean(1) for guess in guesses], axis=0))
        changed.append((guesses[0] != guesses[1]).mean(1))
    return Diagnosis(
        sizes=SIZES,
        trained_with=task.config.batch_size,
        latent_scale=float(np.sqrt(np.square(latents).mean())),
        gaussian=np.array([gaussian_eigenvalue(size) for size in SIZES]),
        trained=np.array([_mean_eigenvalue(latents, size) for size in SIZES]),
        accuracy=np.array(accuracy).T,
        changed=np.array(changed).T,
    )


def diagnosis_rows(found: Diagnosis) -> list[Row]:
    """The table of a diagnosis."""
    expected = {16: 0.63, 128: -1.98, 256: -5.0}
    rows = []
    for i, size in enumerate(found.sizes):
        target = f"expected {expected[size]}" if size in expected else ""
        note = (
            f"normal latents, sd {GAUSSIAN_SCALE}; trained ones, rms {found.latent_scale:.2g}: {found.trained[i]:.2f}"
        )
        rows.append(
            Row(f"smallest eigenvalue of I + {SOURCE_GAIN} K, batch {size}", found.gaussian[i], "", target, note)
        )
    for i, size in enumerate(found.sizes):
        note = f"labels that change with the batch mates: {100 * found.changed[:, i].mean():.2f} %"
        value = 100 * found.accuracy[:, i].mean()
        rows.append(Row(f"trained in batches of {found.trained_with}, tested in {size}", value, "%", "", note))
    return rows


def _predictions(task: PMFlowTask, params: PyTree, images: np.ndarray, size: int) -> Int[np.ndarray, "seeds n"]:
    """Labels of images predicted in batches of `size`, many batches at once."""

    @jax.jit
    def several(params: PyTree, batches: Array) -> Array:
        one = jax.vmap(lambda p, batch: logits(task.model, p, batch, None).argmax(-1), in_axes=(None, 0))
        return jax.vmap(one, in_axes=(0, None))(params, batches)

    parts = images.reshape(-1, max(SIZES) // size, size, *images.shape[1:])
    seeds = jax.tree.leaves(params)[0].shape[0]
    return np.concatenate([several(params, part).reshape(seeds, -1) for part in parts], axis=1)


def _latents(task: PMFlowTask, params: PyTree, images: np.ndarray) -> Float[np.ndarray, "seeds n d"]:
    """Latents after the flow, as the last coupling sees them."""

    @jax.jit
    @jax.vmap
    def latents(params: PyTree) -> Array:
        def one(part: Array) -> Array:
            _, seen = task.model.apply({"params": params}, part / jnp.float32(255), mutable=["intermediates"])
            return seen["intermediates"]["latents"][0]

        parts = jnp.asarray(images).reshape(-1, max(SIZES), *images.shape[1:])
        return jax.lax.map(one, parts).reshape(len(images), -1)

    return np.asarray(latents(params))


def _mean_eigenvalue(latents: Float[np.ndarray, "seeds n d"], size: int) -> float:
    draws = [seed[k * size : (k + 1) * size] for seed in latents for k in range(_REPEATS)]
    return float(np.mean([smallest_eigenvalue(z, SOURCE_GAIN) for z in draws]))
