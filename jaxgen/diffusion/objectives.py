"""The loss of a noisy image.

    t uniform on 1 ... T,   x_t = alpha_t x_0 + sigma_t eps,   label kept with probability 1 - dropout, else "no label"
    loss = w(t) mean over pixels of (network(x_t, t, label) - target)^2,   target eps, x_0 or v

w = 1, or min-SNR weights (Hang et al. 2023, eq. 8 and section 3.4):

    SNR = alpha_t^2 / sigma_t^2,   m = min(SNR, gamma),   w = m / SNR for eps, m for x_0, m / (SNR + 1) for v

Where the variance is learned, T L_t / 1000 in bits per pixel is added, with the mean held fixed in it: L_hybrid of
Nichol and Dhariwal (2021), eq. 16. All random draws of an example come from fold_in(key, position).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Key, UInt8, UInt32

from jaxgen.diffusion.edm import EDM, edm_draw, edm_losses
from jaxgen.diffusion.guidance import Denoised, Network
from jaxgen.diffusion.likelihood import step_term
from jaxgen.diffusion.process import Images, Process, Times, check_shape, prediction_target, q_sample, to_eps, to_x0
from jaxgen.diffusion.rectified_flow import FLOW, flow_losses
from jaxgen.diffusion.rectified_flow import draw as flow_draw
from jaxgen.diffusion.unet import NO_LABEL

_VARIANCE_WEIGHT = 1e-3


class Objective(NamedTuple):
    """What is learned.

    Attributes:
        prediction: "eps", "x0", "v", "flow" or "edm".
        min_snr: gamma of the min-SNR weights, or None for weights of 1.
        label_dropout: share of labels left out.
    """

    prediction: str = "eps"
    min_snr: float | None = None
    label_dropout: float = 0.1


class Draws(NamedTuple):
    """The random draws of every example: its time, its noise, and whether its label is left out."""

    t: Int[Array, "batch"]
    noise: Images
    dropped: Bool[Array, "batch"]


def to_unit(images: UInt8[Array, "batch height width"] | UInt8[Array, "batch height width channels"]) -> Images:
    """Return grey or colour images 0 to 255 as (batch, height, width, channels) in [-1, 1]."""
    images = images[..., None] if images.ndim == 3 else images
    return images.astype(jnp.float32) / 127.5 - 1


def draw(
    key: Key[Array, ""], position: UInt32[Array, "batch"], n_times: int, shape: tuple[int, ...], label_dropout: float
) -> Draws:
    """Return times 1 to `n_times`, noise (batch, *shape) and dropout, those of each example from its own key."""

    def draw_example(k):
        key_time, key_noise, key_label = jax.random.split(jax.random.fold_in(key, k), 3)
        t = jax.random.randint(key_time, (), 1, n_times + 1)
        return t, jax.random.normal(key_noise, shape), jax.random.bernoulli(key_label, label_dropout)

    return Draws(*jax.vmap(draw_example)(position))


def loss_weight(objective: Objective, process: Process, t: Times) -> Float[Array, "..."]:
    """Return w(t) in the shape of t."""
    if objective.min_snr is None:
        return jnp.ones(jnp.shape(t))
    snr = (process.alpha[t] / process.sigma[t]) ** 2
    capped = jnp.minimum(snr, objective.min_snr)
    return {"eps": capped / snr, "x0": capped, "v": capped / (snr + 1)}[objective.prediction]


def example_losses(
    network: Network, objective: Objective, process: Process, x0: Images, label: Integer[Array, "batch"], draws: Draws
) -> tuple[Float[Array, "batch"], dict[str, Float[Array, "batch"]]]:
    """Return the loss of every example, and its parts.

    The parts are "mse", and "vlb" in bits per pixel where the variance is learned.

    Raises:
        UserError: noise or network output of another shape than the images, which would broadcast.
    """
    t, channels = draws.t, x0.shape[-1]
    check_shape(draws.noise, "noise", x0)
    x = q_sample(process, x0, t, draws.noise)
    output = network(x, t, jnp.where(draws.dropped, NO_LABEL, label))
    check_shape(output[..., :channels], "the prediction", x0)
    target = prediction_target(objective.prediction, process, x0, draws.noise, t)
    mse = jnp.mean((output[..., :channels] - target) ** 2, axis=(1, 2, 3))
    losses = loss_weight(objective, process, t) * mse
    if output.shape[-1] == channels:
        return losses, {"mse": mse}
    image = jax.lax.stop_gradient(to_x0(objective.prediction, process, output[..., :channels], x, t))
    denoised = Denoised(image, to_eps(process, image, x, t), (output[..., channels:] + 1) / 2)
    vlb = process.n_steps * step_term(process, x0, x, denoised, t)
    return losses + _VARIANCE_WEIGHT * vlb, {"mse": mse, "vlb": vlb}


def drawn_losses(
    network: Network,
    objective: Objective,
    process: Process,
    key: Key[Array, ""],
    x0: Images,
    label: Integer[Array, "batch"],
    position: UInt32[Array, "batch"],
) -> tuple[Float[Array, "batch"], dict[str, Float[Array, "batch"]]]:
    """Return what `example_losses` does, with times, noise and dropout drawn.

    For "flow" and "edm" it is the loss of `rectified_flow` and of `edm`.

    Args:
        network: the network's function.
        objective: what the network learns.
        process: the forward process; "flow" and "edm" do not use it.
        key: the key of all examples.
        x0: images in [-1, 1].
        label: the classes.
        position: number of each example, by which its draws are keyed.
    """
    shape, dropout = x0.shape[1:], objective.label_dropout
    if objective.prediction == FLOW:
        losses = flow_losses(network, x0, label, *flow_draw(key, position, shape, dropout))
        return losses, {"mse": losses}
    if objective.prediction == EDM:
        losses = edm_losses(network, x0, label, *edm_draw(key, position, shape, dropout))
        return losses, {"mse": losses}
    draws = draw(key, position, process.n_steps, shape, dropout)
    return example_losses(network, objective, process, x0, label, draws)
