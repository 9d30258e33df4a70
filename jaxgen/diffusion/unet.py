"""The U-Net that maps a noisy image, its time and its label to a prediction.

    e = Dense silu Dense sinusoids(t - 1) + E[label]                      width 4 base; "no label" has its own row of E
    down   residual blocks at width base m, keep, stride-2 convolution    m over the levels, no stride after the last
    middle residual, attention (large), residual
    up     the levels backwards: upsample, join the kept features, residual blocks; the last level has neither
    out    conv(silu(norm(h)))

sinusoids are sin and cos of (t - 1) 10000^(-i / (n - 1)), i < n = 2 base; times count from 0 in the network as in
the forward process of Ho et al. (2020). Parameters for one channel in and out and ten classes:

    tiny 433,636    small 1,639,105    medium 9,872,897    large 40,499,201    compact 484,068

`tiny` sees the image as patches of 2 x 2 pixels and has two levels: on CPUs a step costs about a third of a step of
base 16 on all pixels. `compact` has the same shape with a convolution before the first block and `FilmBlock`s.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, DTypeLike, Float, Int, Integer, Key, PyTree

from jaxgen.diffusion.blocks import (
    GROUPS,
    Attention,
    FilmBlock,
    ResidualBlock,
    Upsample,
    conv,
    dense,
    depth_to_space,
    norm,
    space_to_depth,
)
from jaxgen.errors import UserError

NO_LABEL = -1


class UNet(nn.Module):
    """`apply(variables, x, t, label)` returns (batch, height, width, outputs * channels) in float32.

    Attributes:
        base: channels at full width, a multiple of 8.
        multipliers: width of each level, in units of `base`.
        blocks: residual blocks per level and direction.
        attention: whether there is attention between the two middle blocks.
        attention_levels: levels, from 0, with attention after each residual block.
        patch: side of the square of pixels that becomes one position of the first level.
        film: whether the blocks are `FilmBlock`s, after a first convolution.
        channels: channels of the image.
        classes: number of classes.
        outputs: predictions per channel: 1, or 2 where the variance is learned too.
        dtype: type of the computation; parameters are float32.

    x is (batch, height, width, channels), both sides a multiple of patch 2^(levels - 1); t (batch,) counts from 1 and
    may be a fraction; label int (batch,) is 0 to classes - 1, or NO_LABEL.
    """

    base: int
    multipliers: Sequence[int] = (1, 2, 4)
    blocks: int = 1
    attention: bool = False
    attention_levels: Sequence[int] = ()
    patch: int = 1
    film: bool = False
    channels: int = 1
    classes: int = 10
    outputs: int = 1
    dtype: DTypeLike = jnp.float32

    @property
    def unit(self) -> int:
        """The number that both sides of an image must be multiples of."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        t: Int[Array, "batch"] | Float[Array, "batch"],
        label: Integer[Array, "batch"],
    ) -> Float[Array, "batch height width outputs"]:
        self._check(x)
        embedding = self._embedding(t, label)
        skips, last = [], len(self.multipliers) - 1
        h = space_to_depth(x, self.patch)
        if self.film:
            h = conv(self.base, 3, self.dtype, name="stem")(h)
        for level, multiplier in enumerate(self.multipliers):
            for block in range(self.blocks):
                h = self._block(level, multiplier, f"down_{level}_{block}", h, embedding)
            skips.append(h)
            if level < last:
                h = conv(h.shape[-1], 3, self.dtype, stride=2, name=f"down_{level}")(h)
        h = self._residual(self.multipliers[-1], "middle_0")(h, embedding)
        if self.attention:
            h = Attention(self.dtype, name="attention")(h)
        h = self._residual(self.multipliers[-1], "middle_1")(h, embedding)
        for level in reversed(range(last + 1)):
            if level < last:
                h = jnp.concatenate([Upsample(self.dtype, name=f"up_{level}")(h), skips[level]], axis=-1)
            for block in range(self.blocks):
                h = self._block(level, self.multipliers[level], f"up_{level}_{block}", h, embedding)
        outputs = self.outputs * self.channels * self.patch**2
        # A prediction of zero is the mean of a velocity: a good start for blocks that start as the identity.
        name = "out_zero" if self.film else "out"
        h = conv(outputs, 3, self.dtype, name=name)(nn.silu(norm(self.dtype, "out_norm")(h)))
        return depth_to_space(h, self.patch).astype(jnp.float32)

    def _block(self, level: int, multiplier: int, name: str, h: Array, embedding: Array) -> Array:
        h = self._residual(multiplier, name)(h, embedding)
        return Attention(self.dtype, name=f"{name}_attention")(h) if level in self.attention_levels else h

    def _residual(self, multiplier: int, name: str) -> nn.Module:
        kind = FilmBlock if self.film else ResidualBlock
        return kind(self.base * multiplier, self.dtype, name=name)

    def _embedding(self, t: Array, label: Integer[Array, "batch"]) -> Float[Array, "batch width"]:
        width = 4 * self.base
        h = nn.silu(dense(width, self.dtype, "time_0")(sinusoids(t - 1, width)))
        rows = jnp.where(label == NO_LABEL, self.classes, label)
        labels = nn.Embed(self.classes + 1, width, name="label")(rows)
        return dense(width, self.dtype, "time_1")(h) + labels.astype(self.dtype)

    def _check(self, x: Float[Array, "batch height width channels"]) -> None:
        if x.ndim != 4 or x.shape[1] % self.unit or x.shape[2] % self.unit or x.shape[3] != self.channels:
            raise UserError(
                f"x has shape {x.shape}; allowed: (batch, height, width, {self.channels}) with height and width a "
                f"multiple of {self.unit}"
            )


