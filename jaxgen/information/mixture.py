"""Labelled Gaussian mixtures: smooth densities whose H(Y|X) is an integral, computed with a stated error.

    p(x, y) = sum_{k: label_k = y} w_k N(x; mu_k, S_k S_k^T)
    H(Y|X)  = - sum_y integral p(x, y) log p(y | x) dx
            = sum_k w_k E_z[- log p(label_k | mu_k + S_k z)],    z standard normal in d dimensions

In one dimension the first integral is computed by adaptive Gauss-Kronrod quadrature (scipy.integrate.quad) on pieces
that end at -12 ... 12 standard deviations of every component, so that no component is overlooked, however narrow.

In more dimensions the second is computed by the trapezoidal rule. Its integrand decays like exp(-|z|^2 / 2), so the
rule converges faster than any power of its step h (Trefethen and Weideman, 2014), and |Q_h - Q_2h| bounds the error,
provided that the grid of component k resolves every other component j: h |S_j^-1 S_k| <= 1.1. Otherwise it is refused.
"""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key
from scipy.integrate import quad
from scipy.special import logsumexp

from jaxgen.errors import UserError

_REACH = 8.5  # standard deviations; beyond lies 2e-17 of the mass on an axis
_MOST_NODES = 2**22
_COARSEST = 1.1  # grid step in standard deviations of the narrowest component
# Ends of the pieces in standard deviations of a component: its tails beyond hold 1e-33 of its mass.
_ENDS = np.array([-12, -8, -5, -3, -2, -1, 0, 1, 2, 3, 5, 8, 12])


