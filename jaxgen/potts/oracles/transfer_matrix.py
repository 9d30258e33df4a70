"""Site-by-site transfer matrix: exact log Z, marginals and samples of nearest-neighbour strips of any length.

    E(x) = - sum_i b_i[x_i] - sum_(i,j) W_ij[x_i, x_j],   p(x) = exp(-beta E(x)) / Z
    m_t(v) = log sum over the sites before v of exp(-beta E of the t sites absorbed so far),   v: the last W of them
    m_(t+1)(v_2..v_W, s) = beta b_t[s] + beta W_left[v_W, s] + log sum_(v_1) exp(m_t(v_1..v_W) + beta W_up[v_1, s])
    log Z = log sum_v exp(m_HW(v))

The sites are absorbed in raster order, so v_1 is the site above the new one and v_W the site on its left: time
O(H W L^(W+1)) for any biases and couplings, W the shorter side. A message is stored flat, relative to its maximum, v_W
the most significant digit in base L and v_1 the least. The gradient of log Z gives the marginals; sampling the terms of
each sum from the last site to the first gives independent draws. Lattices: offsets (0, 1) and (1, 0), open boundary; a
single row or column has one of the two, a single site none.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.couplings import Params, n_levels
from jaxgen.gibbs.lattice import Lattice, offset_name
from jaxgen.potts.oracles.enumeration import natural_params

MAX_TERMS = 2**24
MAX_STORED = 2**28


class _Sites(NamedTuple):
    """Terms that each site in raster order adds; zeros where a site has no left or no upper neighbour."""

    bias: Float[Array, "sites L"]
    left: Float[Array, "sites L L"]
    up: Float[Array, "sites L L"]


def log_partition(
    lattice: Lattice, params: Params, beta: Float[ArrayLike, ""] = 1.0, field: Float[ArrayLike, "H W L"] | None = None
) -> Float[Array, ""]:
    """Return log Z in nats, differentiable, in the dtype of the parameters.

    Raises:
        UserError: the lattice is not an open nearest-neighbour grid, or L^(W+1) > 2^24.
    """
    _check(lattice, params)
    return _log_partition(lattice, natural_params(lattice, params, beta, field))


def marginals(
    lattice: Lattice, params: Params, beta: Float[ArrayLike, ""] = 1.0, field: Float[ArrayLike, "H W L"] | None = None
) -> Params:
    """Return expected sufficient statistics, shaped like edge parameters also for tied ones; errors as `log_partition`.

    {"bias": p(x_i = l), (H, W, L); "coupling": {name: p(x_i = a, x_j = b), (h, w, L, L)}}: the gradient of log Z in the
    natural parameters. The gradient of the mean log-likelihood is beta (the same means over the data - these). Memory:
    H W L^W numbers.
    """
    _check(lattice, params)
    return _marginals(lattice, natural_params(lattice, params, beta, field))


def draw(
    key: PRNGKeyArray, lattice: Lattice, params: Params, n: int, beta: Float[ArrayLike, ""] = 1.0
) -> UInt8[Array, "n H W"]:
    """Return n independent exact samples, by forward filtering and backward sampling.

    Sample i depends on the key and on i alone.     Memory: H W L^W numbers, at most 2^28.

    Raises:
        UserError: as `log_partition`, n < 1, or too much memory.
    """
    _check(lattice, params)
    if n < 1:
        raise UserError(f"n is {n}; allowed: an integer, 1 or more")
    stored = lattice.n_sites * n_levels(params) ** min(lattice.height, lattice.width)
    if stored > MAX_STORED:
        raise UserError(f"lattice: draws would store {stored} numbers; allowed: at most {MAX_STORED}")
    return _draw(key, lattice, natural_params(lattice, params, beta), n)


def _check(lattice: Lattice, params: Params) -> None:
    if set(lattice.offsets) != set(Lattice.grid(lattice.height, lattice.width).offsets) or lattice.boundary != "open":
        raise UserError(
            f"lattice has offsets {lattice.offsets} and boundary {lattice.boundary!r}; "
            "allowed: (0, 1) and (1, 0), boundary 'open'"
        )
    levels, width = n_levels(params), min(lattice.height, lattice.width)
    if levels ** (width + 1) > MAX_TERMS:
        raise UserError(
            f"lattice has shorter side W = {width} at L = {levels} levels; allowed: L^(W+1) of at most {MAX_TERMS}"
        )


@functools.partial(jax.jit, static_argnums=0)
def _log_partition(lattice: Lattice, natural: Params) -> Float[Array, ""]:
    width, sites = _sites(lattice, natural)
    message = _before_the_first(width, sites)
    message, scales = jax.lax.scan(jax.checkpoint(_absorb), message, sites)
    return scales.sum() + jax.nn.logsumexp(message)


@functools.partial(jax.jit, static_argnums=0)
def _marginals(lattice: Lattice, natural: Params) -> Params:
    return jax.grad(_log_partition, argnums=1)(lattice, natural)


def _sites(lattice: Lattice, natural: Params) -> tuple[int, _Sites]:
    """Return the shorter side, and the sites in raster order of the grid turned so that this side is its width."""
    bias = natural["bias"]
    left, up = (_couplings(lattice, natural, offset) for offset in ((0, 1), (1, 0)))
    if lattice.height < lattice.width:
        bias, left, up = bias.swapaxes(0, 1), up.swapaxes(0, 1), left.swapaxes(0, 1)
    _, width, levels = bias.shape
    left = jnp.pad(left, ((0, 0), (1, 0), (0, 0), (0, 0)))
    up = jnp.pad(up, ((1, 0), (0, 0), (0, 0), (0, 0)))
    return width, _Sites(bias.reshape(-1, levels), left.reshape(-1, levels, levels), up.reshape(-1, levels, levels))


def _couplings(lattice: Lattice, natural: Params, offset: tuple[int, int]) -> Float[Array, "h w L L"]:
    """Return the couplings of one offset; no edges where the lattice is too small to have it."""
    levels = n_levels(natural)
    none = jnp.zeros((*lattice.edge_shape(offset), levels, levels), natural["bias"].dtype)
    return natural["coupling"].get(offset_name(offset), none)


def _before_the_first(width: int, sites: _Sites) -> Float[Array, "states"]:
    """Return the message of a row of uniform, unconnected sites above the grid; its weights sum to 1."""
    levels = sites.bias.shape[1]
    return jnp.full(levels**width, -width * jnp.log(levels), sites.bias.dtype)


def _absorb(message: Float[Array, "states"], site: _Sites) -> tuple[Float[Array, "states"], Float[Array, ""]]:
    """Return m_(t+1) minus its maximum, and this maximum."""
    levels = len(site.bias)
    summed = jax.nn.logsumexp(message.reshape(1, -1, levels) + site.up.T[:, None, :], axis=2)
    if len(message) == levels:  # W = 1: the site above is the only one that is known
        message = summed[:, 0] + site.bias
    else:
        local = site.left.T + site.bias[:, None]
        message = (summed.reshape(levels, levels, -1) + local[:, :, None]).reshape(-1)
    scale = jax.lax.stop_gradient(message.max())
    return message - scale, scale


@functools.partial(jax.jit, static_argnums=(1, 3))
def _draw(key: PRNGKeyArray, lattice: Lattice, natural: Params, n: int) -> UInt8[Array, "n H W"]:
    width, sites = _sites(lattice, natural)
    levels = n_levels(natural)
    # A last row of unconnected sites, all read as 0, makes the last row of the grid a row like the others.
    sites = jax.tree.map(lambda a: jnp.pad(a, ((0, width),) + ((0, 0),) * (a.ndim - 1)), sites)
    _, messages = jax.lax.scan(lambda m, site: (_absorb(m, site)[0], m), _before_the_first(width, sites), sites)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))

    def sample_above(after, step):
        number, message, up = step
        new, rest = jnp.divmod(after, levels ** (width - 1))
        logits = message.reshape(-1, levels)[rest] + up.T[new]
        site_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        above = jax.vmap(jax.random.categorical)(site_keys, logits)
        return rest * levels + above, above.astype(jnp.uint8)

    steps = jnp.arange(lattice.n_sites), messages[width:], sites.up[width:]
    _, x = jax.lax.scan(sample_above, jnp.zeros(n, jnp.int32), steps, reverse=True)
    x = x.T.reshape(n, -1, width)
    return x.swapaxes(1, 2) if lattice.height < lattice.width else x
