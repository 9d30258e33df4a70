"""Exact laws of small Potts models, by enumeration of every state.

    p(x) = exp(-beta E(x)) / Z,   E(x) = - sum_i (b_i[x_i] + f_i[x_i]) - sum_(i,j) W_ij[x_i, x_j],   x_i in 0..L-1
    Z = sum_x exp(-beta E(x))

f is an optional field added to the bias. The levels of the sites in row-major order are the digits in base L of the
number s of a state, the first site the most significant. These functions are oracles for tests and diagnostics; their
cost is proportional to L^sites.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, ArrayLike, Bool, Float, Int, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.couplings import Params, check_params, edge_couplings, n_levels
from jaxgen.gibbs.lattice import Lattice, offset_name

MAX_STATES = 2**22
MAX_MATRIX_STATES = 2**12


def all_states(lattice: Lattice, levels: int) -> UInt8[np.ndarray, "S H W"]:
    """Return all S = levels^sites states in the order of their numbers. UserError for more than 2^22 states."""
    _check_size(lattice, levels, MAX_STATES)
    digits = np.empty((lattice.n_sites, levels**lattice.n_sites), np.uint8)
    for site in range(lattice.n_sites):
        digits[site].reshape(levels**site, levels, -1)[:] = np.arange(levels)[:, None]
    return np.ascontiguousarray(digits.T).reshape(-1, lattice.height, lattice.width)


def state_numbers(x: UInt8[ArrayLike, "n *sites"], levels: int) -> Int[np.ndarray, "n"]:
    """Return the index in `all_states` of every image. UserError for a level outside 0 .. levels - 1."""
    digits = np.asarray(x).reshape(len(x), -1)
    if digits.size and not 0 <= digits.min() <= digits.max() < levels:
        raise UserError(f"x has levels {digits.min()} to {digits.max()}; allowed: 0 to {levels - 1}")
    return digits @ levels ** np.arange(digits.shape[1])[::-1]


@functools.partial(jax.jit, static_argnums=0)
def natural_params(
    lattice: Lattice, params: Params, beta: Float[ArrayLike, ""] = 1.0, field: Float[ArrayLike, "H W L"] | None = None
) -> Params:
    """Return beta (b + f) and beta W_ij as edge parameters, in which -beta E(x) is linear.

    UserError for a field of another shape.
    """
    check_params(lattice, params)
    bias = jnp.asarray(params["bias"])
    if field is not None:
        if field.shape != bias.shape:
            raise UserError(f"field has shape {field.shape}; allowed: {bias.shape}")
        bias = bias + field
    couplings = edge_couplings(lattice, params)
    return {"bias": beta * bias, "coupling": {offset_name(offset): beta * w for offset, w in couplings}}


def log_weights(
    lattice: Lattice, params: Params, beta: Float[ArrayLike, ""] = 1.0, field: Float[ArrayLike, "H W L"] | None = None
) -> Float[Array, "S"]:
    """Return -beta E(x) of every state in nats, in the dtype of the parameters. UserError for more than 2^22 states."""
    natural = natural_params(lattice, params, beta, field)
    edges = {offset_name(offset): lattice.edges(offset) for offset in lattice.offsets}
    return _linear(natural, all_states(lattice, n_levels(params)), edges)


@jax.jit
def _linear(natural: Params, states: UInt8[Array, "S H W"], edges: dict) -> Float[Array, "S"]:
    levels = n_levels(natural)
    x = states.reshape(len(states), -1).astype(jnp.int32)
    total = natural["bias"].reshape(-1, levels)[jnp.arange(x.shape[1]), x].sum(1)
    for name, (source, target) in edges.items():
        coupling = natural["coupling"][name].reshape(-1, levels, levels)
        total += coupling[jnp.arange(len(source)), x[:, source], x[:, target]].sum(1)
    return total


def log_partition(
    lattice: Lattice, params: Params, beta: Float[ArrayLike, ""] = 1.0, field: Float[ArrayLike, "H W L"] | None = None
) -> Float[Array, ""]:
    """Return log Z in nats, differentiable."""
    return jax.nn.logsumexp(log_weights(lattice, params, beta, field))


def distribution(
    lattice: Lattice, params: Params, beta: Float[ArrayLike, ""] = 1.0, field: Float[ArrayLike, "H W L"] | None = None
) -> Float[Array, "S"]:
    """Return p(x) of every state."""
    return jax.nn.softmax(log_weights(lattice, params, beta, field))


def log_likelihood(
    lattice: Lattice, params: Params, x: UInt8[Array, "n H W"], beta: Float[ArrayLike, ""] = 1.0
) -> Float[Array, ""]:
    """Return the mean of log p(x) over images, in nats; jax.grad of it is the exact maximum-likelihood gradient."""
    weights = log_weights(lattice, params, beta)
    return weights[state_numbers(x, n_levels(params))].mean() - jax.nn.logsumexp(weights)


def marginals(
    lattice: Lattice, params: Params, beta: Float[ArrayLike, ""] = 1.0, field: Float[ArrayLike, "H W L"] | None = None
) -> dict:
    """Return expected sufficient statistics as float64, shaped like edge parameters also for tied ones.

    {"bias": p(x_i = l), (H, W, L); "coupling": {name: p(x_i = a, x_j = b), (h, w, L, L)}}, by summing the distribution.
    """
    levels = n_levels(params)
    p = np.asarray(distribution(lattice, params, beta, field), np.float64)
    sites = list(range(lattice.n_sites))
    joint = (p / p.sum()).reshape((levels,) * lattice.n_sites)
    singles = np.stack([np.einsum(joint, sites, [i]) for i in sites])
    pairs = {}
    for offset in lattice.offsets:
        tables = [np.einsum(joint, sites, [i, j]) for i, j in zip(*lattice.edges(offset), strict=True)]
        pairs[offset_name(offset)] = np.stack(tables).reshape(*lattice.edge_shape(offset), levels, levels)
    return {"bias": singles.reshape(lattice.height, lattice.width, levels), "coupling": pairs}


def conditional(
    lattice: Lattice,
    params: Params,
    site: int,
    beta: Float[ArrayLike, ""] = 1.0,
    field: Float[ArrayLike, "H W L"] | None = None,
) -> Float[np.ndarray, "S L"]:
    """Return p(x_site = l | the other sites of state s), float64, by enumeration; site = y W + x."""
    levels = n_levels(params)
    p = np.asarray(distribution(lattice, params, beta, field), np.float64)
    return _conditional(p, site, levels)


def _conditional(p: Float[np.ndarray, "S"], site: int, levels: int) -> Float[np.ndarray, "S L"]:
    slabs = p.reshape(levels**site, levels, -1)
    given_rest = np.moveaxis(slabs / slabs.sum(1, keepdims=True), 1, 2)
    return np.repeat(given_rest[:, None], levels, axis=1).reshape(-1, levels)


def colour_blocks(lattice: Lattice) -> list[Int[np.ndarray, "_sites"]]:
    """Return the flat sites of each colour of the colouring of the lattice."""
    colours = lattice.colouring.ravel()
    return [np.flatnonzero(colours == colour) for colour in range(lattice.n_colours)]


def sweep_matrix(
    lattice: Lattice,
    params: Params,
    order: Sequence[Sequence[int] | Int[np.ndarray, "_sites"]],
    beta: Float[ArrayLike, ""] = 1.0,
    clamp: Bool[np.ndarray, "H W"] | None = None,
) -> Float[np.ndarray, "S S"]:
    """Return P[s, t], the float64 probability that one sweep takes state s to state t; one kernel per block:

        K[s, t] = prod_(i in block) p(t_i | s without i) prod_(i not in block) [t_i = s_i]

    Args:
        lattice, params, beta: the model.
        order: the blocks of flat sites in the order of the sweep; all sites of a block are drawn given the state before
            the block, so p is stationary only if no edge joins two of them.
        clamp: True at sites that never change.

    Raises:
        UserError: more than 2^12 states.
    """
    levels = n_levels(params)
    _check_size(lattice, levels, MAX_MATRIX_STATES)
    p = np.asarray(distribution(lattice, params, beta), np.float64)
    states = all_states(lattice, levels).reshape(len(p), -1)
    free = np.ones(lattice.n_sites, bool) if clamp is None else ~np.asarray(clamp).ravel()
    sweep = np.eye(len(p))
    for block in order:
        kernel = np.ones((len(p), 1))
        for site in range(lattice.n_sites):
            moves = free[site] and site in block
            factor = _conditional(p, site, levels) if moves else np.eye(levels)[states[:, site]]
            kernel = (kernel[:, :, None] * factor[:, None, :]).reshape(len(p), -1)
        sweep = sweep @ scipy.sparse.csr_array(kernel)
    return sweep


def _check_size(lattice: Lattice, levels: int, limit: int) -> None:
    if levels**lattice.n_sites > limit:
        raise UserError(
            f"lattice has {levels}^{lattice.n_sites} states ({lattice.height} x {lattice.width} sites); "
            f"allowed by enumeration: at most {limit}"
        )
