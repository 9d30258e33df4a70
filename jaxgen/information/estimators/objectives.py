"""What a network maximises to estimate mutual information from below, in nats.

Critics score pairs, T_ij = f(x_i) . g(y_j), and are compared on a batch of n pairs (f and g are networks):

    InfoNCE            I >= < T_ii - log (1/n) sum_j exp T_ij >_i                        at most log n
    Donsker-Varadhan   I >= < T_ii >_i - log < exp T_ij >_(i != j)

InfoNCE: van den Oord, Li and Vinyals (2018, eq. 4). Donsker-Varadhan: Belghazi et al. (2018, MINE, eq. 5), whose
gradient divides by a moving average of < exp T_ij > over the batches, because the gradient of the logarithm of a batch
mean is biased (their eq. 12). A classifier q gives, for labels,

    classifier         I = H(Y) - H(Y|X) >= H(Y) + < log q(y_i | x_i) >_i            H(Y): of the labels of the batch

Every batch is {"x": (n, d_x), "y": (n, d_y), "valid": (n,) bool}; rows that are not valid are left out. Labels are
one-hot.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxgen.information.mlp import MLP
from jaxgen.training.step import GradFn, from_loss

_WIDTHS = (64, 64)
_FEATURES = 32
_DECAY = 0.99  # of the moving average of MINE

Batch = dict[str, Array]


class Objective(NamedTuple):
    """A lower bound of the mutual information that a network maximises.

    Attributes:
        init: a function of (key, batch) that returns initial parameters.
        estimate: a function of (params, batch) that returns the bound in nats.
        grad_fn: the gradient function of the training step, see `training.make_train_step`.
        carry: what the gradient function keeps between two steps: an array (1,), or None.
    """

    init: Callable[[Key[Array, ""], Batch], PyTree]
    estimate: Callable[[PyTree, Batch], Float[Array, ""]]
    grad_fn: GradFn
    carry: Float[Array, "1"] | None = None


class Critic(nn.Module):
    """T_ij = f(x_i) . g(y_j), with f and g dense networks of two hidden layers and 32 outputs."""

    @nn.compact
    def __call__(self, x: Float[Array, "n d_x"], y: Float[Array, "n d_y"]) -> Float[Array, "n n"]:
        features = []
        for name, values in (("f", x), ("g", y)):
            for layer, width in enumerate(_WIDTHS):
                values = nn.relu(nn.Dense(width, name=f"{name}_{layer}")(values))
            features.append(nn.Dense(_FEATURES, name=f"{name}_out")(values))
        return features[0] @ features[1].T / math.sqrt(_FEATURES)


def info_nce() -> Objective:
    """Return the InfoNCE bound."""
    critic = Critic()

    def estimate(params: PyTree, batch: Batch) -> Float[Array, ""]:
        return info_nce_bound(_scores(critic, params, batch), batch["valid"])

    return Objective(_critic_init(critic), estimate, _ascent(estimate))


def donsker_varadhan() -> Objective:
    """Return the Donsker-Varadhan bound with the corrected gradient of MINE."""
    critic = Critic()

    def estimate(params: PyTree, batch: Batch) -> Float[Array, ""]:
        joint, log_mean = donsker_varadhan_terms(_scores(critic, params, batch), batch["valid"])
        return joint - log_mean

    def grad_fn(params: PyTree, carry: Float[Array, "1"], key: Key[Array, ""], batch: Batch):
        def loss_fn(params: PyTree):
            joint, log_mean = donsker_varadhan_terms(_scores(critic, params, batch), batch["valid"])
            now = jax.lax.stop_gradient(log_mean)
            average = jnp.logaddexp(math.log(_DECAY) + carry, math.log(1 - _DECAY) + now)
            # Its gradient is < dT >_joint - < exp T dT > / average, where the average changes slowly.
            return jnp.exp(log_mean - average[0]) - joint, (average, log_mean - joint)

        grads, (average, loss) = jax.grad(loss_fn, has_aux=True)(params)
        return grads, average, {"loss": loss}

    # All scores start near 0, so the logarithm of < exp T > does, too.
    return Objective(_critic_init(critic), estimate, grad_fn, jnp.zeros(1))


def classifier(n_labels: int) -> Objective:
    """Return the classifier bound for one-hot labels of `n_labels` classes."""
    model = MLP(_WIDTHS, n_labels)

    def estimate(params: PyTree, batch: Batch) -> Float[Array, ""]:
        log_q = model.apply({"params": params}, batch["x"])
        share = batch["valid"] / batch["valid"].sum()
        prior = share @ batch["y"]
        entropy = jax.scipy.special.entr(prior).sum()
        return entropy + (share[:, None] * batch["y"] * log_q).sum()

    def init(key: Key[Array, ""], batch: Batch) -> PyTree:
        return model.init(key, batch["x"])["params"]

    return Objective(init, estimate, _ascent(estimate))


def info_nce_bound(scores: Float[Array, "n n"], valid: Bool[Array, "n"]) -> Float[Array, ""]:
    """Return the InfoNCE bound of a batch of scores T_ij."""
    log_mean = _logsumexp(scores, valid[None, :]) - jnp.log(valid.sum())
    return jnp.where(valid, jnp.diagonal(scores) - log_mean, 0.0).sum() / valid.sum()


def donsker_varadhan_terms(
    scores: Float[Array, "n n"], valid: Bool[Array, "n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return < T_ii > and log < exp T_ij > over i != j of a batch of scores; the bound is their difference."""
    count = valid.sum()
    joint = jnp.where(valid, jnp.diagonal(scores), 0.0).sum() / count
    apart = valid[:, None] & valid[None, :] & ~jnp.eye(len(scores), dtype=bool)
    log_mean = _logsumexp(scores.ravel()[None], apart.ravel()[None])[0] - jnp.log(count * (count - 1.0))
    return joint, log_mean


def _logsumexp(values: Float[Array, "rows n"], mask: Bool[Array, "_ n"]) -> Float[Array, "rows"]:
    return jax.scipy.special.logsumexp(jnp.where(mask, values, -jnp.inf), axis=-1)


def _scores(critic: Critic, params: PyTree, batch: Batch) -> Float[Array, "n n"]:
    return critic.apply({"params": params}, batch["x"], batch["y"])


def _critic_init(critic: Critic) -> Callable[[Key[Array, ""], Batch], PyTree]:
    return lambda key, batch: critic.init(key, batch["x"], batch["y"])["params"]


def _ascent(estimate: Callable[[PyTree, Batch], Float[Array, ""]]) -> GradFn:
    return from_loss(lambda params, key, batch: (-estimate(params, batch), {}))