class Quadrature(NamedTuple):
    """An integral in nats and a bound on its error."""

    value: float
    error: float


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of M Gaussian components with one label each.

    Attributes:
        label: label of every component, 0..K-1.
        weight: weight of every component, positive; they sum to 1.
        mean: centre of every component.
        scale: square root S of the covariance S S^T of every component, regular.

    Raises:
        UserError: shapes that do not fit, weights that are no distribution, a label without a component, a singular
            scale.
    """

    label: Integer[np.ndarray, "M"]
    weight: Float[np.ndarray, "M"]
    mean: Float[np.ndarray, "M d"]
    scale: Float[np.ndarray, "M d d"]

    def __post_init__(self):
        if self.mean.ndim != 2:
            raise UserError(f"mean has shape {self.mean.shape}; allowed: (components, d)")
        count, d = self.mean.shape
        for name, shape in (("label", (count,)), ("weight", (count,)), ("scale", (count, d, d))):
            if getattr(self, name).shape != shape:
                raise UserError(f"{name} has shape {getattr(self, name).shape}; allowed with this mean: {shape}")
        if not ((self.weight > 0).all() and abs(self.weight.sum() - 1) < 1e-9):
            raise UserError(f"weight is {self.weight}; allowed: positive, sum 1")
        if set(self.label.tolist()) != set(range(self.n_labels)) or self.n_labels < 2:
            raise UserError(f"label is {self.label}; allowed: 0 to K - 1, each once or more, K at least 2")
        if not (np.abs(np.linalg.det(self.scale)) > 0).all():
            raise UserError("scale is singular; allowed: regular square roots of covariances")

    @property
    def n_labels(self) -> int:
        """Return the number of labels K."""
        return int(self.label.max()) + 1

    def log_joint(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n K"]:
        """Return log p(x, y) in nats."""
        inverse = np.linalg.inv(self.scale)
        z = np.einsum("kij,nkj->nki", inverse, np.asarray(x, np.float64)[:, None] - self.mean)
        log_terms = np.log(self.weight) - np.log(np.abs(np.linalg.det(self.scale))) - 0.5 * (z**2).sum(-1)
        log_terms -= 0.5 * self.mean.shape[1] * math.log(2 * math.pi)
        return np.stack([logsumexp(log_terms[:, self.label == y], axis=1) for y in range(self.n_labels)], axis=1)

    def log_posterior(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n K"]:
        """Return log p(y | x) in nats."""
        log_joint = self.log_joint(x)
        return log_joint - logsumexp(log_joint, axis=1, keepdims=True)

    def conditional_entropy(self, points: int = 64) -> Quadrature:
        """Return H(Y|X) and a bound on its error.

        Args:
            points: in two or more dimensions, intervals of the trapezoidal rule per axis: even, 8 or more, with
                (points + 1)^d <= 2^22. In one dimension the quadrature is adaptive.

        Raises:
            UserError: `points` out of range, or too few to resolve the narrowest component.
        """
        return self._piecewise() if self.mean.shape[1] == 1 else self._trapezoidal(points)

    def _piecewise(self) -> Quadrature:
        """Integrate - sum_y p(x, y) log p(y | x) adaptively between break points at every component."""

        def integrand(x: float) -> float:
            log_joint = self.log_joint(np.array([[x]]))[0]
            log_posterior = log_joint - logsumexp(log_joint)
            # Where p(y | x) underflows, its logarithm is -inf and the term is 0.
            return -float(np.where(np.isfinite(log_posterior), np.exp(log_joint) * log_posterior, 0.0).sum())

        ends = np.unique(self.mean[:, 0, None] + np.abs(self.scale[:, 0]) * _ENDS)
        parts = [quad(integrand, *piece, epsabs=1e-13, epsrel=1e-10, limit=200) for piece in itertools.pairwise(ends)]
        return Quadrature(float(sum(value for value, _ in parts)), float(sum(error for _, error in parts)))

    def _trapezoidal(self, points: int) -> Quadrature:
        d = self.mean.shape[1]
        if points < 8 or points % 2 or (points + 1) ** d > _MOST_NODES:
            raise UserError(f"points is {points} in {d} dimensions; allowed: even, 8 or more, (points + 1)^d <= 2^22")
        nodes, step = np.linspace(-_REACH, _REACH, points + 1, retstep=True)
        widest = self._widest_ratio()
        if step * widest > _COARSEST:
            least = 2 * math.ceil(_REACH * widest / _COARSEST)
            raise UserError(
                f"points is {points}, too few where one component is {widest:.3g} times as wide as another; allowed: "
                f"{least} or more; integrate along one dimension if that is too many"
            )
        fine = np.exp(-0.5 * nodes**2) * step / math.sqrt(2 * math.pi)
        # Twice the step: every other node, counted from the outermost.
        coarse = np.where(np.arange(points + 1) % 2 == 0, 2 * fine, 0.0)
        rest = np.array(list(itertools.product(nodes, repeat=d - 1))).reshape((points + 1) ** (d - 1), d - 1)
        weights = [
            functools.reduce(np.multiply.outer, [rule] * (d - 1), np.ones(())).ravel() for rule in (fine, coarse)
        ]
        total = np.zeros(2)
        # One slab of the first axis at a time bounds the memory.
        for first, *shares in zip(nodes, fine, coarse, strict=True):
            z = np.insert(rest, 0, first, axis=1)
            for label, weight, mean, scale in zip(self.label, self.weight, self.mean, self.scale, strict=True):
                loss = -self.log_posterior(mean + z @ scale.T)[:, label]
                total += [weight * share * (rule @ loss) for share, rule in zip(shares, weights, strict=True)]
        return Quadrature(float(total[0]), float(abs(total[0] - total[1])))

    def _widest_ratio(self) -> float:
        """Return the largest |S_j^-1 S_k| over pairs of components: how many widths of j one width of k spans."""
        inverse = np.linalg.inv(self.scale)
        return max(np.linalg.norm(a @ b, 2) for a in inverse for b in self.scale)

    def sample(self, key: Key[Array, ""], n: int) -> tuple[Float[Array, "n d"], Int[Array, "n"]]:
        """Draw n points, float32, and their labels, int32. UserError if n < 1."""
        if n < 1:
            raise UserError(f"num_samples is {n}; allowed: 1 or more")
        key_component, key_noise = jax.random.split(key)
        k = jax.random.categorical(key_component, jnp.log(jnp.asarray(self.weight)), shape=(n,))
        z = jax.random.normal(key_noise, (n, self.mean.shape[1]))
        x = jnp.asarray(self.mean, jnp.float32)[k] + jnp.einsum(
            "nij,nj->ni", jnp.asarray(self.scale, jnp.float32)[k], z
        )
        return x, jnp.asarray(self.label, jnp.int32)[k]
