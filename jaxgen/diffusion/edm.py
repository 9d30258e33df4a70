"""The preconditioning of Karras et al. (2022), "EDM", in continuous noise levels.

    y = x_0 + r eps,   D(y, r) = c_skip y + c_out F(c_in y, c_noise),   d = 0.5
    c_skip = d^2 / (r^2 + d^2),  c_out = r d / (r^2 + d^2)^(1/2),  c_in = 1 / (r^2 + d^2)^(1/2),  c_noise = log(r) / 4
    loss = mean over pixels of (F - (x_0 - c_skip y) / c_out)^2,   log r ~ N(-1.2, 1.2^2)

Table 1 and eqs. 7 and 8; their loss of D has the weight 1 / c_out^2, which is this loss of F. For pixels of mean 0 and
standard deviation d, input and target of the network F have variance 1 at every r.

x_t of a process with alpha_t^2 + sigma_t^2 = 1 is alpha_t y for r = sigma_t / alpha_t, so that c_in y is
x_t / (sigma_t^2 + d^2 alpha_t^2)^(1/2). `edm_on_process` uses this: samplers, bounds and inpainting of a process
serve such a network too. c_noise is limited to that of r = 80, the largest level of the paper, where y holds next to no
information on the image.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Key, UInt32

from jaxgen.diffusion.guidance import Network
from jaxgen.diffusion.process import DATA_SCALE, Images, Process, at, check_shape
from jaxgen.diffusion.rectified_flow import draw
from jaxgen.diffusion.unet import NO_LABEL

EDM = "edm"
_LOG_MEAN, _LOG_SCALE, _LARGEST = -1.2, 1.2, 80.0
_NETWORK_TIME = 100.0  # c_noise in units in which the fastest sinusoid of the network has the period 2 pi


def edm_draw(
    key: Key[Array, ""], position: UInt32[Array, "batch"], shape: tuple[int, ...], label_dropout: float
) -> tuple[Float[Array, "batch"], Images, Bool[Array, "batch"]]:
    """Return levels r, noise (batch, *shape) and dropout, those of each example from its own key."""
    return draw(key, position, shape, label_dropout, lambda z: jnp.exp(_LOG_MEAN + _LOG_SCALE * z))


def edm_losses(
    network: Network,
    x0: Images,
    label: Integer[Array, "batch"],
    level: Float[Array, "batch"],
    noise: Images,
    dropped: Bool[Array, "batch"],
) -> Float[Array, "batch"]:
    """Return the loss of every example at the levels r, its label replaced by "no label" where it is dropped.

    Raises:
        UserError: noise or network output of another shape than the images, which would broadcast.
    """
    check_shape(noise, "noise", x0)
    r = level[:, None, None, None]
    total = jnp.sqrt(r**2 + DATA_SCALE**2)
    output = network((x0 + r * noise) / total, network_time(level), jnp.where(dropped, NO_LABEL, label))
    check_shape(output, "the prediction", x0)
    # (x_0 - c_skip y) / c_out, without the difference of nearly equal terms at small r
    target = (r * x0 - DATA_SCALE**2 * noise) / (DATA_SCALE * total)
    return jnp.mean((output - target) ** 2, axis=(1, 2, 3))


def network_time(level: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the time that the network is given at the level r: 1 + 100 c_noise."""
    return 1 + _NETWORK_TIME * jnp.log(jnp.minimum(level, _LARGEST)) / 4


def edm_on_process(apply: Network, process: Process) -> Network:
    """Return the network F as a function of the points x_t, t >= 1, of a process."""

    def at_points(x: Images, t: Int[Array, "batch"], label: Integer[Array, "batch"]) -> Images:
        scale = 1 / jnp.sqrt(process.sigma**2 + (DATA_SCALE * process.alpha) ** 2)
        return apply(x * at(scale, t, x), network_time((process.sigma / process.alpha)[t]), label)

    return at_points
