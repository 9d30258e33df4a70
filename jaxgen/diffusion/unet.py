"""The U-Net that answers to a noisy image, its time and its label.

    e = Dense silu Dense sinusoids(t - 1) + E[label]                      width 4 base; label 10 is "no label"
    down   residual blocks at width base m, keep, stride-2 convolution    m over the levels, none after the last
    middle residual, attention (large), residual
    up     the levels backwards: upsample, join what was kept, residual blocks; the last level has neither
    out    conv(silu(norm(h)))

sinusoids are sin and cos of (t - 1) 10000^(-i / (n - 1)), i < n = 2 base, times counting from 0 in the network as in
the forward process of Ho et al. (2020). Parameters, for one channel in and out:

    small 1,639,105    medium 9,872,897    large 40,499,201    tiny 433,636

`tiny` sees the image as 14 x 14 patches of 2 x 2 pixels and has two levels: on CPUs a step costs about a third of one
of base 16 on all the pixels.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, DTypeLike, Float, Int, Key, PyTree

from jaxgen.diffusion.blocks import (
    Attention,
    ResidualBlock,
    Upsample,
    conv,
    dense,
    depth_to_space,
    norm,
    space_to_depth,
)
from jaxgen.errors import UserError

N_CLASSES = 10
NO_LABEL = N_CLASSES


class UNet(nn.Module):
    """`apply(variables, x, t, label)` gives (batch, height, width, outputs) in float32.

    x is (batch, height, width, 1), both sides a multiple of patch 2^(levels - 1); t int (batch,) from 1; label int
    (batch,), 0 to 10. `outputs` is 1, or 2 where the variance is learned too. Parameters are float32; `dtype` is that
    of the computation between them.
    """

    base: int
    multipliers: Sequence[int] = (1, 2, 4)
    blocks: int = 1
    attention: bool = False
    patch: int = 1
    outputs: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width 1"], t: Int[Array, "batch"], label: Int[Array, "batch"]
    ) -> Float[Array, "batch height width outputs"]:
        self._check(x)
        embedding = self._embedding(t, label)
        kept, last = [], len(self.multipliers) - 1
        h = space_to_depth(x, self.patch)
        for level, multiplier in enumerate(self.multipliers):
            for block in range(self.blocks):
                h = self._residual(multiplier, f"down_{level}_{block}")(h, embedding)
            kept.append(h)
            if level < last:
                h = conv(h.shape[-1], 3, self.dtype, stride=2, name=f"down_{level}")(h)
        h = self._residual(self.multipliers[-1], "middle_0")(h, embedding)
        if self.attention:
            h = Attention(self.dtype, name="attention")(h)
        h = self._residual(self.multipliers[-1], "middle_1")(h, embedding)
        for level in reversed(range(last + 1)):
            if level < last:
                h = jnp.concatenate([Upsample(self.dtype, name=f"up_{level}")(h), kept[level]], axis=-1)
            for block in range(self.blocks):
                h = self._residual(self.multipliers[level], f"up_{level}_{block}")(h, embedding)
        h = conv(self.outputs * self.patch**2, 3, self.dtype, name="out")(nn.silu(norm(self.dtype, "out_norm")(h)))
        return depth_to_space(h, self.patch).astype(jnp.float32)

    def _residual(self, multiplier: int, name: str) -> ResidualBlock:
        return ResidualBlock(self.base * multiplier, self.dtype, name=name)

    def _embedding(self, t: Int[Array, "batch"], label: Int[Array, "batch"]) -> Float[Array, "batch width"]:
        width = 4 * self.base
        h = nn.silu(dense(width, self.dtype, "time_0")(sinusoids(t - 1, width)))
        labels = nn.Embed(N_CLASSES + 1, width, name="label")(label)
        return dense(width, self.dtype, "time_1")(h) + labels.astype(self.dtype)

    def _check(self, x: Float[Array, "batch height width 1"]) -> None:
        unit = self.patch * 2 ** (len(self.multipliers) - 1)
        if x.shape[1] % unit or x.shape[2] % unit:
            raise UserError(f"x has shape {x.shape}; allowed: height and width a multiple of {unit}")


def sinusoids(times: Int[Array, "batch"], width: int) -> Float[Array, "batch width"]:
    """sin, then cos, of times by frequencies from 1 down to 1 / 10000 in equal ratios."""
    half = width // 2
    frequency = jnp.exp(-jnp.log(10000.0) / (half - 1) * jnp.arange(half))
    angle = times[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


SIZES = {
    "tiny": {"base": 32, "multipliers": (1, 2), "patch": 2},
    "small": {"base": 32},
    "medium": {"base": 64, "blocks": 2},
    "large": {"base": 128, "blocks": 2, "attention": True},
}


def make_unet(size: str, outputs: int = 1, dtype: DTypeLike = jnp.float32) -> UNet:
    """The U-Net of a named size. ValueError on another name."""
    if size not in SIZES:
        raise UserError(f"size is {size!r}; allowed: {', '.join(SIZES)}")
    return UNet(**SIZES[size], outputs=outputs, dtype=dtype)


def init_params(key: Key[Array, ""], unet: UNet) -> PyTree:
    """Start values, all cut from one stream of random numbers, as PyTorch has them but for the biases.

    Kernels are uniform on +-1 / sqrt(fan-in), the label embedding standard normal, biases 0, scales 1. Linen's `init`
    compiles a generator for every parameter: 10 s for `tiny` on one core.
    """
    unit, one = unet.patch * 2 ** (len(unet.multipliers) - 1), jnp.ones(1, jnp.int32)
    shapes = jax.eval_shape(unet.init, key, jnp.zeros((1, unit, unit, 1)), one, one)["params"]
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    ends = np.cumsum([math.prod(leaf.shape) for _, leaf in leaves])
    stream = np.asarray(jax.random.uniform(key, (int(ends[-1]),), minval=-1.0, maxval=1.0))
    values = []
    for (path, leaf), piece in zip(leaves, np.split(stream, ends[:-1]), strict=True):
        start = {
            "kernel": lambda u: u / math.sqrt(math.prod(u.shape[:-1])),
            "embedding": lambda u: np.float32(math.sqrt(2)) * scipy.special.erfinv(u),
            "bias": np.zeros_like,
            "scale": np.ones_like,
        }[path[-1].key]
        values.append(jnp.asarray(start(piece.reshape(leaf.shape)), jnp.float32))
    return jax.tree.unflatten(tree, values)
