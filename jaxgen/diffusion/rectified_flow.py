"""Rectified flow: straight paths between image and noise, in continuous time.

    x_t = (1 - t) x_0 + t eps,  0 <= t <= 1,     v(x, t) = E[eps - x_0 | x_t = x],     dx / dt = v
    loss = mean over pixels of (network(x_t, t, label) - (eps - x_0))^2
    t = 1 / (1 + exp(-z)),  z ~ N(0, 1)

The solution of the ODE from noise at t = 1 has the law of the images at t = 0 (Liu et al. 2023, theorem 3.3; Lipman et
al. 2023, eqs. 20 to 23 with sigma_min = 0). The logit-normal law of t puts most of the training where the velocity is
hardest to predict (Esser et al. 2024, section 3.1).

x_t differs from the points of a process with alpha_t^2 + sigma_t^2 = 1 by a factor alone: x / (alpha + sigma) lies on
the straight path at the time sigma / (alpha + sigma). `on_process` uses this, so that every sampler, bound and
inpainting of a process also serves a flow.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Integer, Key, UInt32

from jaxgen.diffusion.guidance import EVERYWHERE, Interval, Network, guided_output, limited
from jaxgen.diffusion.process import Images, Process, at, check_shape
from jaxgen.diffusion.unet import NO_LABEL

FLOW = "flow"
_NETWORK_TIME = 1000.0  # the sinusoids of the network separate times that differ by about 1

Velocity = Callable[[Images, Float[Array, ""]], Images]


def draw(
    key: Key[Array, ""],
    position: UInt32[Array, "batch"],
    shape: tuple[int, ...],
    label_dropout: float,
    time_of: Callable[[Float[Array, ""]], Float[Array, ""]] = jax.nn.sigmoid,
) -> tuple[Float[Array, "batch"], Images, Bool[Array, "batch"]]:
    """Return times, noise (batch, *shape) and dropout, those of each example from its own key.

    A time is `time_of` a standard normal number: by default logit-normal, in (0, 1).
    """

    def draw_example(k):
        key_time, key_noise, key_label = jax.random.split(jax.random.fold_in(key, k), 3)
        t = time_of(jax.random.normal(key_time))
        return t, jax.random.normal(key_noise, shape), jax.random.bernoulli(key_label, label_dropout)

    return jax.vmap(draw_example)(position)


def flow_losses(
    network: Network,
    x0: Images,
    label: Integer[Array, "batch"],
    t: Float[Array, "batch"],
    noise: Images,
    dropped: Bool[Array, "batch"],
) -> Float[Array, "batch"]:
    """Return the loss of every example at the times t, its label replaced by "no label" where it is dropped.

    Raises:
        UserError: noise or network output of another shape than the images, which would broadcast.
    """
    check_shape(noise, "noise", x0)
    share = t[:, None, None, None]
    x = (1 - share) * x0 + share * noise
    output = network(x, network_time(t), jnp.where(dropped, NO_LABEL, label))
    check_shape(output, "the prediction", x0)
    return jnp.mean((output - (noise - x0)) ** 2, axis=(1, 2, 3))


def network_time(t: Float[ArrayLike, "..."]) -> Float[ArrayLike, "..."]:
    """Return the time that the network is given at t: 1 at the image, 1001 at the noise."""
    return 1 + _NETWORK_TIME * t


def make_velocity(
    apply: Network,
    label: Integer[Array, "batch"],
    w: float = 1.0,
    clip_x0: bool = True,
    interval: Interval = EVERYWHERE,
    rescale: float = 0.0,
) -> Velocity:
    """Return the guided velocity `(x, t) -> v` of a network trained by `flow_losses`.

    Args:
        apply: the network's function.
        label: class of each example, or NO_LABEL.
        w: guidance, see `guided_output`.
        clip_x0: whether to clip the image x - t v that the velocity points to, to [-1, 1].
        interval: times between which there is guidance.
        rescale: phi of the guidance.
    """

    def velocity(x: Images, t: Float[ArrayLike, ""]) -> Images:
        times = jnp.broadcast_to(network_time(t), label.shape)
        v = guided_output(apply, x, times, label, limited(w, t, interval), rescale)
        return (x - jnp.clip(x - t * v, -1.0, 1.0)) / t if clip_x0 else v

    return velocity


def on_process(apply: Network, process: Process) -> Network:
    """Return the network as a function of the points x_t, t >= 1, of a process; its output stays eps - x_0."""

    def at_points(x: Images, t: Int[Array, "batch"], label: Integer[Array, "batch"]) -> Images:
        total = process.alpha + process.sigma
        return apply(x / at(total, t, x), network_time((process.sigma / total)[t]), label)

    return at_points
