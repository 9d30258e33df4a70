"""Solvers of the ODE of a rectified flow, from noise at t = 1 to images at t = 0.

    euler      x_s = x_t + (s - t) v(x_t, t)                                      order 1, one evaluation per step
    midpoint   x_s = x_t + (s - t) v(x_t + (m - t) v(x_t, t), m),  m = (s + t)/2  order 2, two evaluations per step

The times fall evenly. The velocity of the straight path joins the estimates of image and noise, so that a step of Euler
gives (1 - s) x_0 + s eps: DDIM with eta = 0 is the same step. Neither solver evaluates the network at t = 0. The last
step of the midpoint method is two steps of Euler, to m and to 0, so that it ends at an image the network predicts,
without a rest of noise on the background; a single step of first order leaves the order of the whole at 2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.diffusion.rectified_flow import Velocity

States = Float[Array, "batch ..."]  # images, or the numbers of any other ODE
Step = Callable[[Velocity, States, Float[Array, ""], Float[Array, ""]], States]


def euler_step(velocity: Velocity, x: States, t: Float[Array, ""], s: Float[Array, ""]) -> States:
    """Return x_s from x = x_t, s < t."""
    return x + (s - t) * velocity(x, t)


def midpoint_step(velocity: Velocity, x: States, t: Float[Array, ""], s: Float[Array, ""]) -> States:
    """Return x_s from x = x_t, s < t."""
    middle = (s + t) / 2
    half = x + (middle - t) * velocity(x, t)
    slope = velocity(half, middle)
    return jnp.where(s > 0, x + (s - t) * slope, half - middle * slope)


FLOW_SAMPLERS: dict[str, Step] = {"euler": euler_step, "midpoint": midpoint_step}


def flow_sample(
    velocity: Velocity, step: Step, n_steps: int, start: States
) -> tuple[States, Float[Array, "{n_steps} batch ..."]]:
    """Return images x_0, not clipped, and the states after every step. Call it under `jax.jit`."""
    times = jnp.linspace(1.0, 0.0, n_steps + 1)

    def body(x, pair):
        x = step(velocity, x, *pair)
        return x, x

    return jax.lax.scan(body, start, (times[:-1], times[1:]))
