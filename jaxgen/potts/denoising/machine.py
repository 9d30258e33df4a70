"""The denoising machine: one bipartite Potts machine per noise level, all with the same couplings.

    E(v, h | x^t, y, t) = - v.(b + B[t, y]) - h.(c + C[t, y]) - (v - mu).(D u) - (h - 1/2).(U^T u)
                          - (v - mu)^T W (h - 1/2),              u = r_t (indicators of x^t) - their mean

v is the clean image (one-hot, levels 1 .. L-1), h binary hidden units, x^t the noisy image, y the class, t the
noise level. Given x^t the machine is an ordinary bipartite Boltzmann machine, so p(v | x^t, y) is sampled
by block Gibbs. D u is what the noise alone says about each pixel; the rest is learned. The factorisation of generation
into such conditionals is that of Gao et al. 2021 (recovery likelihood) and of the denoising thermodynamic models of
Jelincic et al. 2025; centring, which conditions the gradient, is that of Montavon and Mueller 2012.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, DTypeLike, Float, Int, Integer, Key, UInt8

from jaxgen.gibbs.bipartite import one_hot, product
from jaxgen.potts.denoising.noise import indicators, log_odds_scale, signal

Params = dict
_PREFERENCE = 3.0  # standard deviation of the hidden units' log-odds over classes before training


class Statistics(NamedTuple):
    """Statistics of the training images that the energy uses besides the trained parameters.

    Attributes:
        mean: mu, the frequency of each level 1 .. L-1 at each pixel.
        noisy_mean: mean of the indicators of x^t, by noise level.
    """

    mean: Float[Array, "V L1"]
    noisy_mean: Float[Array, "T V L1"]


class DenoisingMachine(nn.Module):
    """A denoising machine; `apply` gives the free energy -log sum_h exp(-E).

    Attributes:
        n_pixels: V, the number of visible units.
        levels: L, the number of grey levels.
        n_hidden: H, the number of hidden units.
        n_steps: T, the number of noise levels.
        n_classes: Y, the number of classes; 1 for a model without classes.
        dtype: type of the matrix products.
    """

    n_pixels: int
    levels: int
    n_hidden: int
    n_steps: int
    n_classes: int = 1
    dtype: DTypeLike = jnp.bfloat16

    def setup(self):
        units, hidden = (self.n_pixels, self.levels - 1), self.n_hidden
        conditions = (self.n_steps, self.n_classes)
        zeros = nn.initializers.zeros
        self.weight = self.param("weight", nn.initializers.normal(0.01), (*units, hidden))
        self.input_weight = self.param("input_weight", zeros, (*units, hidden))
        self.input_gain = self.param("input_gain", nn.initializers.ones, units)
        self.visible_bias = self.param("visible_bias", zeros, units)
        self.hidden_bias = self.param("hidden_bias", nn.initializers.constant(-1.0), (hidden,))
        self.visible_label = self.param("visible_label", zeros, (*conditions, *units))
        self.hidden_label = self.param("hidden_label", _preferences, (*conditions, hidden))

    def __call__(
        self,
        statistics: Statistics,
        v: UInt8[Array, "n V"],
        x_noisy: UInt8[Array, "n V"],
        step: Int[Array, " n"],
        label: Integer[Array, " n"],
    ) -> Float[Array, " n"]:
        """Return F(v | x^t, y, t) = - log sum_h exp(-E(v, h | x^t, y, t)).

        `step` counts noise levels from 0 (the least noise) to T-1 (pure noise).
        """
        n = len(v)
        states = one_hot(v, self.levels)
        centred = states - statistics.mean
        u = self._input(statistics, x_noisy, step)
        bias = self.visible_bias + self.visible_label[step, label]
        linear = (states * bias).sum((1, 2)) + (centred * self.input_gain * u).sum((1, 2))
        flat = self.weight.reshape(-1, self.n_hidden)
        # v W - mu W, because v is exact in bfloat16 and v - mu is not.
        pull = product(states.reshape(n, -1).astype(self.dtype), flat.astype(self.dtype))
        pull = pull - statistics.mean.reshape(-1) @ flat + self._hidden_input(u)
        hidden = jax.nn.softplus(self.hidden_bias + self.hidden_label[step, label] + pull).sum(1)
        return -(linear + hidden - 0.5 * pull.sum(1))

    def logits(
        self,
        statistics: Statistics,
        x_noisy: UInt8[Array, "n V"],
        step: Int[Array, " n"],
        label: Integer[Array, " n"],
        guidance: Float[ArrayLike, ""] = 1.0,
    ) -> tuple[Float[Array, "V L1 H"], Float[Array, "n V L1"], Float[Array, "n H"]]:
        """Return weight, visible and hidden logits of p(v, h | x^t, y, t), as `gibbs.sample_bipartite` takes them.

        `guidance` w scales what the label adds: each term is its mean over the classes plus w times its deviation.
        """
        u = self._input(statistics, x_noisy, step)
        flat = self.weight.reshape(-1, self.n_hidden)
        visible = self.visible_bias - 0.5 * self.weight.sum(-1) + self.input_gain * u
        visible = visible + _guided(self.visible_label, guidance)[step, label]
        hidden = self.hidden_bias - statistics.mean.reshape(-1) @ flat + self._hidden_input(u)
        return self.weight, visible, hidden + _guided(self.hidden_label, guidance)[step, label]

    def _input(self, statistics: Statistics, x_noisy: Array, step: Array) -> Float[Array, "n V L1"]:
        scale = jnp.asarray(log_odds_scale(signal(self.n_steps), self.levels))
        return scale[step][:, None, None] * (indicators(x_noisy, self.levels) - statistics.noisy_mean[step])

    def _hidden_input(self, u: Float[Array, "n V L1"]) -> Float[Array, "n H"]:
        flat = self.input_weight.reshape(-1, self.n_hidden)
        return product(u.reshape(len(u), -1).astype(self.dtype), flat.astype(self.dtype))


def _preferences(key: Key[Array, ""], shape: tuple[int, int, int]) -> Float[Array, "T Y H"]:
    """Return random class biases of the hidden units, the same at every noise level; zeros for a single class.

    Units that start without preferences stay shared by all classes, which then differ too little.
    """
    if shape[1] == 1:
        return jnp.zeros(shape)
    return jnp.broadcast_to(_PREFERENCE * jax.random.normal(key, (1, *shape[1:])), shape)


def _guided(by_label: Float[Array, "T Y ..."], guidance: Float[ArrayLike, ""]) -> Float[Array, "T Y ..."]:
    mean = by_label.mean(1, keepdims=True)
    return mean + guidance * (by_label - mean)


def fit_statistics(marginals: Float[np.ndarray, "V L"], n_steps: int) -> Statistics:
    """Return the statistics of images whose pixels show level l with frequency marginals[i, l]."""
    levels = marginals.shape[1]
    alpha = signal(n_steps)[:, None, None]
    noisy = alpha * marginals + (1 - alpha) / levels
    return Statistics(jnp.asarray(marginals[:, 1:]), jnp.asarray(noisy[..., 1:] - noisy[..., :1]))


def initial_biases(params: Params, marginals: Float[np.ndarray, "Y V L"]) -> Params:
    """Set the visible biases to the log-odds of the marginals: of all classes in b, and of each class in b + B.

    `marginals` holds the frequencies of each class, none of them 0.
    """
    odds = np.log(marginals[..., 1:] / marginals[..., :1])
    whole = marginals.mean(0)
    base = np.log(whole[:, 1:] / whole[:, :1])
    by_label = np.broadcast_to(odds - base, params["visible_label"].shape)
    return {**params, "visible_bias": jnp.asarray(base), "visible_label": jnp.asarray(by_label)}
