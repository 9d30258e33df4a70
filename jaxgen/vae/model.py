"""The variational autoencoder (Kingma and Welling 2014), with or without classes.

p(x, z | y) = N(z; 0, I) p(x | z, y),      q(z | x, y) = N(z; mean(x, y), diag exp log_var(x, y))
"""

from typing import NamedTuple

import jax
from flax import linen as nn
from jaxtyping import Array, Float, Int, UInt8

NETWORKS = ("mlp", "conv")


class Posterior(NamedTuple):
    """A diagonal Gaussian."""

    mean: Float[Array, "n latent"]
    log_var: Float[Array, "n latent"]


class VAE(nn.Module):
    """Encoder and decoder.

    Attributes:
        encoder: (images in [0, 1], class codes) -> (n, 2 latent), means first.
        decoder: (z, class codes) -> outputs (n, H, W, channels), whose meaning a Likelihood knows.
        latent: dimensions of z.
        levels: number of states of a pixel; the encoder sees state / (levels - 1).
        n_classes: 0 for a model without classes; otherwise both networks are told the label.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent: int
    levels: int
    n_classes: int = 0

    def encode(self, x: UInt8[Array, "n H W"], label: Int[Array, "n"] | None = None) -> Posterior:
        """q(z | x, y) of states x."""
        out = self.encoder(x.astype("float32") / (self.levels - 1), self._code(len(x), label))
        return Posterior(out[:, : self.latent], out[:, self.latent :])

    def decode(self, z: Float[Array, "n latent"], label: Int[Array, "n"] | None = None) -> Float[Array, "n H W C"]:
        """Outputs for p(x | z, y)."""
        return self.decoder(z, self._code(len(z), label))

    def __call__(self, x: UInt8[Array, "n H W"], label: Int[Array, "n"] | None = None) -> Float[Array, "n H W C"]:
        """Outputs at the posterior's mean: the reconstruction."""
        return self.decode(self.encode(x, label).mean, label)

    def _code(self, n: int, label: Int[Array, "n"] | None) -> Float[Array, "n K"]:
        if (label is None) != (self.n_classes == 0):
            raise ValueError(
                f"label: got {'none' if label is None else 'one'} for n_classes={self.n_classes}; "
                "allowed: labels exactly if the model has classes"
            )
        if label is None:
            return jax.numpy.zeros((n, 0))
        return jax.nn.one_hot(label, self.n_classes)
