"""Labelled Gaussian mixtures: smooth densities whose H(Y|X) is an integral, computed with a stated error.

    p(x, y) = sum_{k: label_k = y} w_k N(x; mu_k, S_k S_k^T)
    H(Y|X)  = sum_k w_k E_z[- log p(label_k | mu_k + S_k z)],    z standard normal in d dimensions

The integrand is analytic and decays like exp(-|z|^2 / 2), so the trapezoidal rule converges faster than any power of
its step h (Trefethen and Weideman 2014); |Q_h - Q_2h| is the error of the coarser rule and bounds the finer one's.
"""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.special import logsumexp

from jaxgen.errors import UserError

_REACH = 8.5  # standard deviations; beyond lies 2e-17 of the mass on an axis
_MOST_NODES = 2**22


class Quadrature(NamedTuple):
    """An integral in nats and a bound of its error."""

    value: float
    error: float


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Components with a label each; labels are 0..K-1.

    label: of every component. weight: positive, sums to one over all components. mean: their centres.
    scale: square roots S of their covariances, S S^T, regular.

    Raises ValueError naming the field: shapes that do not fit, weights that are no distribution, a label without a
    component, a singular scale.
    """

    label: Int[np.ndarray, "M"]
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
        return int(self.label.max()) + 1

    def log_posterior(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n K"]:
        """log p(y | x) in nats."""
        inverse = np.linalg.inv(self.scale)
        z = np.einsum("kij,nkj->nki", inverse, np.asarray(x, np.float64)[:, None] - self.mean)
        log_terms = np.log(self.weight) - np.log(np.abs(np.linalg.det(self.scale))) - 0.5 * (z**2).sum(-1)
        log_joint = np.stack([logsumexp(log_terms[:, self.label == y], axis=1) for y in range(self.n_labels)], axis=1)
        return log_joint - logsumexp(log_joint, axis=1, keepdims=True)

    def conditional_entropy(self, points: int = 64) -> Quadrature:
        """H(Y|X) by the trapezoidal rule on points + 1 nodes an axis, and |Q_h - Q_2h|.

        ValueError if points is odd or under 8, or (points + 1)^d exceeds 2^22.
        """
        d = self.mean.shape[1]
        if points < 8 or points % 2 or (points + 1) ** d > _MOST_NODES:
            raise UserError(f"points is {points} in {d} dimensions; allowed: even, 8 or more, (points + 1)^d <= 2^22")
        nodes, step = np.linspace(-_REACH, _REACH, points + 1, retstep=True)
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

    def sample(self, key: Key[Array, ""], n: int) -> tuple[Float[Array, "n d"], Int[Array, "n"]]:
        """n points, float32, and their labels, int32. ValueError if n < 1."""
        if n < 1:
            raise UserError(f"num_samples is {n}; allowed: 1 or more")
        key_component, key_noise = jax.random.split(key)
        k = jax.random.categorical(key_component, jnp.log(jnp.asarray(self.weight)), shape=(n,))
        z = jax.random.normal(key_noise, (n, self.mean.shape[1]))
        x = jnp.asarray(self.mean, jnp.float32)[k] + jnp.einsum(
            "nij,nj->ni", jnp.asarray(self.scale, jnp.float32)[k], z
        )
        return x, jnp.asarray(self.label, jnp.int32)[k]
