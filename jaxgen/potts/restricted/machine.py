"""The restricted Potts machine: visible Potts units, one layer of binary hidden units, no couplings within a layer.

    E(v, h) = - v.b - h.c - (v - mu)^T W (h - 1/2)                        v one-hot, levels 1 .. L-1;  h_j in {0, 1}
    F(v)    = - log sum_h exp(-E(v, h)) = - v.b - sum_j (softplus(c_j + a_j) - a_j / 2),      a = (v - mu) W

With L = 2 it is the restricted Boltzmann machine of Smolensky (1986), in the centred form of Montavon and Mueller
(2012): mu is the mean of the data, 1/2 the mean of an unbiased hidden unit. Centring changes the parameters, not the
set of laws: the uncentred biases are b - W 1/2 and c - W^T mu.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, DTypeLike, Float, UInt8

from jaxgen.gibbs.bipartite import one_hot, product
from jaxgen.potts.model import check_below

Params = dict


class RestrictedPotts(nn.Module):
    """A restricted Potts machine; `apply` gives the free energy F(v).

    Attributes:
        n_visible: V, the number of visible units.
        levels: L, the number of levels of a visible unit.
        n_hidden: H, the number of hidden units.
        dtype: type of the factors in matrix products; sums are float32. With bfloat16 the law is that of the rounded
            weights.
    """

    n_visible: int
    levels: int
    n_hidden: int
    dtype: DTypeLike = jnp.bfloat16

    def setup(self):
        units = (self.n_visible, self.levels - 1)
        self.weight = self.param("weight", nn.initializers.normal(0.01), (*units, self.n_hidden))
        self.visible_bias = self.param("visible_bias", nn.initializers.zeros, units)
        self.hidden_bias = self.param("hidden_bias", nn.initializers.zeros, (self.n_hidden,))

    def __call__(self, mean: Float[Array, "V L1"], v: UInt8[Array, "n V"]) -> Float[Array, " n"]:
        """Return F(v) of every row; `mean` is mu, the frequency of levels 1 .. L-1 of each unit in the data.

        UserError, outside jit, for a state beyond L - 1.
        """
        check_below("v", v, self.levels)
        flat = self.weight.reshape(-1, self.n_hidden)
        linear = one_hot(v, self.levels).reshape(len(v), -1) @ self.visible_bias.reshape(-1)
        # v W - mu W, because v is exact in bfloat16 and v - mu is not.
        pull = dense(v, flat, self.levels, self.dtype) - mean.reshape(-1) @ flat
        return -linear - (jax.nn.softplus(self.hidden_bias + pull) - 0.5 * pull).sum(1)

    def logits(self, mean: Float[Array, "V L1"]) -> tuple[Array, Float[Array, "V L1"], Float[Array, " H"]]:
        """Return weight, visible and hidden logits of the uncentred machine, as `gibbs.sample_bipartite` takes them.

        The biases belong to the rounded weights, which are the ones that are sampled.
        """
        weight = self.weight.astype(self.dtype).astype(jnp.float32)
        hidden = self.hidden_bias - mean.reshape(-1) @ weight.reshape(-1, self.n_hidden)
        return weight, self.visible_bias - 0.5 * weight.sum(-1), hidden


def rounded(machine: RestrictedPotts, params: Params) -> Params:
    """Return the parameters with weights rounded to the type of the matrix products."""
    return {**params, "weight": params["weight"].astype(machine.dtype).astype(jnp.float32)}


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def dense(v: UInt8[Array, "n V"], w: Float[Array, "k m"], levels: int, dtype: DTypeLike) -> Float[Array, "n m"]:
    """Return the product of one-hot states and w, with factors of type `dtype` and float32 sums.

    The gradient of w is summed in float32 as well. Autodiff would round it to `dtype`: by up to 0.4 % of the
    statistics of the data, which is as much as their difference from those of the chains.
    """
    return product(one_hot(v, levels, dtype).reshape(len(v), -1), w.astype(dtype))


def _dense_forward(v, w, levels, dtype):
    return dense(v, w, levels, dtype), v


def _dense_backward(levels, dtype, v, cotangent):
    columns = one_hot(v, levels, dtype).reshape(len(v), -1).T
    # Without the constraint XLA's CPU multiplies the untransposed states in place, four times slower.
    columns = with_layout_constraint(columns, Layout(major_to_minor=(0, 1)))
    return None, product(columns, cotangent.astype(dtype))


dense.defvjp(_dense_forward, _dense_backward)
