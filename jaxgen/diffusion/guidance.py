"""From a network to a denoiser, which estimates the image and the noise in x_t for a sampler.

    output = u + w (c - u)      u without a label, c with it; w = 0 unconditional, w = 1 conditional

Ho and Salimans (2022), eq. 6, write (1 + w_paper) c - w_paper u: w_paper = w - 1. The outputs for c and u come from one
batch of 2 B examples; w = 0 and w = 1 need only one of them. The formula is the same for eps, x0 and v, which are
affine in one another at a given x_t. Guidance may be limited to an interval of the noise level tau, which is
sigma / (alpha + sigma); outside it w = 1 (Kynkaanniemi et al. 2024, eq. 6).

Guidance enlarges the output's standard deviation, which darkens and overexposes images. Rescaling by phi returns to
the deviation of c (Lin et al. 2024, eqs. 15 and 16), std over the pixels and channels of an example:

    output' = phi (std c / std output) output + (1 - phi) output,   0 <= phi <= 1

A network of two outputs per channel also predicts o; f = (o + 1) / 2 interpolates the variance of the reverse step,
log variance = f log beta + (1 - f) log posterior variance (Nichol and Dhariwal 2021, eq. 15). It is taken from c.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Integer, Num, PyTree

from jaxgen.diffusion.process import Images, Process, Times, at, posterior_variance, step_beta, to_eps, to_x0
from jaxgen.diffusion.unet import NO_LABEL

Interval = tuple[float, float]
EVERYWHERE: Interval = (0.0, 1.0)
Network = Callable[[Images, Int[Array, "batch"], Int[Array, "batch"]], Float[Array, "batch height width outputs"]]


class Denoised(NamedTuple):
    """The estimated content of x_t: the image, the noise, and f of the learned variance or None."""

    x0: Images
    eps: Images
    fraction: Images | None = None


Denoiser = Callable[[Images, Times], Denoised]


def network(model, params: PyTree) -> Network:
    """Return the function `(x, t, label) -> output` of a U-Net with its parameters."""
    return lambda x, t, label: model.apply({"params": params}, x, t, label)


def guided_output(
    apply: Network,
    x: Images,
    t: Num[Array, "batch"],
    label: Integer[Array, "batch"],
    w: Float[ArrayLike, "..."],
    rescale: float = 0.0,
) -> Float[Array, "batch height width outputs"]:
    """Return u + w (c - u) of the prediction, rescaled; a second output is that of c, or of u where w = 0.

    Args:
        apply: the network's function.
        x: images at the time t.
        t: time of each example.
        label: class of each example, or NO_LABEL.
        w: guidance.
        rescale: phi, 0 to 1; without effect where w is 0 or 1.
    """
    nothing = jnp.full_like(label, NO_LABEL)
    if isinstance(w, float | int) and w in (0, 1):
        return apply(x, t, label if w else nothing)
    both = apply(jnp.concatenate([x, x]), jnp.concatenate([t, t]), jnp.concatenate([label, nothing]))
    conditional, unconditional = jnp.split(both, 2)
    channels = x.shape[-1]
    first = unconditional[..., :channels] + w * (conditional[..., :channels] - unconditional[..., :channels])
    if rescale:
        of_first = _deviation(first)  # 0 where the network answers with a constant, as before training
        ratio = jnp.where(of_first > 0, _deviation(conditional[..., :channels]) / of_first, 1.0)
        first = (rescale * ratio + 1 - rescale) * first
    return jnp.concatenate([first, conditional[..., channels:]], axis=-1)


def _deviation(x: Images) -> Float[Array, "batch 1 1 1"]:
    return jnp.std(x, axis=(1, 2, 3), keepdims=True)


def limited(w: float, level: Float[ArrayLike, "..."], interval: Interval) -> Float[ArrayLike, "..."]:
    """Return w where the noise level lies in the interval, 1 elsewhere."""
    if tuple(interval) == EVERYWHERE:
        return w
    return jnp.where((level >= interval[0]) & (level <= interval[1]), w, 1.0)


def make_denoiser(
    apply: Network,
    process: Process,
    label: Integer[Array, "batch"],
    prediction: str,
    w: float = 1.0,
    clip_x0: bool = True,
    interval: Interval = EVERYWHERE,
    rescale: float = 0.0,
) -> Denoiser:
    """Return the denoiser `(x_t, t) -> Denoised` of a network.

    Args:
        apply: the network's function.
        process: the process that it was trained on.
        label: class of each example, or NO_LABEL.
        prediction: what the first output predicts, "eps", "x0", "v", "flow" or "edm".
        w: guidance.
        clip_x0: whether to clip the image to [-1, 1] and to derive the noise from the clipped image. Without it, the
            first step of the cosine schedule multiplies errors by about 100.
        interval: noise levels tau between which there is guidance.
        rescale: phi of the guidance, see `guided_output`.
    """
    level = process.sigma / (process.alpha + process.sigma)

    def denoise(x: Images, t: Times) -> Denoised:
        times, channels = jnp.broadcast_to(t, label.shape), x.shape[-1]
        output = guided_output(apply, x, times, label, limited(w, at(level, times, x), interval), rescale)
        x0 = to_x0(prediction, process, output[..., :channels], x, times)
        if clip_x0:
            x0 = jnp.clip(x0, -1.0, 1.0)
        fraction = (output[..., channels:] + 1) / 2 if output.shape[-1] == 2 * channels else None
        return Denoised(x0, to_eps(process, x0, x, times), fraction)

    return denoise


def log_variance(process: Process, fraction: Images | None, t: Times, s: Times) -> Float[Array, "..."]:
    """Return the log variance of the reverse step from t to s.

    It is that of the posterior without `fraction`; `fraction` interpolates from there to log beta. The posterior
    variance vanishes at s = 0; there it counts as that of the step from 2 to 1.
    """
    least = posterior_variance(process, 2, 1)
    low = jnp.log(jnp.where(jnp.asarray(s) > 0, posterior_variance(process, t, s), least))
    if fraction is None:
        return low
    high = jnp.log(step_beta(process, t, s))
    low, high = (value.reshape(value.shape + (1,) * (fraction.ndim - value.ndim)) for value in (low, high))
    return fraction * high + (1 - fraction) * low
