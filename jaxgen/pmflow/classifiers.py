"""The classifiers: images in [0, 1] to logits, with a flow on the latent or a control in its place.

    MLP       logits = W_3 t(W_2 relu(W_1 x))                          784-256-16-10, t: transform of the latent
    CNN       logits = W_2 t(W_1 pool(conv conv pool conv pool x))     32-64-128 channels, 4 x 4 mean pool, latent 64
    BNN       z <- flow(z),  h <- 0.9 h + 0.1 tanh(P z),  h <- h + gain K h,  T = 5 times;  logits = R h

BNN: a "biological" network, leaky integration with lateral coupling; z starts at the latent of the 784-128-8 encoder
and h at 0. Weights and biases start uniform on +-1 / sqrt(fan-in), PyTorch's default, as in the original notebook.
Layers that two models share have the same name and therefore, from one key, the same initial values: differences
between models are paired.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PyTree

from jaxgen.pmflow.field import Gradient, euler, log_index_gradient
from jaxgen.pmflow.lateral import Coupling

N_LABELS = 10
SOFTENING = 0.4  # its square exceeds the dt of flows with this softening, so a step does not overshoot a centre
INITIAL_MU = 0.5
LEAK = 0.9

Images = Float[Array, "batch 28 28"]
Logits = Float[Array, "batch 10"]
Latents = Float[Array, "batch d"]


class Flow(nn.Module):
    """Move z by `steps` Euler steps along grad log n of `n_centres` learned centres.

    It has n_centres (d + 1) parameters. The latents before and after are sown as intermediates "before" and "after".

    Attributes:
        n_centres: number of centres.
        steps: Euler steps.
        dt: length of a step.
        spread: standard deviation of the initial centres.
        gradient: the field, a function of (z, centres, mu).
        positive: mu is the softplus of its parameter; otherwise the parameter itself.
        bound: clip every coordinate to +-bound after every step, see `euler`.
        trained: False freezes the field at its initial values.
        initial_mu: initial strength of every centre, > 0.
    """

    n_centres: int = 4
    steps: int = 3
    dt: float = 0.1
    spread: float = 0.5
    gradient: Gradient = functools.partial(log_index_gradient, softening=SOFTENING)
    positive: bool = True
    bound: float | None = None
    trained: bool = True
    initial_mu: float = INITIAL_MU

    @nn.compact
    def __call__(self, z: Latents) -> Latents:
        raw = math.log(math.expm1(self.initial_mu)) if self.positive else self.initial_mu
        centres = self.param("centres", nn.initializers.normal(self.spread), (self.n_centres, z.shape[-1]))
        mu = self.param("mu", nn.initializers.constant(raw), (self.n_centres,))
        if not self.trained:
            centres, mu = jax.lax.stop_gradient((centres, mu))
        mu = jax.nn.softplus(mu) if self.positive else mu
        moved = euler(lambda z: self.gradient(z, centres, mu), z, self.steps, self.dt, self.bound)
        self.sow("intermediates", "before", z)
        self.sow("intermediates", "after", moved)
        return moved


class Normalised(nn.Module):
    """Divide each latent by its root mean square, then apply `transform`, if any.

    A network can otherwise scale its latents up until a flow no longer moves them. RMSNorm without a learned gain
    (Zhang and Sennrich, 2019).
    """

    transform: Callable[[Latents], Latents] | None = None

    @nn.compact
    def __call__(self, z: Latents) -> Latents:
        z = z * jax.lax.rsqrt(jnp.square(z).mean(-1, keepdims=True) + 1e-6)
        return self.transform(z) if self.transform else z


class Residual(nn.Module):
    """z + V relu(U z + b) with two hidden units: two parameters fewer than four centres in 16 dimensions."""

    @nn.compact
    def __call__(self, z: Latents) -> Latents:
        return z + dense(z.shape[-1], 2, "out", use_bias=False)(nn.relu(dense(2, z.shape[-1], "hidden")(z)))


class NeuralODE(nn.Module):
    """dz/dt = V tanh(U z + a t + b) (Chen et al., 2018), with the Euler steps and the parameter count of the flow."""

    steps: int = 3
    dt: float = 0.1

    @nn.compact
    def __call__(self, z: Latents) -> Latents:
        hidden = dense(2, z.shape[-1] + 1, "hidden")
        out = dense(z.shape[-1], 2, "out", use_bias=False)
        for step in range(self.steps):
            time = jnp.full((*z.shape[:-1], 1), step * self.dt, z.dtype)
            z = z + self.dt * out(nn.tanh(hidden(jnp.concatenate([z, time], -1))))
        return z


class MLP(nn.Module):
    """784-256-16-10 with `transform` between latent and head; nn.relu gives the plain baseline."""

    transform: Callable[[Latents], Latents] | None = None

    @nn.compact
    def __call__(self, x: Images) -> Logits:
        h = nn.relu(dense(256, 784, "layer_1")(x.reshape(len(x), -1)))
        z = dense(16, 256, "layer_2")(h)
        return dense(N_LABELS, 16, "head")(self.transform(z) if self.transform else z)


class CNN(nn.Module):
    """Three 3 x 3 convolutions of 32, 64 and 128 channels, latent of 64; 224,458 parameters without a transform."""

    transform: Callable[[Latents], Latents] | None = None

    @nn.compact
    def __call__(self, x: Images) -> Logits:
        h = nn.relu(conv(32, 1, "conv_1")(x[..., None]))
        h = max_pool(nn.relu(conv(64, 32, "conv_2")(h)))
        h = mean_pool(max_pool(nn.relu(conv(128, 64, "conv_3")(h))), 4)
        z = dense(64, 4 * 4 * 128, "latent")(h.reshape(len(h), -1))
        return dense(N_LABELS, 64, "head")(self.transform(z) if self.transform else z)


class BNN(nn.Module):
    """784-128-8 encoder, flow, leaky integration in 32 units, lateral coupling, readout.

    Attributes:
        flow: applied to z at every step; None leaves it out.
        coupling: a function of `lateral.coupling`; None leaves it out.
        gain: gain of the coupling.
        n_references: for a bank, how many of the last rows of x are references, whose logits are not returned.
        duration: number of steps T.
    """

    flow: Flow | None = None
    coupling: Coupling | None = None
    gain: float = 0.0
    n_references: int = 0
    duration: int = 5

    @nn.compact
    def __call__(self, x: Float[Array, "rows 28 28"]) -> Logits:
        z = dense(8, 128, "layer_2")(nn.tanh(dense(128, 784, "layer_1")(x.reshape(len(x), -1))))
        drive = dense(32, 8, "drive")
        h = jnp.zeros((len(x), 32), z.dtype)
        for _ in range(self.duration):
            z = self.flow(z) if self.flow else z
            h = LEAK * h + (1 - LEAK) * nn.tanh(drive(z))
            h = h + self.gain * self.coupling(z, h) if self.coupling else h
        self.sow("intermediates", "latents", z)
        return dense(N_LABELS, 32, "readout")(h[: len(x) - self.n_references])


def logits(
    model: nn.Module, params: PyTree, images: Num[Array, "batch 28 28"], references: Num[Array, "m 28 28"] | None
) -> Float[Array, "batch 10"]:
    """Return the logits of one network; only a model with a bank needs `references`."""
    rows = images if references is None else jnp.concatenate([images, references])
    return model.apply({"params": params}, rows / jnp.float32(255))


def dense(units: int, fan_in: int, name: str, use_bias: bool = True) -> nn.Dense:
    """Return a dense layer with PyTorch's default initial values."""
    start = _uniform(fan_in)
    return nn.Dense(units, use_bias, kernel_init=start, bias_init=start, name=name)


