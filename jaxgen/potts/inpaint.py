"""Inpainting and denoising with a trained model: draws of the unknown pixels given the observed ones.

    inpaint     p(x_u | x_k)                                      k: known pixels, u: the others
    denoise     p(x | y) ~ p(x) prod_(i seen) q(y_i | x_i)        q(y | x) = (1 - r) delta(y, x) + r / L

Both are Gibbs sampling of the model itself. Known pixels are clamped. A noisy pixel enters as a field, log q(y_i | a) /
beta at level a, which is added to the bias of its site; so does a class label, as U_i[a, label]. Any other evidence of
the form prod_i q_i(x_i) can be given to `gibbs.sample` in the same way.

The unknown pixels start at uniform noise, and the first half of the sweeps raises the inverse temperature from 0 to
beta, since a chain that runs at beta from the start stays near the first mode that it enters.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, PRNGKeyArray, UInt8

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.graph import GraphEBM
from jaxgen.potts.model import PottsEBM, check_below, label_field

_STAGES = 40

Model = PottsEBM | GraphEBM


def inpaint(
    key: PRNGKeyArray,
    model: Model,
    params: dict,
    images: UInt8[Array | np.ndarray, "n *sites"],
    known: Bool[Array | np.ndarray, "*sites"] | Bool[Array | np.ndarray, "n *sites"],
    n_sweeps: int = 1000,
    *,
    label: Integer[Array | np.ndarray, "n"] | None = None,
    **how,
) -> UInt8[Array, "n *sites"]:
    """Return every image with its unknown pixels drawn from p(x_u | x_k) and its known ones as given.

    Repeat an image to draw several completions of it; the noise of image m depends on the key and on m.

    Args:
        key: random key.
        model: a PottsEBM, or a GraphEBM, whose images have the shape (n, sites).
        params: its parameters.
        images: states 0 .. L-1; unknown pixels are not read.
        known: True where a pixel is given; one mask for all images or one per image.
        n_sweeps: Gibbs sweeps, 1 or more, the first half of them annealing; they run in at most 40 stages of equal
            length, which rounds their number up.
        label: class of every image, for a model with classes.
        how: `engine` and `beta` of `gibbs.sample`, beta as in training; `progress`, called with the number of sweeps
            done since the last call.

    Raises:
        UserError: shapes that do not fit; a label for a model without classes, or no label for one with classes; or
            what `gibbs.sample` refuses.
    """
    known = _checked_mask(known, images.shape)
    _check_images(images, known, model)
    states = jnp.where(known, images, 0).astype(jnp.uint8)
    return _draw(key, model, params, (states, known), _field(model, params, label, len(images)), n_sweeps, **how)


def denoise(
    key: PRNGKeyArray,
    model: Model,
    params: dict,
    images: UInt8[Array | np.ndarray, "n *sites"],
    noise: float,
    n_sweeps: int = 1000,
    *,
    seen: Bool[Array | np.ndarray, "*sites"] | Bool[Array | np.ndarray, "n *sites"] | None = None,
    label: Integer[Array | np.ndarray, "n"] | None = None,
    **how,
) -> UInt8[Array, "n *sites"]:
    """Return a clean image drawn from p(x | y) for every noisy image y.

    The mean of the greys of several draws has the least squared error; the most frequent level of every pixel has the
    fewest wrong pixels.

    Args:
        key: random key.
        model: a PottsEBM, or a GraphEBM, whose images have the shape (n, sites).
        params: its parameters.
        images: y, noisy states 0 .. L-1.
        noise: r in (0, 1], the probability with which a pixel was replaced by a level drawn uniformly.
        n_sweeps: as in `inpaint`.
        seen: False where a pixel was not observed; by default all were.
        label: class of every image, for a model with classes.
        how: as in `inpaint`.

    Raises:
        UserError: noise out of range, or what `inpaint` refuses.
    """
    if not 0 < noise <= 1:
        raise UserError(f"noise is {noise}; allowed: above 0, up to 1. Pixels without noise are known: use inpaint")
    _check_images(images, True, model)
    beta = how.get("beta", 1.0)
    seen = _checked_mask(np.ones(images.shape, bool) if seen is None else seen, images.shape)
    evidence = _log_likelihoods(images, noise, model.levels) / jnp.maximum(beta, jnp.finfo(jnp.float32).tiny)
    evidence = jnp.where(seen[..., None], evidence, 0.0)
    of_label = _field(model, params, label, len(images))
    field = evidence if of_label is None else evidence + of_label
    return _draw(key, model, params, (images, jnp.zeros(images.shape, bool)), field, n_sweeps, **how)


def add_noise(
    key: PRNGKeyArray, images: UInt8[Array | np.ndarray, "n *sites"], noise: float, levels: int
) -> UInt8[Array, "n *sites"]:
    """Return the images with every pixel replaced, with probability `noise`, by a level drawn uniformly."""
    key_where, key_level = jax.random.split(key)
    replaced = jax.random.uniform(key_where, images.shape) < noise
    return jnp.where(replaced, jax.random.randint(key_level, images.shape, 0, levels), images).astype(jnp.uint8)


def _draw(
    key: PRNGKeyArray,
    model: Model,
    params: dict,
    given: tuple[UInt8[Array, "n *sites"], Bool[Array, "n *sites"]],
    field: Array | None,
    n_sweeps: int,
    *,
    beta: float = 1.0,
    engine: str = "lattice",
    progress: Callable[[int], object] = lambda done: None,
) -> UInt8[Array, "n *sites"]:
    """Anneal in the first half of the stages, then sweep at beta."""
    if n_sweeps < 1:
        raise UserError(f"n_sweeps is {n_sweeps}; allowed: an integer, 1 or more")
    states, clamp = given
    key_start, key_sweeps = jax.random.split(key)
    core = {name: params[name] for name in ("bias", "coupling")}
    length = -(-n_sweeps // _STAGES)
    stages = -(-n_sweeps // length)
    x = jnp.where(clamp, states, jax.random.randint(key_start, states.shape, 0, _site_levels(model), jnp.uint8))
    for stage in range(stages):
        strength = np.float32(min(1.0, 2 * (stage + 1) / stages))
        key_stage = jax.random.fold_in(key_sweeps, stage)
        conditions = {"engine": engine, "beta": strength * beta, "clamp": clamp, "field": field}
        x, _ = gibbs.sample(key_stage, model.lattice, core, x, length, **conditions)
        progress(length)
    return x


def _site_levels(model: Model) -> int | np.ndarray:
    return model.lattice.levels if isinstance(model, GraphEBM) else model.levels


def _checked_mask(mask: Array | np.ndarray, shape: tuple[int, ...]) -> Bool[Array, "n *sites"]:
    if mask.dtype != bool or mask.shape not in (shape, shape[1:]):
        raise UserError(f"mask is {mask.dtype} {mask.shape}; allowed: bool {shape[1:]} or {shape}, that of the images")
    return jnp.broadcast_to(mask, shape)


def _check_images(images: UInt8[Array, "n *sites"], known: Bool[Array, "..."] | bool, model: Model) -> None:
    if not jnp.issubdtype(images.dtype, jnp.integer):
        raise UserError(f"images is {images.dtype}; allowed: integers 0 to {model.levels - 1}")
    if not isinstance(images, jax.core.Tracer):
        check_below("images", np.where(known, images, 0), model.levels)


def _field(model: Model, params: dict, label: Array | np.ndarray | None, n: int) -> Array | None:
    """Return what a class label adds to the biases; None for a model without classes."""
    if (label is None) != (model.n_classes == 0):
        given = "None" if label is None else "given"
        allowed = "one class per image" if model.n_classes else "None"
        raise UserError(f"label is {given}; allowed for a model of {model.n_classes} classes: {allowed}")
    if label is None:
        return None
    if label.shape != (n,):
        raise UserError(f"label has shape {label.shape}; allowed: ({n},), one class per image")
    return label_field(params, jnp.asarray(label))


def _log_likelihoods(images: UInt8[Array, "*sites"], noise: float, levels: int) -> Float[Array, "*sites L"]:
    """Return log q(y | a) for every level a, up to a constant."""
    same = np.float32(np.log1p((1 - noise) * levels / noise))
    return jnp.where(jnp.asarray(images)[..., None] == jnp.arange(levels), same, 0.0)
