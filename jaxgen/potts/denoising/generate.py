"""Images drawn from a denoising machine: T short Gibbs runs, from noise to an image.

    x^T uniform;   t = T .. 1:   v = k sweeps of p(v, h | x^t, y, t) from x^t,   x^(t-1) ~ q(x^(t-1) | v)

Known pixels (inpainting) are clamped to their values in every sweep and noised like the rest in between. A noisy image
z to be cleaned adds what it says about each pixel to the logits of every level: p(v | x^t, z) ~ p(v | x^t) q(z | v).
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.bipartite import sample_bipartite
from jaxgen.potts.denoising.machine import DenoisingMachine, Params, Statistics
from jaxgen.potts.denoising.noise import corrupt, indicators, signal, uniform_levels
from jaxgen.potts.model import checked_labels

_BATCH = 500


class Denoiser(NamedTuple):
    """A trained machine, with what turns its states into images.

    Attributes:
        machine, params, statistics: the model.
        pixels: flat indices of the pixels that the machine draws; all others are always 0.
        shape: height and width of an image.
    """

    machine: DenoisingMachine
    params: Params
    statistics: Statistics
    pixels: Int[np.ndarray, " V"]
    shape: tuple[int, int]

    def images(self, v: UInt8[np.ndarray, "n V"]) -> UInt8[np.ndarray, "n H W"]:
        """Return whole images from the states of the machine's pixels."""
        images = np.zeros((len(v), self.shape[0] * self.shape[1]), np.uint8)
        images[:, self.pixels] = v
        return images.reshape(-1, *self.shape)

    def cut(self, images: np.ndarray) -> np.ndarray:
        """Return the machine's pixels (n, V) of whole images or masks (n, H, W)."""
        return images.reshape(len(images), -1)[:, self.pixels]


@dataclasses.dataclass(frozen=True)
class Generation:
    """The settings with which images are drawn.

    Attributes:
        sweeps: k >= 1, Gibbs sweeps per noise level; best is the number the machine was trained with.
        guidance: w, how strongly the label acts; 1 gives the model itself.
        last_beta: inverse temperature > 0 of the last level.

    Raises:
        UserError: an attribute out of range.
    """

    sweeps: int = 4
    guidance: float = 1.0
    last_beta: float = 1.0

    def __post_init__(self):
        if not isinstance(self.sweeps, int) or self.sweeps < 1:
            raise UserError(f"sweeps is {self.sweeps}; allowed: an integer, 1 or more")
        for name, positive in (("guidance", False), ("last_beta", True)):
            value = getattr(self, name)
            if not np.isfinite(np.float32(value)) or (positive and not value > 0):
                raise UserError(f"{name} is {value}; allowed: a finite number{' above 0' * positive}")


def generate(
    key: Key[Array, ""],
    model: Denoiser,
    label: Integer[np.ndarray, " n"],
    how: Generation,
    known: tuple[UInt8[np.ndarray, "n H W"], Bool[np.ndarray, "n H W"]] | None = None,
    noise: float = 0.0,
) -> UInt8[np.ndarray, "n H W"]:
    """Return one image per label, with levels 0 .. L-1.

    Args:
        key: random key; image m depends on it, on m, on its label and on the parameters alone.
        model: the trained machine.
        label: class of each image.
        how: sweeps, guidance and temperature.
        known: (images, mask) to inpaint: where the mask is True, pixels keep the values of the images.
        noise: r in [0, 1]; above 0 the known pixels are not kept but taken as noisy, each replaced with probability r
            by a level drawn uniformly, and the images are cleaned.

    Raises:
        UserError: labels that are no classes, images and mask that are not one per label, states beyond L-1, or noise
            out of range or without known images.
    """
    label = _checked_classes(model, label)
    n = len(label)
    if known is not None:
        _check_known(model, n, *known)
        known = tuple(model.cut(array) for array in known)
    if not 0 <= noise <= 1 or (noise > 0 and known is None):
        raise UserError(f"noise is {noise}; allowed: 0 to 1, and 0 without known images")
    pieces = []
    for start in range(0, n, _BATCH):
        rows = np.arange(start, start + min(_BATCH, n))  # the last batch is filled up: one program serves all
        inside = np.minimum(rows, n - 1)
        part = None if known is None else tuple(jnp.asarray(array[inside]) for array in known)
        *_, (_, v, _) = _levels(key, model, jnp.asarray(label[inside]), jnp.asarray(rows), how, part, noise)
        pieces.append(np.asarray(v))
    return model.images(np.concatenate(pieces)[:n])


