"""A diagnostic of predictive coding: how much of the exact gradient reaches every layer.

error reach = min_l |g_l| / |g*_l|,     g_l the estimated gradient of the weights of layer l, g* backprop's
"""

import sys
import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.energy_learning.depth import sweeps_for_depth
from jaxgen.energy_learning.energies.network import Params, layer_names
from jaxgen.energy_learning.energies.predictive_coding import PredictiveCoding
from jaxgen.energy_learning.estimators.reference import backprop
from jaxgen.energy_learning.schemes import SCHEMES, build_scheme

if typing.TYPE_CHECKING:
    from jaxgen.energy_learning.task import EnergyTask

STARVED = 0.1  # error reach that is warned of
_PROBED = 64  # training examples on which the reach is measured


def reach_of_errors(task: "EnergyTask") -> Callable[[Params], float] | None:
    """Return a function of stacked parameters: the smallest error reach of the networks, with a warning if it is low.

    The warning names the layer and a number of sweeps to try.

    None for schemes that relax no nudged phase of predictive coding.
    """
    scheme = SCHEMES[task.config.scheme]
    if not isinstance(task.model, PredictiveCoding) or not scheme.relaxes:
        return None
    batch = {"x": task.train.x[:_PROBED], "y": task.train.y[:_PROBED]}
    estimators = build_scheme(task.config.scheme, task.model, task.settings), backprop(task.model)
    warned, depth = [], task.model.network.depth

    @jax.jit
    @jax.vmap
    def norms(params: Params):
        grads = (grad_fn(params, None, None, batch)[0] for grad_fn in estimators)
        return [jnp.stack([jnp.linalg.norm(g[name]["kernel"]) for name in layer_names(depth)]) for g in grads]

    def reach(params: Params) -> float:
        estimated, exact = (np.asarray(norm) for norm in norms(params))
        shares = (estimated / np.maximum(exact, 1e-30)).min(0)
        smallest = float(shares.min())
        if smallest < STARVED and not warned:
            warned.append(smallest)
            print(
                f"nudged_sweeps is {task.settings.phases.nudged.iterations}, with which layer {1 + shares.argmin()} of "
                f"{depth} gets {smallest:.2g} of its exact gradient; allowed, but try --nudged_sweeps=none, "
                f"--step_size=0.9 and --nudged_sweeps={sweeps_for_depth(depth, 0.9)} or more, or, with a weak nudge, "
                "--sweep=errors and --step_size=1",
                file=sys.stderr,
            )
        return smallest

    return reach