def conv(channels: int, channels_in: int, name: str) -> nn.Conv:
    """Return a 3 x 3 convolution with PyTorch's default initial values."""
    start = _uniform(9 * channels_in)
    return nn.Conv(channels, (3, 3), kernel_init=start, bias_init=start, name=name)


def max_pool(x: Float[Array, "batch h w c"]) -> Float[Array, "batch h//2 w//2 c"]:
    """Return the maximum of every 2 x 2 block; h and w must be even."""
    # As maxima of slices: the gradient of nn.max_pool takes 30 times as long on a CPU.
    x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, x.shape[3])
    return functools.reduce(jnp.maximum, (x[:, :, a, :, b] for a in (0, 1) for b in (0, 1)))


def mean_pool(x: Float[Array, "batch h w c"], size: int) -> Float[Array, "batch {size} {size} c"]:
    """Return means over size x size windows; window i spans floor(i h / size) to ceil((i + 1) h / size)."""

    def weights(length: int) -> np.ndarray:
        rows = np.zeros((size, length), np.float32)
        for i in range(size):
            window = slice(i * length // size, -(-(i + 1) * length // size))
            rows[i, window] = 1.0 / (window.stop - window.start)
        return rows

    return jnp.einsum("bhwc,ih,jw->bijc", x, weights(x.shape[1]), weights(x.shape[2]))


def _uniform(fan_in: int) -> Callable:
    def start(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / math.sqrt(fan_in)

    return start
