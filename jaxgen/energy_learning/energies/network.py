"""A chain of layers, shared by every energy of the family.

    dense           a_l(s) = s W_l + b_l,                l = 1 ... L,   s_0 = x
    convolutional   a_l(s) = pool(w_l * s) + b_l,        pool: the maximum of every 2 x 2 block   (Ernoult et al., 2019)

A layer is any linen module that is affine in its input or, like a pooled convolution, piecewise affine. What an energy
needs besides a_l is the transpose t -> t W_l^T, which follows from the module by differentiation, so that dense and
convolutional layers need no code of their own; through a pooled convolution t reaches the maximal unit of each block.
"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Key

from jaxgen.errors import UserError

Params = dict[str, dict[str, Array]]
States = tuple[Inexact[Array, "batch ..."], ...]


class Dense(nn.Module):
    """s W + b of the flattened input; initially W is Glorot-uniform times `scale`, and b = `offset`."""

    features: int
    scale: float = 1.0
    offset: float = 0.0

    @nn.compact
    def __call__(self, s: Inexact[Array, "batch ..."]) -> Inexact[Array, "batch features"]:
        s = s.reshape(s.shape[0], -1)
        start = nn.initializers.variance_scaling(self.scale**2, "fan_avg", "uniform")
        kernel = self.param("kernel", start, (s.shape[1], self.features))
        bias = self.param("bias", nn.initializers.constant(self.offset), (self.features,))
        return s @ kernel + bias


class PooledConvolution(nn.Module):
    """The maximum of every 2 x 2 block of w * s + b: a `kernel` x `kernel` convolution without padding, then pooling.

    Of an odd height or width the last row or column is left out. Initially w is Glorot-uniform times `scale`, and
    b = `offset`.
    """

    features: int
    kernel: int
    scale: float = 1.0
    offset: float = 0.0

    @nn.compact
    def __call__(self, s: Inexact[Array, "batch height width channels"]) -> Inexact[Array, "batch h w features"]:
        start = nn.initializers.variance_scaling(self.scale**2, "fan_avg", "uniform")
        kernel = self.param("kernel", start, (self.kernel, self.kernel, s.shape[3], self.features))
        bias = self.param("bias", nn.initializers.constant(self.offset), (self.features,))
        a = jax.lax.conv_general_dilated(s, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
        batch, height, width, channels = a.shape
        blocks = a[:, : height // 2 * 2, : width // 2 * 2].reshape(batch, height // 2, 2, width // 2, 2, channels)
        # On CPUs the gradient of this maximum is ten times as fast as that of a windowed reduction.
        return blocks.max((2, 4))


@dataclasses.dataclass(frozen=True)
class Network:
    """Layers a_1 ... a_L in order; params = {"layer_1": {"kernel": ..., "bias": ...}, ...}."""

    layers: tuple[nn.Module, ...]

    @property
    def depth(self) -> int:
        return len(self.layers)

    def init(self, key: Key[Array, ""], x: Float[Array, "batch ..."]) -> Params:
        """Return initial parameters for inputs of the shape of x."""
        params, shape = {}, jax.ShapeDtypeStruct(x.shape, x.dtype)
        for number, (key_layer, layer) in enumerate(zip(jax.random.split(key, self.depth), self.layers, strict=True)):
            zeros = jnp.zeros(shape.shape, shape.dtype)
            params[_name(number + 1)] = layer.init(key_layer, zeros)["params"]
            shape = jax.eval_shape(layer.init_with_output, key_layer, zeros)[0]
        return params

    def drive(self, params: Params, number: int, s: Inexact[Array, "batch ..."]) -> Inexact[Array, "batch ..."]:
        """Return a_l(s), l = `number` from 1."""
        return self.layers[number - 1].apply({"params": params[_name(number)]}, s)

    def back_drive(self, params: Params, number: int, s: Array, t: Inexact[Array, "batch ..."]) -> Array:
        """Return t W_l^T in the shape of s, the gradient of <t, a_l(s)> with respect to s."""
        return jax.vjp(lambda s: self.drive(params, number, s), s)[1](t)[0]

    def weight_gradient(self, params: Params, number: int, s: Array, t: Inexact[Array, "batch ..."]) -> dict:
        """Return the gradient of <t, a_l(s)>, summed over the batch, with respect to the parameters of layer l."""
        layer, own = self.layers[number - 1], params[_name(number)]
        # Complex states need complex parameters: JAX refuses to differentiate a complex value by a real number.
        own = jax.tree.map(lambda leaf: leaf.astype(jnp.result_type(leaf, t)), own)
        return jax.vjp(lambda own: layer.apply({"params": own}, s.astype(t.dtype)), own)[1](t)[0]

    def gradients(self, each: Sequence[dict]) -> Params:
        """Return the parameter tree whose layer l is each[l - 1]."""
        return {_name(number + 1): leaf for number, leaf in enumerate(each)}


def dense_network(widths: Sequence[int], scale: float = 1.0, offset: float = 0.0) -> Network:
    """Return dense layers with `widths` units, the output last; Glorot weights times `scale`, hidden biases `offset`.

    UserError: no width, or one below 1.
    """
    if not widths or min(widths) < 1:
        raise UserError(f"widths is {tuple(widths)}; allowed: one or more integers, each 1 or more")
    hidden = [Dense(width, scale, offset) for width in widths[:-1]]
    return Network((*hidden, Dense(widths[-1], scale)))


def layer_names(depth: int) -> list[str]:
    """Return the names of the layers in a parameter tree, input first."""
    return [_name(number) for number in range(1, depth + 1)]


def _name(number: int) -> str:
    return f"layer_{number}"
