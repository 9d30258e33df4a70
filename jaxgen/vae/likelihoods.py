"""The likelihood p(x | z) that the outputs of the decoder stand for, independent over pixels given z.

    2 levels:      x ~ Bernoulli(sigmoid(o)),                            1 output o per pixel
    L levels:      x ~ Categorical(softmax(o_1 ... o_L)),                L outputs
    256 levels:    x ~ sum_k pi_k discretised logistic(mu_k, s_k),       3 K outputs

States are 0 to levels - 1. The discretised logistic (Salimans et al. 2017, equations 1 and 2) gives grey v the mass of
a logistic variable of mean mu and scale s between the edges v - 1/2 and v + 1/2 of its bin, on a scale where 0 to 255
is -1 to 1; the first and the last bin take the tails, so the 256 masses sum to 1. With a, b the standardised edges,

    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)),

which loses no digits anywhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from jaxgen import data
from jaxgen.errors import UserError

MIXTURES = 3  # logistic components per pixel
_LEAST_LOG_SCALE = -7.0  # a ninth of a grey step: sharper logistics give the same masses and unbounded gradients
_HALF_BIN = 1.0 / 255.0


class Likelihood(NamedTuple):
    """One law of a pixel.

    Attributes:
        levels: number of states.
        channels: decoder outputs per pixel.
        code: (key, grey images uint8 (n, H, W), index (n,)) -> states uint8 (n, H, W), what the model calls x.
        log_prob: (outputs (..., H, W, channels), states (..., H, W)) -> nats (...), summed over pixels.
        sample: (key, outputs (H, W, channels)) -> states uint8 (H, W), one draw of one image.
        mean: outputs -> the mean grey of every pixel, 0 to 1.
    """

    levels: int
    channels: int
    code: Callable[[Key[Array, ""], UInt8[Array, "n H W"], Int[Array, "n"]], UInt8[Array, "n H W"]]
    log_prob: Callable[[Float[Array, "... H W C"], UInt8[Array, "... H W"]], Float[Array, "..."]]
    sample: Callable[[Key[Array, ""], Float[Array, "H W C"]], UInt8[Array, "H W"]]
    mean: Callable[[Float[Array, "... H W C"]], Float[Array, "... H W"]]


def likelihood(levels: int) -> Likelihood:
    """Return the likelihood for a number of levels.

    Raises:
        UserError: a number of levels other than 2, 4, 16 and 256.
    """
    if levels == 2:
        return bernoulli()
    if levels in data.ALLOWED_LEVELS:
        return categorical(levels)
    if levels == 256:
        return logistic_mixture(MIXTURES)
    raise UserError(f"levels is {levels!r}; allowed: 2, 4, 16, 256")


def bernoulli() -> Likelihood:
    """Return the likelihood of stochastically binarised pixels, binarised again at every use."""

    def log_prob(outputs: Array, states: Array) -> Array:
        logits = outputs[..., 0]
        return (states * logits - jax.nn.softplus(logits)).sum((-2, -1))

    def sample(key: Array, outputs: Array) -> Array:
        return (jax.random.uniform(key, outputs.shape[:-1]) < jax.nn.sigmoid(outputs[..., 0])).astype(jnp.uint8)

    return Likelihood(2, 1, data.binarize, log_prob, sample, lambda outputs: jax.nn.sigmoid(outputs[..., 0]))


def categorical(levels: int) -> Likelihood:
    """Return the likelihood of images in `levels` bins of equal width, as `data.encode` codes them."""

    def log_prob(outputs: Array, states: Array) -> Array:
        chosen = states[..., None] == jnp.arange(levels, dtype=states.dtype)
        rows = jnp.sum(outputs, axis=-1, where=chosen) - jax.nn.logsumexp(outputs, axis=-1)
        return rows.sum((-2, -1))

    def sample(key: Array, outputs: Array) -> Array:
        cumulative = jnp.cumsum(jax.nn.softmax(outputs), axis=-1)[..., :-1]
        uniform = jax.random.uniform(key, outputs.shape[:-1])
        return (cumulative <= uniform[..., None]).sum(-1).astype(jnp.uint8)

    def mean(outputs: Array) -> Array:
        return jax.nn.softmax(outputs) @ jnp.linspace(0.0, 1.0, levels)

    return Likelihood(levels, levels, lambda key, images, index: data.encode(images, levels), log_prob, sample, mean)


def logistic_mixture(components: int) -> Likelihood:
    """Return the likelihood of 8-bit grey images under a mixture of discretised logistics."""

    def split(outputs: Array) -> tuple[Array, Array, Array]:
        logits, mean, log_scale = jnp.split(outputs, 3, axis=-1)
        return jax.nn.log_softmax(logits), mean, jnp.maximum(log_scale, _LEAST_LOG_SCALE)

    def log_prob(outputs: Array, states: Array) -> Array:
        log_weight, mean, log_scale = split(outputs)
        states = states[..., None]
        steepness = jnp.exp(-log_scale)
        centre = steepness * (2.0 * _HALF_BIN * states - 1.0 - mean)
        half = steepness * _HALF_BIN
        below_upper, above_lower = jax.nn.log_sigmoid(centre + half), jax.nn.log_sigmoid(half - centre)
        inner = jnp.log(-jnp.expm1(-2.0 * half))
        first, last = states == 0, states == 255
        mass = jnp.where(last, 0.0, below_upper) + jnp.where(first, 0.0, above_lower)
        mass = mass + jnp.where(first | last, 0.0, inner)
        return jax.nn.logsumexp(log_weight + mass, axis=-1).sum((-2, -1))

    def sample(key: Array, outputs: Array) -> Array:
        key_component, key_value = jax.random.split(key)
        log_weight, mean, log_scale = split(outputs)
        cumulative = jnp.cumsum(jnp.exp(log_weight), axis=-1)[..., :-1]
        uniform = jax.random.uniform(key_component, outputs.shape[:-1])
        component = (cumulative <= uniform[..., None]).sum(-1, keepdims=True)
        noise = jax.random.logistic(key_value, outputs.shape[:-1])
        chosen = [jnp.take_along_axis(x, component, axis=-1)[..., 0] for x in (mean, jnp.exp(log_scale))]
        grey = jnp.round((chosen[0] + chosen[1] * noise + 1.0) / (2.0 * _HALF_BIN))
        return jnp.clip(grey, 0, 255).astype(jnp.uint8)

    def mean(outputs: Array) -> Array:
        # of the logistic before it is rounded to a bin: E clip(X, -1, 1) = -1 + integral from -1 to 1 of P(X > x)
        log_weight, mean, log_scale = split(outputs)
        scale = jnp.exp(log_scale)
        clipped = scale * (jax.nn.softplus((mean + 1.0) / scale) - jax.nn.softplus((mean - 1.0) / scale))
        return 0.5 * (jnp.exp(log_weight) * clipped).sum(-1)

    return Likelihood(256, 3 * components, lambda key, images, index: images, log_prob, sample, mean)
