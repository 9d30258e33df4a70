"""The likelihood by the probability-flow ODE, in bits per pixel.

    dx / dphi = v(x, phi),   tan phi = sigma_t / alpha_t,   from t = 1, phi_1, to t = T, phi_T
    log p_1(x_1) = log N(x_T; 0, I) + integral of div v dphi,     div v = E e^T (dv / dx) e,  e = +-1 per pixel

The flow from T to 1, followed by x = x_1 / alpha_1, is a model with the density p(x) = alpha_1^D p_1(alpha_1 x).
Uniform dequantisation, x = x_0 + u with u within 1 / 255, gives a bound of its law on the grey levels:

    - log P(x_0) <= E_u [- log p(x_0 + u) - D log(2 / 255)]

Song et al. (2021, score SDE), section 4.3 and appendix D.2; Theis et al. (2016) for dequantisation; Hutchinson's
estimator of the divergence. Heun's method integrates x and the divergence on the grid "log_snr". The bound has no error
from variances of reverse steps, and holds up to the error of integration, which `steps` controls.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxgen.diffusion.guidance import Denoiser
from jaxgen.diffusion.process import Images, Process, to_v
from jaxgen.diffusion.samplers.loop import keyed_noise

_BIN = 2 / 255


def flow_bound(
    key: Key[Array, ""],
    process: Process,
    denoise: Denoiser,
    x0: Images,
    index: UInt32[Array, "batch"],
    times: Int[Array, "times"],
) -> Float[Array, "batch"]:
    """Return the bound on - log2 P(x_0) per pixel from one draw of u. Call it under `jax.jit`.

    Args:
        key: the key of the whole set of images.
        process: the process of the denoiser.
        denoise: `(x_t, t) -> Denoised`.
        x0: images whose values are 2 k / 255 - 1.
        index: number of each image in the whole set; u and the probes are keyed by it.
        times: the times of `time_grid`, from T down to 0.
    """
    key_uniform, key_probe = jax.random.split(key)
    shape = x0.shape[1:]
    keys = jax.vmap(lambda k: jax.random.fold_in(key_uniform, k))(index)
    u = jax.vmap(lambda k: jax.random.uniform(k, shape, minval=-_BIN / 2, maxval=_BIN / 2))(keys)
    density = log_density(key_probe, process, denoise, x0 + u, index, times)
    return -density / (math.prod(shape) * math.log(2)) - math.log2(_BIN)


def log_density(
    key: Key[Array, ""],
    process: Process,
    denoise: Denoiser,
    x: Images,
    index: UInt32[Array, "batch"],
    times: Int[Array, "times"],
) -> Float[Array, "batch"]:
    """Return log p(x) of the flow in nats; arguments as for `flow_bound`."""
    phi = jnp.arctan2(process.sigma, process.alpha)
    pixels = math.prod(x.shape[1:])

    def velocity(x, t):
        return to_v(process, denoise(x, t).x0, x, t)

    def velocity_and_divergence(x, t, probe):
        v, change = jax.jvp(lambda x: velocity(x, t), (x,), (probe,))
        return v, jnp.sum(change * probe, axis=(1, 2, 3))

    def step(state, pair):
        x, integral = state
        s, t = pair
        # The sign of a normal draw is +-1 with equal odds.
        probe = jnp.sign(keyed_noise(key, index, t, x.shape[1:]))
        h = phi[t] - phi[s]
        first, divergence = velocity_and_divergence(x, s, probe)
        second, other = velocity_and_divergence(x + h * first, t, probe)
        return (x + h / 2 * (first + second), integral + h / 2 * (divergence + other)), None

    upwards = jnp.maximum(times[::-1], 1)  # the step between 1 and 0 has length 0: the network is not defined at 0
    start = (process.alpha[1] * x, jnp.zeros(len(x)))
    (x, integral), _ = jax.lax.scan(step, start, (upwards[:-1], upwards[1:]))
    prior = -0.5 * jnp.sum(x**2, axis=(1, 2, 3)) - 0.5 * pixels * math.log(2 * math.pi)
    return prior + integral + pixels * jnp.log(process.alpha[1])
