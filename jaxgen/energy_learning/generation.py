"""Generation from a label: the output is held, and the input is relaxed together with the hidden layers.

    x, s_1 ... s_{L-1} <- argmin E(theta, x, s) + rho(x),     s_L held

rho(x) is the potential of the units for Hopfield energies, so that x stays in [0, 1]; 0 for predictive coding, where x
moves by gradient descent from where it starts. The original notebook calls this `backward(output)`.
"""

from typing import Any

from jaxtyping import Array, Float

from jaxgen.energy_learning.energies.hopfield import Hopfield
from jaxgen.energy_learning.energies.minimiser import Minimiser, RelaxInfo
from jaxgen.energy_learning.energies.network import Params, States
from jaxgen.energy_learning.energies.predictive_coding import PredictiveCoding
from jaxgen.errors import UserError


def generate(
    model: Hopfield | PredictiveCoding,
    params: Params,
    output: Float[Array, "batch K"],
    start: Float[Array, "batch ..."],
    minimiser: Minimiser,
) -> tuple[Array, States, RelaxInfo]:
    """Return inputs that the network associates with given outputs.

    Args:
        model: an energy that can free its input.
        params: of one network.
        output: the states of the last layer to hold, for labels one-hot.
        start: inputs to start from; noise gives different inputs for one label.
        minimiser: how long to relax.

    Returns:
        The inputs, the states and how far the relaxation came.

    Raises:
        UserError: the cost is one of logits, which are no states to hold.
    """
    if model.cost.logits:
        raise UserError(
            "cost is cross_entropy; allowed where the output is held: squared_error, whose output are states"
        )

    def sweep(states: Any) -> Any:
        x, *layers = states
        layers = model.sweep(params, model.drive(params, x), clamped=True)(tuple(layers))
        return (model.free_input(params, x, layers), *layers)

    cold = model.start(params, model.drive(params, start))
    (x, *states), info = minimiser(sweep, (start, *cold[:-1], output))
    return x, tuple(states), info