def sinusoids(times: Float[Array, "batch"] | Int[Array, "batch"], width: int) -> Float[Array, "batch width"]:
    """Return sin, then cos, of times multiplied by frequencies from 1 down to 1 / 10000 in equal ratios."""
    half = width // 2
    frequency = jnp.exp(-jnp.log(10000.0) / (half - 1) * jnp.arange(half))
    angle = times[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


SIZES = {
    "tiny": {"base": 32, "multipliers": (1, 2), "patch": 2},
    "small": {"base": 32},
    "medium": {"base": 64, "blocks": 2},
    "large": {"base": 128, "blocks": 2, "attention": True},
    "compact": {"base": 32, "multipliers": (1, 2), "patch": 2, "film": True},
}


def make_unet(size: str, outputs: int = 1, dtype: DTypeLike = jnp.float32, **changes: Any) -> UNet:
    """Return the U-Net of a named size.

    Args:
        size: a name of SIZES.
        outputs: predictions per channel, 1 or 2.
        dtype: type of the computation.
        changes: attributes of `UNet` that replace those of the size.

    Raises:
        UserError: an unknown name, or widths or levels that do not fit together.
    """
    if size not in SIZES:
        raise UserError(f"size is {size!r}; allowed: {', '.join(SIZES)}")
    unet = UNet(**SIZES[size] | {"outputs": outputs, "dtype": dtype} | changes)
    if unet.base % GROUPS or unet.base < GROUPS:
        raise UserError(f"base is {unet.base}; allowed: a multiple of {GROUPS}")
    levels = range(len(unet.multipliers))
    if not set(unet.attention_levels) <= set(levels):
        raise UserError(
            f"attention has levels {list(unet.attention_levels)}; allowed: 0 to {len(levels) - 1}, those of multipliers"
        )
    return unet


def init_params(key: Key[Array, ""], unet: UNet) -> PyTree:
    """Return initial values, all taken from one stream of random numbers, as in PyTorch except for the biases.

    Kernels are uniform on +-1 / sqrt(fan-in), or zero where the layer's name ends in "zero"; the label embedding is
    standard normal, biases are 0, scales 1. Linen's `init` compiles one generator per parameter: 10 s for `tiny` on
    one core.
    """
    t = jnp.ones(1, jnp.int32)
    x = jnp.zeros((1, unet.unit, unet.unit, unet.channels))
    shapes = jax.eval_shape(unet.init, key, x, t, t)["params"]
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    ends = np.cumsum([math.prod(leaf.shape) for _, leaf in leaves])
    stream = np.asarray(jax.random.uniform(key, (int(ends[-1]),), minval=-1.0, maxval=1.0))
    initial = {
        "kernel": lambda u: u / math.sqrt(math.prod(u.shape[:-1])),
        "embedding": lambda u: np.float32(math.sqrt(2)) * scipy.special.erfinv(u),
        "bias": np.zeros_like,
        "scale": np.ones_like,
    }
    values = []
    for (path, leaf), piece in zip(leaves, np.split(stream, ends[:-1]), strict=True):
        zero = len(path) > 1 and path[-2].key.endswith("zero")
        start = np.zeros_like if zero else initial[path[-1].key]
        values.append(jnp.asarray(start(piece.reshape(leaf.shape)), jnp.float32))
    return jax.tree.unflatten(tree, values)
