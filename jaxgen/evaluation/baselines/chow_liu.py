"""The Chow-Liu tree: the best model of all those in which each pixel depends on one other.

    log p(x) = log p_r(x_r) + sum_{i != r} log p(x_i | x_parent(i))

    p_ij(a, b) = (n_ij(a, b) + s / L^2) / (n + s),      I_ij = sum_ab p_ij(a, b) log [p_ij(a, b) / (p_i(a) p_j(b))]

The tree is a maximum spanning tree of the mutual informations I_ij, which maximises the likelihood over all trees
(Chow and Liu 1968, equation 14). s pseudo observations, spread evenly over the L^2 states of every pair, keep the
margins of all pairs consistent. States are 0 to L - 1, likelihoods in nats. Likelihood and samples are exact.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int32, Key, UInt8
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from jaxgen.errors import UserError
from jaxgen.evaluation.baselines.independent_pixels import check_states, sum_in_chunks, uniforms

MAX_LEVELS = 256
MOST_STATES = 16_384  # pixels times levels: the counts of all pairs then take 2 GB
_CHUNK = 2000


class PairCounts(NamedTuple):
    """counts[i, a, j, b]: how many of the n images of shape (H, W) have state a at pixel i and state b at pixel j."""

    counts: Float64[np.ndarray, "D L D L"]
    n: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, states: UInt8[np.ndarray, "n H W"], levels: int) -> "PairCounts":
        """Return the counts of all pairs, by products of one-hot codes, 8 (D L)^2 bytes; UserError for wrong states."""
        states = check_states(states, levels, MAX_LEVELS)
        flat = states.reshape(len(states), -1)
        pixels = flat.shape[1]
        if not cls.fits(pixels, levels):
            raise UserError(f"levels is {levels} for {pixels} pixels; allowed: up to {MOST_STATES // pixels} levels")
        total = np.zeros((pixels * levels, pixels * levels))
        for start in range(0, len(flat), _CHUNK):
            total += np.asarray(_products(flat[start : start + _CHUNK], levels))
        return cls(total.reshape(pixels, levels, pixels, levels), len(states), states.shape[1:])

    @staticmethod
    def fits(pixels: int, levels: int) -> bool:
        """Return whether the counts of images of this size take at most 2 GB."""
        return pixels * levels <= MOST_STATES


@functools.partial(jax.jit, static_argnums=1)
def _products(states: UInt8[Array, "n D"], levels: int) -> Float[Array, "DL DL"]:
    one_hot = (states[:, :, None] == jnp.arange(levels, dtype=jnp.uint8)).astype(jnp.float32)
    one_hot = one_hot.reshape(len(states), -1)
    return one_hot.T @ one_hot  # exact: sums of ones, far below 2^24


class ChowLiuTree(NamedTuple):
    """A tree of pixels, numbered row by row.

    Attributes:
        parent: of each pixel; the root is its own.
        conditional: [i, a, b] = p(x_i = b | x_parent(i) = a), float64; the root's rows are all p_r.
        shape: (H, W).
    """

    parent: Int32[np.ndarray, "D"]
    conditional: Float64[np.ndarray, "D L L"]
    shape: tuple[int, int]

    @classmethod
    def fit(cls, states: UInt8[np.ndarray, "n H W"], levels: int, pseudo_count: float) -> "ChowLiuTree":
        """Return the likeliest tree for the states, 0 to levels - 1, together with `pseudo_count` uniform observations.

        Args:
            states: 0 to levels - 1.
            levels: L, 2 to 256, and at most 16,384 / D.
            pseudo_count: s, above 0.

        Raises:
            UserError: naming the argument that is out of range.
        """
        return cls.from_counts(PairCounts.of(states, levels), pseudo_count)

    @classmethod
    def from_counts(cls, pairs: PairCounts, pseudo_count: float) -> "ChowLiuTree":
        """Return what `fit` returns, from counts that several pseudocounts may share. UserError for one <= 0."""
        if not 0 < pseudo_count < np.inf:
            raise UserError(f"pseudo_count is {pseudo_count}; allowed: a finite number above 0")
        pixels, levels = pairs.counts.shape[:2]
        information = mutual_information(pairs, pseudo_count)
        # All weights above 0, because csgraph takes a 0 for a missing edge; pixels that never change have I = 0.
        tree = minimum_spanning_tree(information.max() + 1.0 - information)
        order, parent = breadth_first_order(tree, 0, directed=False)
        parent[order[0]] = order[0]
        own = np.arange(pixels)
        joint = pairs.counts[parent, :, own, :] + pseudo_count / levels**2
        root = order[0]
        margin = np.diagonal(pairs.counts[root, :, root, :]) + pseudo_count / levels
        joint[root] = margin
        conditional = joint / joint.sum(-1, keepdims=True)
        return cls(parent.astype(np.int32), conditional, pairs.shape)

    def log_prob(self, states: UInt8[np.ndarray, "n H W"]) -> Float64[np.ndarray, "n"]:
        """Return log p(x) in nats, one number per image; UserError for states that do not fit the model."""
        pixels, levels, _ = self.conditional.shape
        states = check_states(states, levels, MAX_LEVELS, self.shape)
        table, own = np.log(self.conditional), np.arange(pixels)

        def log_factors(some: np.ndarray) -> np.ndarray:
            flat = some.reshape(len(some), -1)
            return table[own, flat[:, self.parent], flat]

        return sum_in_chunks(log_factors, states)

    def sample(self, key: Key[Array, ""], n: int) -> UInt8[np.ndarray, "n H W"]:
        """Draw n independent images; image k is a function of `key` and k alone. UserError if n < 1.

        Given its uniform number, pixel i is a map f_i from the state of its parent to its own. Ancestral sampling
        composes these maps from the root down; here every pixel at once composes with its ancestor's map, which
        doubles the distance to the ancestor, until all have reached the root, whose map is a constant.
        """
        cumulative = jnp.asarray(np.cumsum(self.conditional, axis=-1)[..., :-1], jnp.float32)
        ancestors = jnp.asarray(_ancestors(self.parent))
        pieces = [np.asarray(_compose(cumulative, ancestors, u)) for u in uniforms(key, n, len(self.parent))]
        return np.concatenate(pieces)[:n].reshape(n, *self.shape)


@jax.jit
def _compose(
    cumulative: Float[Array, "D L steps"], ancestors: Int32[Array, "rounds D"], uniform: Float[Array, "D n"]
) -> UInt8[Array, "n D"]:
    """Return the states that uniform numbers give the pixels of a tree."""
    maps = (cumulative[:, :, :, None] <= uniform[:, None, None, :]).sum(2, dtype=jnp.uint8)  # (D, parent's state, n)

    def round(maps: Array, ancestor: Array) -> tuple[Array, None]:
        through = maps[ancestor]
        composed = sum(jnp.where(through == a, maps[:, a : a + 1], 0) for a in range(maps.shape[1]))
        return composed.astype(jnp.uint8), None

    return jax.lax.scan(round, maps, ancestors)[0][:, 0].T


def _ancestors(parent: Int32[np.ndarray, "D"]) -> Int32[np.ndarray, "rounds D"]:
    """Return the ancestors of each pixel 1, 2, 4, ... generations up, until that is the root for all."""
    ancestors = [parent]
    while (ancestors[-1] != ancestors[-1][0]).any():
        ancestors.append(ancestors[-1][ancestors[-1]])
    return np.stack(ancestors)


def mutual_information(pairs: PairCounts, pseudo_count: float) -> Float64[np.ndarray, "D D"]:
    """Return I_ij in nats, 0 or more; the diagonal, which no tree uses, is 0."""
    pixels, levels = pairs.counts.shape[:2]
    total = pairs.n + pseudo_count
    own = np.arange(pixels)
    margins = [(pairs.counts[own, a, own, a] + pseudo_count / levels) / total for a in range(levels)]
    information = np.zeros((pixels, pixels))
    for a in range(levels):  # state by state, so that no second array of all pairs is needed
        for b in range(levels):
            joint = (pairs.counts[:, a, :, b] + pseudo_count / levels**2) / total
            information += joint * np.log(joint / np.outer(margins[a], margins[b]))
    np.fill_diagonal(information, 0.0)
    return np.maximum(information, 0.0)


def choose_pseudo_count(
    pairs: PairCounts, validation: UInt8[np.ndarray, "m H W"], candidates: Sequence[float]
) -> tuple[ChowLiuTree, float]:
    """Return the tree, among those fitted with the candidate pseudocounts, with the likeliest validation states.

    Returns:
        The tree and its pseudocount.

    Raises:
        UserError: no candidates, or one out of range.
    """
    if not candidates:
        raise UserError("candidates is empty; allowed: one pseudocount or more")
    best, tree, chosen = -math.inf, None, None
    for candidate in candidates:
        fitted = ChowLiuTree.from_counts(pairs, candidate)
        score = fitted.log_prob(validation).mean()
        if score > best:
            best, tree, chosen = score, fitted, candidate
    return tree, chosen