def stages(
    key: Key[Array, ""], model: Denoiser, label: Integer[np.ndarray, " n"], how: Generation
) -> Iterator[tuple[int, UInt8[np.ndarray, "n H W"], UInt8[np.ndarray, "n H W"]]]:
    """Yield (t, v, x^t) from t = T to 1: the states after the sweeps of level t, and the noisy images before them."""
    label = _checked_classes(model, label)
    for step, v, x in _levels(key, model, jnp.asarray(label), jnp.arange(len(label)), how, None):
        yield step + 1, model.images(np.asarray(v)), model.images(np.asarray(x))


def _levels(key, model, label, rows, how, known, noise=0.0) -> Iterator[tuple[int, Array, Array]]:
    machine = model.machine
    key_start, key_levels = jax.random.split(key)
    x = uniform_levels(key_start, rows, machine.n_pixels, machine.levels)
    for step in reversed(range(machine.n_steps)):
        strength = (how.guidance, how.last_beta if step == 0 else 1.0)
        seen = (_evidence(*known, noise, machine.levels) / strength[1], None) if noise > 0 else (None, known)
        arrays = (model.params, model.statistics, x, label, rows, seen)
        v, renoised = _level(jax.random.fold_in(key_levels, step), machine, how.sweeps, step, strength, arrays)
        yield step, v, x
        x = renoised


@functools.partial(jax.jit, static_argnames=("machine", "sweeps"))
def _level(key, machine, sweeps, step, strength, arrays):
    """Return the states after the sweeps of one level, and the input of the next."""
    params, statistics, x, label, rows, (evidence, known) = arrays
    guidance, beta = strength
    key_sweeps, key_noise = jax.random.split(key)
    steps = jnp.full(len(label), step)
    logits = machine.apply({"params": params}, statistics, x, steps, label, guidance, method="logits")
    if evidence is not None:
        logits = (logits[0], logits[1] + evidence, logits[2])
    clamp, v = None, x
    if known is not None:
        states, clamp = known
        v = jnp.where(clamp, states, x)
    v = sample_bipartite(key_sweeps, *logits, v, sweeps, beta=beta, clamp=clamp, chain_ids=rows, dtype=machine.dtype)
    alpha = jnp.asarray(signal(machine.n_steps))[jnp.maximum(step - 1, 0)]
    return v, corrupt(key_noise, rows, v, alpha, machine.levels)


def _evidence(images: Array, seen: Array, noise: float, levels: int) -> Float[Array, "n V L1"]:
    """Return log q(z | v = l) - log q(z | v = 0) for l = 1 .. L-1; 0 where nothing is seen."""
    scale = np.float32(np.log1p((1 - noise) * levels / noise))
    return jnp.where(seen[..., None], scale * indicators(images, levels), 0.0)


def _checked_classes(model: Denoiser, label: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    if np.ndim(label) != 1 or len(label) < 1:
        raise UserError(f"label has shape {np.shape(label)}; allowed: (n,), one class per image, n of 1 or more")
    return checked_labels(np.asarray(label), len(label), model.machine.n_classes)


def _check_known(model: Denoiser, n: int, images: np.ndarray, mask: np.ndarray) -> None:
    shape = (n, *model.shape)
    if images.shape != shape or mask.shape != shape or mask.dtype != bool:
        raise UserError(
            f"known has images of shape {images.shape} and a mask of {mask.dtype} {mask.shape}; allowed: {shape}, and "
            "bool of the same shape"
        )
    if images.dtype != np.uint8:
        raise UserError(f"known has images of {images.dtype}; allowed: uint8")
    if images.max() >= model.machine.levels:
        raise UserError(f"known has the level {images.max()}; allowed: 0 to {model.machine.levels - 1}")
