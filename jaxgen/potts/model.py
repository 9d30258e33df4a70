"""The Potts energy-based model of an image.

    E(x)    = - sum_i b_i[x_i] - sum_(i,j) W_ij[x_i, x_j]             x_i in 0..L-1 at every pixel i
    E(x, y) = E(x) - sum_i U_i[x_i, y]                                 y in 0..C-1, an optional class label
    p(x | y) proportional to exp(-beta E(x, y))

With tied couplings W_ij[a, b] = w_offset delta(a, b): the q-state Potts model (Potts 1952; Wu 1982, eq. 1.1). With edge
couplings every edge has its own L x L array. The label is one visible unit of C states joined to every pixel; it is
always clamped, so U enters the sampler as a field, and a bias of its own would cancel.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs import Lattice, edge_couplings, offset_name

COUPLINGS = ("edge", "tied")


class PottsEBM(nn.Module):
    """Energy of images of states under a Potts model; `apply(variables, x, label)` gives (n,) float32 energies.

    lattice: which pixels are joined. levels: L >= 2. coupling: "edge" or "tied". n_classes: C, 0 for no label.

    28 x 28 pixels, L = 4, four neighbours: 3,136 biases and 24,192 couplings, or 2 tied ones.
    All parameters start at zero, the uniform distribution; `log_marginal_init` gives a better start.
    """

    lattice: Lattice
    levels: int = 4
    coupling: str = "edge"
    n_classes: int = 0

    @nn.compact
    def __call__(self, x: UInt8[Array, "n H W"], label: Integer[Array, "n"] | None = None) -> Float[Array, "n"]:
        if self.coupling not in COUPLINGS:
            raise UserError(f"coupling: got {self.coupling!r}, allowed are {', '.join(COUPLINGS)}")
        if not 2 <= self.levels <= 256:
            raise UserError(f"levels: got {self.levels}, must be 2..256")
        if (label is None) != (self.n_classes == 0):
            raise UserError(f"label: got {'none' if label is None else 'one'}, the model has {self.n_classes} classes")
        image = (self.lattice.height, self.lattice.width)
        if x.shape[1:] != image:
            raise UserError(f"x: got shape {x.shape}, must be (n, {image[0]}, {image[1]})")
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
            energy -= _sites(
                joined.reshape(*image, -1), x.astype(jnp.int32) * self.n_classes + label[:, None, None]
            ).sum((1, 2))
        return energy

    def _zero_couplings(self, key):
        if self.coupling == "tied":
            return jnp.zeros(len(self.lattice.offsets))
        shapes = {offset_name(o): self.lattice.edge_shape(o) for o in self.lattice.offsets}
        return {name: jnp.zeros((*shape, self.levels, self.levels)) for name, shape in shapes.items()}


def _sites(table: Float[Array, "h w K"], state: Integer[Array, "n h w"]) -> Float[Array, "n h w"]:
    """table[y, x, state[n, y, x]] for every image n and pixel (y, x)."""
    return jnp.take_along_axis(table[None], state[..., None].astype(jnp.int32), axis=-1)[..., 0]


def label_field(params: dict, label: Integer[Array, "n"]) -> Float[Array, "n H W L"]:
    """U_i[:, y]: the field that clamping the label to y puts on every pixel, for `gibbs.sample(..., field=...)`."""
    return jnp.moveaxis(params["label_coupling"], -1, 0)[label]


def log_marginal_init(
    params: dict, x: UInt8[Array, "n H W"], label: Integer[Array, "n"] | None = None, pseudo_count: float = 1.0
) -> dict:
    """`params` with b_i[l] = log p(x_i = l) and U_i[l, y] = log p(x_i = l | y) - log p(x_i = l), read off the data.

    With zero couplings this is the maximum-likelihood model of independent pixels (Hinton 2012, section 8, for RBMs).
    `pseudo_count` is added to every count, so that no level is impossible.
    """
    levels = params["bias"].shape[-1]

    def log_marginals(images):
        counts = jnp.stack([(images == level).sum(0) for level in range(levels)], -1) + pseudo_count
        return jnp.log(counts / counts.sum(-1, keepdims=True)).astype(jnp.float32)

    bias = log_marginals(x)
    if label is None:
        return params | {"bias": bias}
    n_classes = params["label_coupling"].shape[-1]
    joined = jnp.stack([log_marginals(x[label == y]) - bias for y in range(n_classes)], -1)
    return params | {"bias": bias, "label_coupling": joined}
