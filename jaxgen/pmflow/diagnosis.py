"""Why coupling the samples of a batch fails: eigenvalues of I + gain K and predictions against the batch size.

    h <- (I + gain K) h          K_ij = K(|z_i - z_j|) over the batch, with the kernel of the original notebook, which
                                 is negative at every distance

An eigenvalue below -1 flips the sign of a state and amplifies it at every step. The smallest eigenvalue falls in
proportion to the batch size, so a network trained in batches of 128 and tested in batches of 256 computes another
function.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxgen.pmflow.classifiers import logits
from jaxgen.pmflow.lateral import ORIGINAL_KERNEL, Kernel, squared_distances
from jaxgen.pmflow.models import ORIGINAL_GAIN
from jaxgen.pmflow.task import PMFlowTask
from jaxgen.runs import Row

SIZES = (1, 4, 16, 64, 128, 256, 512)  # each divides the last
GAUSSIAN_SCALE = 0.3
_LATENT_SIZE = 8
_REPEATS = 8


class Diagnosis(NamedTuple):
    """Measures of trained networks by batch size.

    Attributes:
        sizes: the batch sizes.
        trained_with: the batch size of training.
        latent_scale: root mean square of the latents of the trained networks.
        gaussian: smallest eigenvalue of I + gain K for Gaussian latents.
        trained: smallest eigenvalue for the latents of the trained networks.
        accuracy: test accuracy, 0..1.
        changed: share of test images whose label changes with the other images of the batch.
    """

    sizes: tuple[int, ...]
    trained_with: int
    latent_scale: float
    gaussian: Float[np.ndarray, " sizes"]
    trained: Float[np.ndarray, " sizes"]
    accuracy: Float[np.ndarray, "seeds sizes"]
    changed: Float[np.ndarray, "seeds sizes"]


def smallest_eigenvalue(z: Float[np.ndarray, "n d"], gain: float, kernel: Kernel = ORIGINAL_KERNEL) -> float:
    """Return the smallest eigenvalue of I + gain K over the rows of z; K is symmetric."""
    z = np.asarray(z, np.float64)
    matrix = np.asarray(kernel(squared_distances(z, z)), np.float64)
    return float(1.0 + gain * np.linalg.eigvalsh(matrix)[0])


def gaussian_eigenvalue(size: int, scale: float = GAUSSIAN_SCALE, gain: float = ORIGINAL_GAIN, seed: int = 0) -> float:
    """Return the mean smallest eigenvalue over eight batches of `size` normal latents in 8 dimensions."""
    draws = np.random.default_rng(seed).normal(0.0, scale, (_REPEATS, size, _LATENT_SIZE))
    return float(np.mean([smallest_eigenvalue(z, gain) for z in draws]))


def diagnose(task: PMFlowTask, params: PyTree) -> Diagnosis:
    """Measure the trained networks of a model that couples its batch, on the test images in shuffled batches."""
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


def diagnosis_rows(diagnosis: Diagnosis) -> list[Row]:
    """Return the rows of the record of a diagnosis."""
    expected = {16: 0.63, 128: -1.98, 256: -5.0}
    rows = []
    for i, size in enumerate(diagnosis.sizes):
        target = f"expected {expected[size]}" if size in expected else ""
        note = f"normal latents, sd {GAUSSIAN_SCALE}; "
        note += f"trained latents, rms {diagnosis.latent_scale:.2g}: {diagnosis.trained[i]:.2f}"
        rows.append(
            Row(f"smallest eigenvalue of I + {ORIGINAL_GAIN} K, batch {size}", diagnosis.gaussian[i], "", target, note)
        )
    for i, size in enumerate(diagnosis.sizes):
        note = f"labels that change with the other images of the batch: {100 * diagnosis.changed[:, i].mean():.2f} %"
        value = 100 * diagnosis.accuracy[:, i].mean()
        rows.append(Row(f"trained in batches of {diagnosis.trained_with}, tested in {size}", value, "%", "", note))
    return rows


def _predictions(task: PMFlowTask, params: PyTree, images: np.ndarray, size: int) -> Int[np.ndarray, "seeds n"]:
    """Return the labels of images predicted in batches of `size`, many batches at once."""

    @jax.jit
    def several(params: PyTree, batches: Array) -> Array:
        predict = jax.vmap(lambda p, batch: logits(task.model, p, batch, None).argmax(-1), in_axes=(None, 0))
        return jax.vmap(predict, in_axes=(0, None))(params, batches)

    parts = images.reshape(-1, max(SIZES) // size, size, *images.shape[1:])
    seeds = jax.tree.leaves(params)[0].shape[0]
    return np.concatenate([several(params, part).reshape(seeds, -1) for part in parts], axis=1)


def _latents(task: PMFlowTask, params: PyTree, images: np.ndarray) -> Float[np.ndarray, "seeds n d"]:
    """Return the latents after the flow, as the last coupling sees them."""

    @jax.jit
    @jax.vmap
    def latents(params: PyTree) -> Array:
        def of_part(part: Array) -> Array:
            _, seen = task.model.apply({"params": params}, part / jnp.float32(255), mutable=["intermediates"])
            return seen["intermediates"]["latents"][0]

        parts = jnp.asarray(images).reshape(-1, max(SIZES), *images.shape[1:])
        return jax.lax.map(of_part, parts).reshape(len(images), -1)

    return np.asarray(latents(params))


def _mean_eigenvalue(latents: Float[np.ndarray, "seeds n d"], size: int) -> float:
    draws = [seed[k * size : (k + 1) * size] for seed in latents for k in range(_REPEATS)]
    return float(np.mean([smallest_eigenvalue(z, ORIGINAL_GAIN) for z in draws]))
