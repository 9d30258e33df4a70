"""A lattice Boltzmann machine: a Potts model on a grid of which every second site is hidden.

    E(v, h) = - sum_i b_i[v_i] - sum_j b_j[h_j] - sum_(i,j) W_ij[v_i, h_j]           i visible, j hidden
    log p(v) = log sum_h exp(-beta E(v, h)) - log Z
             = beta sum_i b_i[v_i] + sum_j log sum_l exp(beta (b_j[l] + sum_i W_ij[v_i, l])) - log Z

Pixel (y, k) of an H x W image is the site (y, 2 k + y mod 2) of an H x 2 W grid, a white square of its checkerboard;
the black squares are hidden. Offsets that change the parity of y + x then join visible sites to hidden ones only: a
restricted Boltzmann machine (Smolensky 1986) with local connections, sampled in two colours. Its sum over h is
a product, so a likelihood is exact up to log Z. An offset (dy, dx) of the grid spans dx / 2 pixels horizontally.

    d log p(v) / d theta = beta (< s(v, h) >_(v data, h ~ p(h | v)) - < s(v, h) >_model)
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Float64, Key, Shaped, UInt8

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.contrastive import ContrastiveSettings, contrastive_divergence
from jaxgen.potts.model import PottsEBM, log_marginal_init

_CHUNK = 1000


def latent_lattice(height: int, width: int, neighbourhood: str = "G16") -> gibbs.Lattice:
    """Return the grid of an image of `height` x `width` pixels and as many hidden sites.

    neighbourhood: one of `gibbs.NEIGHBOURHOODS` whose offsets are all odd, or "window": every hidden site is joined to
    the 76 pixels at most 4 rows and 4 columns (8 columns of the grid) away, fewer at the edges.

    Raises:
        UserError: a neighbourhood that joins visible sites, or one that `gibbs.Lattice` refuses.
    """
    if neighbourhood == "window":
        reach = [(dy, dx) for dy in range(5) for dx in range(-8, 9) if (dy + dx) % 2 and (dy > 0 or dx > 0)]
        lattice = gibbs.Lattice(height, 2 * width, tuple(reach))
    else:
        lattice = gibbs.Lattice.grid(height, 2 * width, neighbourhood)
    even = [offset for offset in lattice.offsets if sum(offset) % 2 == 0]
    if even:
        raise UserError(f"neighbourhood: {neighbourhood!r} has {even[0]}, which joins two visible sites; allowed: odd")
    return lattice


def visible_sites(lattice: gibbs.Lattice) -> Bool[np.ndarray, "H W2"]:
    """Return a mask of the grid that is True at the sites of pixels."""
    y, x = np.indices((lattice.height, lattice.width))
    return (y + x) % 2 == 0


def pixels_on_grid(v: Shaped[Array, "n H W"]) -> Shaped[Array, "n H W2"]:
    """Return the images as states of the grid, with 0 at the hidden sites."""
    blank = jnp.zeros_like(v)
    even, odd = jnp.stack([v, blank], -1), jnp.stack([blank, v], -1)
    rows = (jnp.arange(v.shape[1]) % 2 == 0)[:, None, None]
    return jnp.where(rows, even, odd).reshape(*v.shape[:2], -1)


def visible_part(x: Shaped[Array, "n H W2"]) -> Shaped[Array, "n H W"]:
    """Return the images in states of the grid, the inverse of `pixels_on_grid`."""
    pairs = x.reshape(*x.shape[:2], -1, 2)
    rows = (jnp.arange(x.shape[1]) % 2 == 0)[:, None]
    return jnp.where(rows, pairs[..., 0], pairs[..., 1])


@functools.partial(jax.jit, static_argnums=1)
def draw_hidden(
    key: Key[Array, ""],
    lattice: gibbs.Lattice,
    params: dict,
    v: UInt8[Array, "n H W"],
    beta: Float[ArrayLike, ""] = 1.0,
    chain_ids: Array | None = None,
) -> UInt8[Array, "n H W2"]:
    """Return (v, h) with h ~ p(h | v): one clamped sweep, exact because no edge joins two hidden sites."""
    clamp = jnp.asarray(visible_sites(lattice))
    return gibbs.sample(key, lattice, params, pixels_on_grid(v), 1, beta=beta, clamp=clamp, chain_ids=chain_ids)[0]


def latent_contrastive_divergence(model: PottsEBM, settings: ContrastiveSettings) -> Callable:
    """Return the `grad_fn` of `contrastive_divergence`, with the hidden sites of the data drawn given its pixels.

    Its batch is {"image": pixels uint8 (n, H, W), "position"}; its carry holds chains on the grid, (chains, H, 2 W).
    Statistics are not centred: Adam takes steps of equal size in weights and biases, so the biases could not follow the
    correction that `centred` takes from the weights, and a run with 76 neighbours diverged.
    """

    def grad_fn(params, carry, key, batch):
        key_hidden, key_chains = jax.random.split(key)
        x = draw_hidden(key_hidden, model.lattice, params, batch["image"], settings.beta, batch["position"])
        return contrastive_divergence(model, settings)(params, carry, key_chains, batch | {"image": x})

    return grad_fn


def latent_init(key: Key[Array, ""], model: PottsEBM, v: UInt8[Array, "n H W"], scale: float = 0.05) -> dict:
    """Return initial parameters: log marginals of the pixels, zero hidden biases, couplings drawn from N(0, scale^2).

    Random couplings break the symmetry between hidden sites.
    """
    params = model.init(key, pixels_on_grid(v[:1]))["params"]
    bias = log_marginal_init(params, pixels_on_grid(v))["bias"]
    bias = jnp.where(visible_sites(model.lattice)[..., None], bias, 0.0)
    coupling = {
        name: scale * jax.random.normal(jax.random.fold_in(key, number), leaf.shape)
        for number, (name, leaf) in enumerate(sorted(params["coupling"].items()))
    }
    return {"bias": bias, "coupling": coupling}


@functools.partial(jax.jit, static_argnums=0)
def log_sum_hidden(
    lattice: gibbs.Lattice, params: dict, v: UInt8[Array, "n H W"], beta: Float[ArrayLike, ""] = 1.0
) -> Float[Array, "n"]:
    """Return the exact log sum_h exp(-beta E(v, h)) of every image, in nats.

    The sums over pixels are one product with the matrix of all couplings, as in any restricted Boltzmann machine.
    """
    levels, flat = gibbs.n_levels(params), visible_sites(lattice).ravel()
    seen, hidden = np.flatnonzero(flat), np.flatnonzero(~flat)
    matrix = jnp.zeros((lattice.n_sites, levels, lattice.n_sites, levels))
    for offset, coupling in gibbs.edge_couplings(lattice, params):
        source, target = lattice.edges(offset)
        coupling = coupling.reshape(-1, levels, levels)
        matrix = matrix.at[source, :, target, :].add(coupling)
        matrix = matrix.at[target, :, source, :].add(coupling.swapaxes(1, 2))
    bias = params["bias"].reshape(-1, levels)
    # Visible sites in raster order are the pixels in raster order.
    pixels = jax.nn.one_hot(v.reshape(len(v), -1), levels).reshape(len(v), -1)
    weights = matrix[seen][:, :, hidden].reshape(pixels.shape[1], -1)
    fields = jnp.matmul(pixels, weights, precision=jax.lax.Precision.HIGHEST)
    logits = bias[hidden] + fields.reshape(len(v), -1, levels)
    of_pixels = jnp.matmul(pixels, bias[seen].ravel(), precision=jax.lax.Precision.HIGHEST)
    return beta * of_pixels + jax.nn.logsumexp(beta * logits, axis=-1).sum(1)


def latent_log_likelihood(
    lattice: gibbs.Lattice, params: dict, v: UInt8[Array, "n H W"], log_z: float, beta: Float[ArrayLike, ""] = 1.0
) -> Float64[np.ndarray, "n"]:
    """Return log p(v) of every image in nats; exact up to `log_z`, that of visible and hidden sites together."""
    pieces = [log_sum_hidden(lattice, params, v[i : i + _CHUNK], beta) for i in range(0, len(v), _CHUNK)]
    return np.concatenate([np.asarray(piece, np.float64) for piece in pieces]) - log_z
