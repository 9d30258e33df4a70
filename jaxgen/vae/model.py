"""The variational autoencoder (Kingma and Welling 2014), with or without classes.

p(x, z | y) = p(z | y) p(x | z, y),      q(z | x, y) = N(z; mean(x, y), diag exp log_var(x, y))

p(z) = N(0, I) without classes; with them p(z | y) is a Gaussian with learned mean and variances for each class (Sohn et
al. 2015, equation 4), which starts as N(0, I). With N(0, I) for every class the label is ignored: z learns to carry the
class first, and nothing then moves it from there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Integer, UInt8

from jaxgen.errors import UserError

NETWORKS = ("mlp", "conv")


class Gaussian(NamedTuple):
    """Diagonal Gaussians, one per row, by mean and logarithm of the variance."""

    mean: Float[Array, "n latent"]
    log_var: Float[Array, "n latent"]


class VAE(nn.Module):
    """Encoder, decoder and prior.

    Attributes:
        encoder: (images in [0, 1], class codes) -> (n, 2 latent), means first.
        decoder: (z, class codes) -> outputs (n, H, W, channels), whose meaning a Likelihood knows.
        latent: dimensions of z.
        levels: number of states of a pixel; the encoder sees state / (levels - 1).
        n_classes: 0 for a model without classes; otherwise networks and prior are told the label.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent: int
    levels: int
    n_classes: int = 0

    def setup(self):
        if self.n_classes:
            self.class_prior = nn.Embed(self.n_classes, 2 * self.latent, embedding_init=nn.initializers.zeros)

    def encode(self, x: UInt8[Array, "n H W"], label: Integer[Array, "n"] | None = None) -> Gaussian:
        """Return mean and logarithm of the variance of q(z | x, y) for states x."""
        out = self.encoder(x.astype("float32") / (self.levels - 1), self._code(len(x), label))
        return Gaussian(out[:, : self.latent], out[:, self.latent :])

    def prior(self, n: int, label: Integer[Array, "n"] | None = None) -> Gaussian:
        """Return mean and logarithm of the variance of p(z | y) for each of n images."""
        self._check(label)
        out = jnp.zeros((n, 2 * self.latent)) if label is None else self.class_prior(label.astype("int32"))
        return Gaussian(out[:, : self.latent], out[:, self.latent :])

    def decode(self, z: Float[Array, "n latent"], label: Integer[Array, "n"] | None = None) -> Float[Array, "n H W C"]:
        """Return the outputs that parametrise p(x | z, y)."""
        return self.decoder(z, self._code(len(z), label))

    def __call__(self, x: UInt8[Array, "n H W"], label: Integer[Array, "n"] | None = None) -> Float[Array, "n H W C"]:
        """Return the outputs at the posterior's mean: the reconstruction."""
        self.prior(len(x), label)  # so that `init` makes its parameters
        return self.decode(self.encode(x, label).mean, label)

    def _code(self, n: int, label: Integer[Array, "n"] | None) -> Float[Array, "n K"]:
        self._check(label)
        return jnp.zeros((n, 0)) if label is None else jax.nn.one_hot(label, self.n_classes)

    def _check(self, label: Integer[Array, "n"] | None) -> None:
        if (label is None) != (self.n_classes == 0):
            raise UserError(
                f"label is {'none' if label is None else 'one'} for n_classes={self.n_classes}; "
                "allowed: labels exactly if the model has classes"
            )
        if label is None:
            return
        if not jnp.issubdtype(label.dtype, jnp.integer):
            raise UserError(f"label is {label.dtype}; allowed: integers")
        known = not isinstance(label, jax.core.Tracer) and label.size
        if known and not 0 <= int(label.min()) <= int(label.max()) < self.n_classes:
            raise UserError(f"label is {int(label.min())} to {int(label.max())}; allowed: 0 to {self.n_classes - 1}")
