"""A multilayer perceptron that gives log q(y | x).

    h_0 = x,   h_l = max(0, h_{l-1} W_l + b_l),   log q(. | x) = log softmax(h_L W + b)

Weights and biases start uniform on +-1 / sqrt(fan-in), PyTorch's default for a linear layer; that spreads the kinks of
the first layer over the box, where zero biases would put all of them at its centre.
"""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxgen.errors import UserError


class MLP(nn.Module):
    """`apply(variables, x)` returns (n, n_labels) log-probabilities, natural logarithms.

    The default has 2,115,594 parameters with 5 coordinates and 10 labels.

    Attributes:
        widths: units of every hidden layer.
        n_labels: number of labels, 2 or more.
    """

    widths: Sequence[int] = (1024, 1024, 1024)
    n_labels: int = 10

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n K"]:
        if self.n_labels < 2 or not self.widths or min(self.widths) < 1:
            raise UserError(
                f"widths are {tuple(self.widths)} with {self.n_labels} labels; allowed: one width or more, each 1 or "
                "more, and 2 labels or more"
            )
        for width in self.widths:
            x = nn.relu(_dense(width, x.shape[-1])(x))
        return nn.log_softmax(_dense(self.n_labels, x.shape[-1])(x))


def log_probabilities(model: MLP, params: dict) -> Callable[[Float[Array, "n d"]], Float[Array, "n K"]]:
    """Return log q(y | x) as a function of points; it is compiled once for all networks of one shape."""
    return functools.partial(_apply, model, params)


@functools.partial(jax.jit, static_argnums=0)
def _apply(model: MLP, params: dict, x: Float[Array, "n d"]) -> Float[Array, "n K"]:
    return model.apply({"params": params}, x)


def _dense(units: int, fan_in: int) -> nn.Dense:
    def start(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / math.sqrt(fan_in)

    return nn.Dense(units, kernel_init=start, bias_init=start)
