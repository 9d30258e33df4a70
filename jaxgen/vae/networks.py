"""Encoders and decoders: multilayer perceptrons, and strided convolutions with depth-to-space on the way back.

An encoder maps images in [0, 1] and class codes to the mean and log variance of q(z | x, y); a decoder maps z and class
codes to `channels` outputs per pixel. Class codes are one-hot (n, classes), of width 0 without classes.
"""

from flax import linen as nn
from jax import numpy as jnp
from jaxtyping import Array, Float, Num

from jaxgen.errors import UserError


class MLPEncoder(nn.Module):
    """Two hidden layers: [x, y] -> width -> width -> 2 latent."""

    latent: int
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "n H W"], y: Float[Array, "n K"]) -> Float[Array, "n out"]:
        h = jnp.concatenate([x.reshape(len(x), -1), y], axis=-1)
        for _ in range(2):
            h = nn.relu(nn.Dense(self.width)(h))
        return nn.Dense(2 * self.latent)(h)


class MLPDecoder(nn.Module):
    """Two hidden layers: [z, y] -> width -> width -> height x width of the image x channels."""

    channels: int
    width: int
    shape: tuple[int, int]

    @nn.compact
    def __call__(self, z: Float[Array, "n latent"], y: Float[Array, "n K"]) -> Float[Array, "n H W C"]:
        h = jnp.concatenate([z, y], axis=-1)
        for _ in range(2):
            h = nn.relu(nn.Dense(self.width)(h))
        height, width = self.shape
        return nn.Dense(height * width * self.channels)(h).reshape(-1, height, width, self.channels)


class ConvEncoder(nn.Module):
    """H x W -> H/2 x W/2 x features -> H/4 x W/4 x 2 features -> width, with y -> 2 latent."""

    latent: int
    width: int
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "n H W"], y: Float[Array, "n K"]) -> Float[Array, "n out"]:
        h = x[..., None]
        for features in (self.features, 2 * self.features):
            h = nn.relu(nn.Conv(features, (4, 4), strides=(2, 2))(h))
        h = jnp.concatenate([h.reshape(len(h), -1), y], axis=-1)
        h = nn.relu(nn.Dense(self.width)(h))
        return nn.Dense(2 * self.latent)(h)


class ConvDecoder(nn.Module):
    """[z, y] -> width -> H/4 x W/4 x 2 features -> H/2 x W/2 x features, convolved -> H x W x channels."""

    channels: int
    width: int
    features: int
    shape: tuple[int, int]

    @nn.compact
    def __call__(self, z: Float[Array, "n latent"], y: Float[Array, "n K"]) -> Float[Array, "n H W C"]:
        h = nn.relu(nn.Dense(self.width)(jnp.concatenate([z, y], axis=-1)))
        height, width = self.shape[0] // 4, self.shape[1] // 4
        h = nn.relu(nn.Dense(height * width * 2 * self.features)(h)).reshape(-1, height, width, 2 * self.features)
        # Dense and depth-to-space compute a transposed convolution of kernel 2 and stride 2, faster on a CPU.
        h = nn.relu(depth_to_space(nn.Dense(4 * self.features)(h)))
        h = nn.relu(nn.Conv(self.features, (3, 3))(h))
        return depth_to_space(nn.Dense(4 * self.channels)(h))


def check_shape(shape: tuple[int, int]) -> None:
    """Check that the convolutions can halve the height and the width twice.

    Raises:
        UserError: a height or width that is not a multiple of 4.
    """
    if shape[0] % 4 or shape[1] % 4:
        raise UserError(f"shape is {shape}; allowed with network='conv': height and width that are multiples of 4")


def depth_to_space(h: Num[Array, "n H W C"]) -> Num[Array, "n 2*H 2*W C//4"]:
    """Return the channels of every pixel as a square of 2 x 2 pixels with a quarter of the channels."""
    n, height, width, channels = h.shape
    h = h.reshape(n, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return h.reshape(n, 2 * height, 2 * width, channels // 4)
