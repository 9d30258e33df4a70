"""The two frozen judges: a strided CNN whose features measure distances, a patch network that reads the class.

    features   f = relu(W h + b),   h: five convolutions, from 28 x 28 down to 4 x 4
    accuracy   x = A (relu(P_1), ..., relu(P_25)),   x <- norm(x + U relu(V norm(x)))

with P_j = W patch_j + b over the 25 overlapping patches of 12 x 12 pixels: one wide look and a residual MLP, where the
other has depth. They share neither architecture nor parameters, so samples that please one by accident need not please
the other.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from jaxgen.data import evaluation_slices

SIDE = 28  # of the images that the networks take
N_CLASSES = 10
N_FEATURES = 64
_PATCH, _STRIDE, _WIDTH = 12, 4, 192
_BATCH = 1000


class FeatureNetwork(nn.Module):
    """`apply(variables, images)` gives logits (batch, 10) and features (batch, 64), the penultimate activations."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch 28 28"]
    ) -> tuple[Float[Array, "batch 10"], Float[Array, "batch 64"]]:
        x = images[..., None]
        for channels, size, stride in ((16, 5, 2), (16, 3, 1), (32, 3, 2), (32, 3, 1), (64, 3, 2)):
            x = nn.relu(nn.Conv(channels, (size, size), (stride, stride))(x))
        features = nn.relu(nn.Dense(N_FEATURES)(x.reshape(len(x), -1)))
        return nn.Dense(N_CLASSES)(features), features


class AccuracyNetwork(nn.Module):
    """`apply(variables, images)` gives logits (batch, 10) and the penultimate activations (batch, 192)."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch 28 28"]
    ) -> tuple[Float[Array, "batch 10"], Float[Array, "batch 192"]]:
        corners = range(0, SIDE - _PATCH + 1, _STRIDE)
        patches = [images[:, y : y + _PATCH, x : x + _PATCH].reshape(len(images), -1) for y in corners for x in corners]
        x = nn.relu(nn.Dense(32)(jnp.stack(patches, axis=1)))
        x = nn.Dense(_WIDTH)(x.reshape(len(images), -1))
        x = x + nn.Dense(_WIDTH)(nn.relu(nn.Dense(_WIDTH)(normalise(x))))
        x = normalise(x)
        return nn.Dense(N_CLASSES)(x), x


def normalise(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return x divided by its root mean square along the last axis."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)


NETWORKS = {"features": FeatureNetwork(), "accuracy": AccuracyNetwork()}


def fitted(images: UInt8[np.ndarray, "n H W"]) -> UInt8[np.ndarray, "n 28 28"]:
    """Return grey images resized to the size that the networks take, linearly and without aliasing."""
    if images.shape[1:] == (SIDE, SIDE):
        return images
    resize = jax.jit(lambda x: jax.image.resize(x.astype(jnp.float32), (len(x), SIDE, SIDE), "linear"))
    pieces = [np.asarray(resize(images[part])) for part in evaluation_slices(len(images), _BATCH)]
    return np.rint(np.concatenate(pieces).clip(0, 255)).astype(np.uint8)


def apply_network(
    name: str, params: dict, images: UInt8[np.ndarray, "n 28 28"]
) -> tuple[Float32[np.ndarray, "n 10"], Float32[np.ndarray, "n width"]]:
    """Return logits and penultimate activations of many images, computed a thousand images at a time.

    Args:
        name: "features" or "accuracy".
        params: of that network.
        images: uint8 grey.
    """
    pieces = []
    for part in evaluation_slices(len(images), _BATCH):
        some = images[part]
        # Whole batches only, so that one program serves any n.
        padded = np.concatenate([some, np.zeros((_BATCH - len(some), SIDE, SIDE), np.uint8)])
        logits, features = _apply(NETWORKS[name], params, padded)
        pieces.append((np.asarray(logits)[: len(some)], np.asarray(features)[: len(some)]))
    return np.concatenate([logits for logits, _ in pieces]), np.concatenate([features for _, features in pieces])


@functools.partial(jax.jit, static_argnums=0)
def _apply(network: nn.Module, params: dict, images: UInt8[Array, "batch 28 28"]):
    # Full float32 everywhere: reduced precision of matrix units would shift every distance a little.
    with jax.default_matmul_precision("highest"):
        return network.apply({"params": params}, images.astype(jnp.float32) / 255)
