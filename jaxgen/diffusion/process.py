"""The forward process and the quantities that follow from it without a network.

    q(x_t | x_0)      = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I)        x_t = sqrt(alpha_bar_t) x_0 + sigma_t eps
    q(x_s | x_t, x_0) = N(mean, variance),  s < t,  beta = 1 - alpha_bar_t / alpha_bar_s
        mean     = sqrt(alpha_bar_s) beta / sigma_t^2 x_0 + sqrt(alpha_bar_t / alpha_bar_s) sigma_s^2 / sigma_t^2 x_t
        variance = sigma_s^2 / sigma_t^2 beta                                 sigma_t^2 = 1 - alpha_bar_t

Ho et al. (2020), eqs. 4, 6 and 7, which are the case s = t - 1. Images x_0 lie in [-1, 1]; t counts from 0, the image,
to T, the noise; t has one value per example, (batch,), or one for all, (). What a network may predict:

    eps        the noise
    x0         the image
    v          sqrt(alpha_bar_t) eps - sigma_t x_0                            Salimans and Ho (2022), appendix D
    flow       eps - x_0, the velocity of the straight path                   see `rectified_flow`
    edm        (sigma_t x_0 - d^2 alpha_t eps) / (d (sigma_t^2 + d^2 alpha_t^2)^(1/2)),  d = 0.5;   see `edm`
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgen.diffusion.schedules import alpha_bar
from jaxgen.errors import UserError

PREDICTIONS = ("eps", "x0", "v")
_KINDS = (*PREDICTIONS, "flow", "edm")
DATA_SCALE = 0.5  # d, the standard deviation of the data in `edm`

Images = Float[Array, "batch height width channels"]
Times = Int[Array, "..."] | int


class Process(NamedTuple):
    """A schedule as float32 arrays (T + 1,), computed in float64: log alpha_bar_t, its root alpha_t, sigma_t."""

    log_alpha_bar: Float[Array, "times"]
    alpha: Float[Array, "times"]
    sigma: Float[Array, "times"]

    @property
    def n_steps(self) -> int:
        """The number of time steps T."""
        return len(self.alpha) - 1


def from_alpha_bar(values: Float[np.ndarray, "times"]) -> Process:
    """Return the process with these alpha_bar_0 ... alpha_bar_T.

    Raises:
        UserError: the values are not strictly decreasing from at most 1 to above 0.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2 or not (values[0] <= 1 and values[-1] > 0 and (np.diff(values) < 0).all()):
        raise UserError(
            "alpha_bar is not a decreasing sequence; allowed: two or more values that fall from at most 1 to above 0"
        )
    arrays = (np.log(values), np.sqrt(values), np.sqrt(1 - values))
    return Process(*(jnp.asarray(array, jnp.float32) for array in arrays))


def make_process(schedule: str, n_steps: int) -> Process:
    """Return the process of a named schedule with T = `n_steps`; errors as in `alpha_bar`."""
    return from_alpha_bar(alpha_bar(schedule, n_steps))


def at(values: Float[Array, "times"], t: Times, x: Images) -> Float[Array, "..."]:
    """Return values[t], shaped to multiply images x."""
    return _like(values[t], x)


def q_sample(process: Process, x0: Images, t: Times, noise: Images) -> Images:
    """Return x_t of images and standard normal noise."""
    return at(process.alpha, t, x0) * x0 + at(process.sigma, t, x0) * noise


def q_step(process: Process, x: Images, s: Times, t: Times, noise: Images) -> Images:
    """Return a draw from q(x_t | x_s) for x = x_s and s < t."""
    ratio = jnp.exp((process.log_alpha_bar[t] - process.log_alpha_bar[s]) / 2)
    return _like(ratio, x) * x + _like(jnp.sqrt(step_beta(process, t, s)), x) * noise


def step_beta(process: Process, t: Times, s: Times) -> Float[Array, "..."]:
    """Return beta = 1 - alpha_bar_t / alpha_bar_s, the variance of q(x_t | x_s), accurate for small beta too."""
    return -jnp.expm1(process.log_alpha_bar[t] - process.log_alpha_bar[s])


def posterior_mean(process: Process, x: Images, x0: Images, t: Times, s: Times) -> Images:
    """Return the mean of q(x_s | x_t, x_0) for x = x_t and s < t."""
    ratio = jnp.exp((process.log_alpha_bar[t] - process.log_alpha_bar[s]) / 2)
    variance = process.sigma[t] ** 2
    of_x0 = process.alpha[s] * step_beta(process, t, s) / variance
    of_x = ratio * process.sigma[s] ** 2 / variance
    return _like(of_x0, x) * x0 + _like(of_x, x) * x


def posterior_variance(process: Process, t: Times, s: Times) -> Float[Array, "..."]:
    """Return the variance of q(x_s | x_t, x_0) in the shape of t; it is 0 at s = 0."""
    return (process.sigma[s] / process.sigma[t]) ** 2 * step_beta(process, t, s)


def prediction_target(kind: str, process: Process, x0: Images, noise: Images, t: Times) -> Images:
    """Return the target of a network of this kind at x_t = q_sample(x0, t, noise)."""
    _check(kind)
    if kind in ("eps", "x0"):
        return noise if kind == "eps" else x0
    if kind == "flow":
        return noise - x0
    alpha, sigma = at(process.alpha, t, x0), at(process.sigma, t, x0)
    if kind == "edm":
        return (sigma * x0 - DATA_SCALE**2 * alpha * noise) / (DATA_SCALE * _edm_total(alpha, sigma))
    return alpha * noise - sigma * x0


def to_x0(kind: str, process: Process, output: Images, x: Images, t: Times) -> Images:
    """Return the image that a network's output at x = x_t, t >= 1, implies."""
    _check(kind)
    alpha, sigma = at(process.alpha, t, x), at(process.sigma, t, x)
    if kind == "eps":
        return (x - sigma * output) / alpha
    if kind == "flow":
        return (x - sigma * output) / (alpha + sigma)
    if kind == "edm":
        total = _edm_total(alpha, sigma)
        return DATA_SCALE**2 * alpha / total**2 * x + DATA_SCALE * sigma / total * output
    return output if kind == "x0" else alpha * x - sigma * output


def to_eps(process: Process, x0: Images, x: Images, t: Times) -> Images:
    """Return the noise in x = x_t, t >= 1, given the image x0."""
    return (x - at(process.alpha, t, x) * x0) / at(process.sigma, t, x)


def to_v(process: Process, x0: Images, x: Images, t: Times) -> Images:
    """Return the velocity dx / dphi, tan phi = sigma_t / alpha_t, at x = x_t, t >= 1, given the image x0."""
    return prediction_target("v", process, x0, to_eps(process, x0, x, t), t)


def check_shape(array: Array, name: str, images: Images) -> None:
    """Check that an array has the shape of the images, with which it could otherwise broadcast.

    Raises:
        UserError: another shape, or images without the four axes.
    """
    if images.ndim != 4 or array.shape != images.shape:
        raise UserError(
            f"{name} has shape {array.shape} for images of shape {images.shape}; allowed: the same shape "
            "(batch, height, width, channels)"
        )


def _edm_total(alpha: Float[Array, "..."], sigma: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.sqrt(sigma**2 + (DATA_SCALE * alpha) ** 2)


def _like(values: Float[Array, "..."], x: Images) -> Float[Array, "..."]:
    return values.reshape(values.shape + (1,) * (x.ndim - 1)) if values.ndim else values


def _check(kind: str) -> None:
    if kind not in _KINDS:
        raise UserError(f"prediction is {kind!r}; allowed: {', '.join(_KINDS)}")
