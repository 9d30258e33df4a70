"""Pairs (X, Y) whose mutual information is known exactly, on which estimators are compared.

    Gaussian          I = (log det S_x + log det S_y - log det S) / 2                 S: the joint covariance
    Student's t       I = the same of the dispersion + c(nu, d_x, d_y)                nu: degrees of freedom
                      c = f(d_x) + f(d_y) - f(d_x + d_y)
                      f(d) = log G(nu/2) - log G((nu+d)/2) + (nu+d)/2 (psi((nu+d)/2) - psi(nu/2))
    labels            I = H(Y) - H(Y|X), a finite sum for cells, an integral for a Gaussian mixture

f(d) is the entropy of the standard t distribution in d dimensions (Kotz and Nadarajah, 2004, section 1.7) without a
term linear in d, which cancels in c. A smooth injective map of X or of Y leaves I as it is (Kraskov et al., 2004,
appendix).

The five continuous pairs are tasks of the benchmark of Czyz et al. (2023, "Beyond Normal"): dense and sparse Gaussian,
Student's t with identity dispersion, spiral and Swiss roll.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Int, Key

from jaxgen.errors import UserError
from jaxgen.information.bounds import mutual_information
from jaxgen.information.cells import ten_labels
from jaxgen.information.mixture import GaussianMixture
from jaxgen.information.sampler import sample

Draw = Callable[[Key[Array, ""], int], tuple[Float[Array, "n d_x"], Float[Array, "n d_y"] | Int[Array, "n"]]]
SPIRAL_SPEED = 1 / 3  # radians per unit of the squared norm
SWISS_ROLL_SCALE = 21.0


@dataclasses.dataclass(frozen=True)
class Problem:
    """A pair (X, Y) with its mutual information.

    Attributes:
        name: the name in tables and figures.
        information: I(X;Y) in nats, exact.
        draw: a function of (key, n) that returns n independent pairs: x (n, d_x), and y (n, d_y) or labels (n,).
        n_labels: number of labels 0..K-1 if Y is a label; 0 if Y is continuous.
    """

    name: str
    information: float
    draw: Draw
    n_labels: int = 0


def all_problems() -> list[Problem]:
    """Return the seven problems of the comparison: two with labels, five with continuous X and Y."""
    dense = np.full((10, 10), 0.5) + 0.5 * np.eye(10)
    pairs_3, pairs_5 = two_pairs(3), two_pairs(5)
    plane = np.array([[1.0, 0.75], [0.75, 1.0]])
    return [
        _cells(),
        _mixture(),
        Problem("dense Gaussian, 5 + 5", gaussian_information(dense, 5), _gaussian(dense, 5)),
        Problem("sparse Gaussian, 5 + 5", gaussian_information(pairs_5, 5), _gaussian(pairs_5, 5)),
        Problem("Student's t, 2 degrees of freedom, 5 + 5", student_correction(2.0, 5, 5), _student(2.0, 5, 5)),
        Problem("spiral of a sparse Gaussian, 3 + 3", gaussian_information(pairs_3, 3), _spiral(pairs_3, 3)),
        Problem("Swiss roll, 2 + 1", gaussian_information(plane, 1), _swiss_roll(plane)),
    ]


def two_pairs(d: int, correlation: float = 0.8) -> Float[np.ndarray, "{2*d} {2*d}"]:
    """Return a covariance in which only (X_1, Y_1) and (X_2, Y_2) are correlated. UserError if d < 2."""
    if d < 2:
        raise UserError(f"d is {d}; allowed: 2 or more")
    covariance = np.eye(2 * d)
    for axis in range(2):
        covariance[axis, d + axis] = covariance[d + axis, axis] = correlation
    return covariance


def gaussian_information(covariance: Float[np.ndarray, "d d"], d_x: int) -> float:
    """Return I(X;Y) in nats of a Gaussian vector whose first d_x coordinates are X and whose others are Y.

    UserError unless the covariance is symmetric and positive definite and 0 < d_x < d.
    """
    covariance = np.asarray(covariance, np.float64)
    square = covariance.ndim == 2 and covariance.shape[0] == covariance.shape[1]
    if not square or not np.allclose(covariance, covariance.T) or np.linalg.eigvalsh(covariance)[0] <= 0:
        raise UserError(f"covariance has shape {covariance.shape}; allowed: square, symmetric, positive definite")
    if not 0 < d_x < len(covariance):
        raise UserError(f"d_x is {d_x}; allowed: 1 to {len(covariance) - 1}")
    blocks = (covariance[:d_x, :d_x], covariance[d_x:, d_x:], covariance)
    log_x, log_y, log_both = (float(np.linalg.slogdet(block).logabsdet) for block in blocks)
    return 0.5 * (log_x + log_y - log_both)


def student_correction(degrees: float, d_x: int, d_y: int) -> float:
    """Return c(nu, d_x, d_y) in nats: by how much I exceeds that of a Gaussian with the same dispersion.

    It is positive, because the common scale makes X and Y dependent even where they are uncorrelated. UserError unless
    the degrees of freedom and both dimensions are positive.
    """
    if not (degrees > 0 and d_x > 0 and d_y > 0):
        raise UserError(f"degrees is {degrees}, d_x {d_x}, d_y {d_y}; allowed: all above 0")

    def entropy(d: int) -> float:
        half, whole = degrees / 2, (degrees + d) / 2
        digammas = scipy.special.digamma(whole) - scipy.special.digamma(half)
        return math.lgamma(half) - math.lgamma(whole) + whole * float(digammas)

    return entropy(d_x) + entropy(d_y) - entropy(d_x + d_y)


def spiral(x: Float[Array, "n d"], axes: tuple[int, int]) -> Float[Array, "n d"]:
    """Rotate every point by SPIRAL_SPEED |x|^2 radians in the plane of two axes, a smooth map that keeps |x|."""
    angle = SPIRAL_SPEED * jnp.square(x).sum(-1)
    first, second = x[:, axes[0]], x[:, axes[1]]
    x = x.at[:, axes[0]].set(jnp.cos(angle) * first - jnp.sin(angle) * second)
    return x.at[:, axes[1]].set(jnp.sin(angle) * first + jnp.cos(angle) * second)


def swiss_roll(u: Float[Array, "n"]) -> Float[Array, "n 2"]:
    """Wind the interval [0, 1] up in the plane: (t cos t, t sin t) / 21 with t = 3 pi (1 + 2 u) / 2."""
    t = 1.5 * math.pi * (1 + 2 * u)
    return jnp.stack([t * jnp.cos(t), t * jnp.sin(t)], axis=1) / SWISS_ROLL_SCALE


def _gaussian(covariance: Float[np.ndarray, "d d"], d_x: int) -> Draw:
    root = jnp.asarray(np.linalg.cholesky(covariance), jnp.float32)

    def draw(key: Key[Array, ""], n: int):
        z = jax.random.normal(key, (n, len(root))) @ root.T
        return z[:, :d_x], z[:, d_x:]

    return draw


def _student(degrees: float, d_x: int, d_y: int) -> Draw:
    def draw(key: Key[Array, ""], n: int):
        key_normal, key_scale = jax.random.split(key)
        z = jax.random.normal(key_normal, (n, d_x + d_y))
        z = z * jnp.sqrt(degrees / jax.random.chisquare(key_scale, degrees, (n, 1)))
        return z[:, :d_x], z[:, d_x:]

    return draw


def _spiral(covariance: Float[np.ndarray, "{2*d} {2*d}"], d: int) -> Draw:
    gaussian = _gaussian(covariance, d)

    def draw(key: Key[Array, ""], n: int):
        x, y = gaussian(key, n)
        return spiral(x, (0, 1)), spiral(y, (1, 2))

    return draw


def _swiss_roll(covariance: Float[np.ndarray, "2 2"]) -> Draw:
    gaussian = _gaussian(covariance, 1)

    def draw(key: Key[Array, ""], n: int):
        x, y = (jax.scipy.stats.norm.cdf(values) for values in gaussian(key, n))
        return swiss_roll(x[:, 0]), y

    return draw


def _cells() -> Problem:
    distribution = ten_labels()

    def draw(key: Key[Array, ""], n: int):
        return sample(key, distribution, n)

    return Problem("ten labels, 5 coordinates", mutual_information(distribution), draw, distribution.n_labels)


def _mixture() -> Problem:
    mean = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    scale = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.8]], [[0.5, 0.0], [0.0, 1.5]]])
    mixture = GaussianMixture(np.arange(3), np.full(3, 1 / 3), mean, scale)
    information = math.log(3) - mixture.conditional_entropy(96).value
    return Problem("three Gaussian classes, 2 coordinates", information, mixture.sample, 3)
