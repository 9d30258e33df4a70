"""The Potts energy-based model of an image.

    E(x)    = - sum_i b_i[x_i] - sum_(i,j) W_ij[x_i, x_j]             x_i in 0..L-1 at every pixel i
    E(x, y) = E(x) - sum_i U_i[x_i, y]                                 y in 0..C-1, an optional class label
    p(x | y) proportional to exp(-beta E(x, y))

With tied couplings W_ij[a, b] = w_offset delta(a, b): the q-state Potts model (Potts 1952; Wu 1982, eq. 1.1). With edge
couplings every edge has its own L x L array. The label is one visible unit of C states joined to every pixel; it is
always clamped, so U enters the sampler as a field, and a bias of its own would cancel.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs import Lattice, edge_couplings, offset_name

COUPLINGS = ("edge", "tied")


class PottsEBM(nn.Module):
    """The energy of images of states under a Potts model; `apply(variables, x, label)` returns (n,) float32 energies.

    28 x 28 pixels, L = 4, four neighbours: 3,136 biases and 24,192 couplings, or 2 tied ones.
    All parameters start at zero, the uniform distribution; `log_marginal_init` gives a better start.

    Attributes:
        lattice: the pixels and the edges between them.
        levels: L, 2 to 256.
        coupling: "edge" or "tied".
        n_classes: C, 0 for a model without labels.

    Raises:
        UserError: from `init` and `apply`: an attribute out of range; x of another shape; a label for a model without
            classes, or no label for one with classes; labels that are not integers, one per image; and, outside jit, a
            state beyond L - 1 or a label beyond C - 1. Under jit the energy of such a label is NaN.
    """

    lattice: Lattice
    levels: int = 4
    coupling: str = "edge"
    n_classes: int = 0

    @nn.compact
    def __call__(self, x: UInt8[Array, "n H W"], label: Integer[Array, "n"] | None = None) -> Float[Array, "n"]:
        if self.coupling not in COUPLINGS:
            raise UserError(f"coupling is {self.coupling!r}; allowed: {', '.join(COUPLINGS)}")
        if not 2 <= self.levels <= 256:
            raise UserError(f"levels is {self.levels}; allowed: 2 to 256")
        if (label is None) != (self.n_classes == 0):
            given = "None" if label is None else "given"
            allowed = "one per image" if self.n_classes else "None"
            raise UserError(f"label is {given}; allowed for a model of {self.n_classes} classes: {allowed}")
        image = (self.lattice.height, self.lattice.width)
        if x.shape[1:] != image:
            raise UserError(f"x has shape {x.shape}; allowed: (n, {image[0]}, {image[1]})")
        check_below("x", x, self.levels)
        if label is not None:
            label = checked_labels(label, len(x), self.n_classes)
        params = {
            "bias": self.param("bias", nn.initializers.zeros, (*image, self.levels)),
            "coupling": self.param("coupling", self._zero_couplings),
        }
        energy = -_sites(params["bias"], x).sum((1, 2))
        for offset, weights in edge_couplings(self.lattice, params):
            here, there = self.lattice.ends(x, offset)
            pairs = weights.reshape(*weights.shape[:2], -1)
            energy -= _sites(pairs, here.astype(jnp.int32) * self.levels + there).sum((1, 2))
        if self.n_classes:
            joined = self.param("label_coupling", nn.initializers.zeros, (*image, self.levels, self.n_classes))
            pairs = x.astype(jnp.int32) * self.n_classes + label[:, None, None]
            energy -= _sites(joined.reshape(*image, -1), pairs).sum((1, 2))
            energy = jnp.where((label >= 0) & (label < self.n_classes), energy, jnp.nan)
        return energy

    def _zero_couplings(self, key):
        if self.coupling == "tied":
            return jnp.zeros(len(self.lattice.offsets))
        shapes = {offset_name(o): self.lattice.edge_shape(o) for o in self.lattice.offsets}
        return {name: jnp.zeros((*shape, self.levels, self.levels)) for name, shape in shapes.items()}


def _sites(table: Float[Array, "h w K"], state: Integer[Array, "n h w"]) -> Float[Array, "n h w"]:
    """Return table[y, x, state[n, y, x]] for every image n and pixel (y, x)."""
    return jnp.take_along_axis(table[None], state[..., None].astype(jnp.int32), axis=-1)[..., 0]


def check_below(name: str, values: Integer[Array, "..."], limit: int | Integer[np.ndarray, "n"]) -> None:
    """Raise UserError for values outside 0 .. limit - 1 (one limit, or one per column); traced values pass."""
    if isinstance(values, jax.core.Tracer) or np.size(values) == 0:
        return
    values = np.asarray(values)
    low, high = int(values.min()), int(values.max())
    if low < 0 or np.any(values >= limit):
        raise UserError(f"{name} has a value of {low if low < 0 else high}; allowed: 0 to {np.max(limit) - 1}")


def checked_labels(label: Integer[Array, "n"], n: int, n_classes: int) -> Integer[Array, "n"]:
    """Return labels as an array. UserError if they are not n integers or, unless traced, not in 0 .. n_classes - 1."""
    label = label if hasattr(label, "dtype") else np.asarray(label)
    if label.shape != (n,) or not jnp.issubdtype(label.dtype, jnp.integer):
        raise UserError(f"label is {label.dtype} {label.shape}; allowed: integers of shape ({n},)")
    check_below("label", label, n_classes)
    return label


def label_field(params: dict, label: Integer[Array, "n"]) -> Float[Array, "n H W L"]:
    """Return U_i[:, y], the field on every pixel when the label is clamped to y.

    It is the `field` of `gibbs.sample`. UserError, outside jit, for a label that is not in 0 .. C - 1.
    """
    label = checked_labels(label, np.size(label), params["label_coupling"].shape[-1])
    return jnp.moveaxis(params["label_coupling"], -1, 0)[label]


def log_marginal_init(
    params: dict, x: UInt8[Array, "n H W"], label: Integer[Array, "n"] | None = None, pseudo_count: float = 1.0
) -> dict:
    """Return `params` with b_i[l] = log p(x_i = l) and U_i[l, y] = log p(x_i = l | y) - log p(x_i = l) of the data.

    With zero couplings this is the maximum-likelihood model of independent pixels (Hinton 2012, section 8, for RBMs).
    `pseudo_count` is added to every count, so that every level has positive probability.
    """
    levels = params["bias"].shape[-1]

    def log_marginals(images):
        counts = jnp.stack([(images == level).sum(0) for level in range(levels)], -1) + pseudo_count
        return jnp.log(counts / counts.sum(-1, keepdims=True)).astype(jnp.float32)

    bias = log_marginals(x)
    if label is None:
        return params | {"bias": bias}
    n_classes = params["label_coupling"].shape[-1]
    label = checked_labels(label, len(x), n_classes)
    joined = jnp.stack([log_marginals(x[label == y]) - bias for y in range(n_classes)], -1)
    return params | {"bias": bias, "label_coupling": joined}
