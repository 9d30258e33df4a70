"""Deep Hopfield energies: layers of units that excite and inhibit each other through symmetric weights.

    E(theta, x, s) = sum_l [ sum_i rho(s_l,i) - <s_l, a_l(s_{l-1})> ],    a_l(s) = s W_l + b_l,   s_0 = x

    clipped units:   rho(s) = s^2 / 2 on [0, 1],                  argmin_s rho(s) - u s = min(1, max(0, u))
    sigmoid units:   rho(s) = s log s + (1 - s) log(1 - s),       argmin_s rho(s) - u s = 1 / (1 + exp(-u))

    net input        u_l = a_l(s_{l-1}) + s_{l+1} W_{l+1}^T
    fixed points     s_l = sigma(u_l), the stationary points of E

Updating one layer with its neighbours held is exact minimisation over that layer, so a sweep of layer after layer never
raises E; updating all layers at once may. Below a pooled convolution the update minimises an upper bound of E that
touches it at the last states: because s_{l+1} >= 0, -<s_{l+1}, pool(w_{l+1} * s_l)> is concave in s_l, so that its
tangent lies above it, and E is not raised either. Energies are dimensionless; lower is preferred. Hopfield (1984);
Scellier and Bengio (2017, equation 1) for the clipped form.

With the cost, E + beta C is relaxed. A cost of states acts on the last layer, a cost of logits reads them by one more
affine layer, o = a_L(s_{L-1}), that carries no units (Laborieux et al., 2021). With clipped units and the squared
error the update of the nudged layer is exact; otherwise it is one mirror-descent step from the layer's last value,
which lowers E + beta C while beta times the largest curvature of C is at most that of rho: 1 for clipped units, 4 for
sigmoid ones.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Inexact

from jaxgen.energy_learning.energies.cost import Cost
from jaxgen.energy_learning.energies.minimiser import Sweep
from jaxgen.energy_learning.energies.network import Network, Params, PooledConvolution, States


class Unit(NamedTuple):
    """rho(s), sigma(u) = argmin_s rho(s) - u s, and whether rho is s^2 / 2."""

    potential: Callable[[Array], Array]
    activation: Callable[[Array], Array]
    quadratic: bool


clipped = Unit(lambda s: 0.5 * s**2, lambda u: jnp.clip(u, 0.0, 1.0), True)
sigmoid = Unit(lambda s: xlogy(s, s) + xlogy(1 - s, 1 - s), jax.nn.sigmoid, False)


class Nudge(NamedTuple):
    """The weight beta of the cost, real or complex, and the targets (batch, K). A free phase has no Nudge (None)."""

    beta: float | complex
    target: Float[Array, "batch K"]


class Phase(NamedTuple):
    """States and their coefficient c in a gradient, the sum over phases of c d(E + beta C)/d theta."""

    share: float | complex
    states: States
    nudge: Nudge | None


@dataclasses.dataclass(frozen=True)
class Hopfield:
    """A network, its units and its cost; the methods are those of `jaxgen.energy_learning.Model`."""

    network: Network
    unit: Unit
    cost: Cost
    synchronous: bool = False

    @property
    def holomorphic(self) -> bool:
        """Return whether the units accept complex states, and no layer takes a maximum of them."""
        return not self.unit.quadratic and not any(
            isinstance(layer, PooledConvolution) for layer in self.network.layers
        )

    def drive(self, params: Params, x: Float[Array, "batch ..."]) -> Array:
        """Return a_1(x), which no sweep changes."""
        return self.network.drive(params, 1, x)

    def start(self, params: Params, drive: Array) -> States:
        """Return the cold start: one pass from the input upwards."""
        states = [self.unit.activation(drive)]
        for number in range(2, self._layers + 1):
            states.append(self.unit.activation(self.network.drive(params, number, states[-1])))
        return tuple(states)

    def energy(self, params: Params, x: Float[Array, "batch ..."], states: States) -> Inexact[Array, "batch"]:
        """Return E of each example."""
        total = 0.0
        for number, s in enumerate(states, 1):
            below = x if number == 1 else states[number - 2]
            density = self.unit.potential(s) - s * self.network.drive(params, number, below)
            total = total + density.reshape(s.shape[0], -1).sum(1)
        return total

    def output(self, params: Params, states: States) -> Inexact[Array, "batch K"]:
        """Return what the cost reads: the states of the last layer, or logits."""
        return self.network.drive(params, self.network.depth, states[-1]) if self.cost.logits else states[-1]

    def sweep(self, params: Params, drive: Array, nudge: Nudge | None = None, clamped: bool = False) -> Sweep:
        """Return the map that updates every layer once, from the output to the input, or all at once if `synchronous`.

        Args:
            params: of the network.
            drive: a_1(x).
            nudge: minimise E + beta C; None minimises E.
            clamped: leave the last layer as it is.
        """
        numbers = range(self._layers - clamped, 0, -1)

        def asynchronous(states: States) -> States:
            for number in numbers:
                new = self._updated(params, drive, states, number, nudge)
                states = (*states[: number - 1], new, *states[number:])
            return states

        def synchronous(states: States) -> States:
            new = {number: self._updated(params, drive, states, number, nudge) for number in numbers}
            return tuple(new.get(number, s) for number, s in enumerate(states, 1))

        return synchronous if self.synchronous else asynchronous

    def gradient(self, params: Params, x: Array, drive: Array, phases: Sequence[Phase]) -> Params:
        """Return the sum over phases of c d(E + beta C)/d theta at fixed states, averaged over the batch.

        It is linear in the coefficients, so the widest layer, the first, is computed once for all phases.
        """
        network, batch = self.network, x.shape[0]
        first = -sum(phase.share * phase.states[0] for phase in phases)
        each = [network.weight_gradient(params, 1, x, first)]
        for number in range(2, self._layers + 1):
            below = jnp.concatenate([phase.states[number - 2] for phase in phases])
            above = jnp.concatenate([-phase.share * phase.states[number - 1] for phase in phases])
            each.append(network.weight_gradient(params, number, below, above))
        if self.cost.logits:
            nudged = [phase for phase in phases if phase.nudge is not None]
            force = [phase.share * phase.nudge.beta * self._cost_gradient(params, phase) for phase in nudged]
            below = jnp.concatenate([phase.states[-1] for phase in nudged])
            each.append(network.weight_gradient(params, network.depth, below, jnp.concatenate(force)))
        return jax.tree.map(lambda leaf: leaf.real / batch, network.gradients(each))

    def free_input(self, params: Params, x: Float[Array, "batch ..."], states: States) -> Array:
        """Return the input at the minimum of E + sum_i rho(x_i) with the states held: sigma(s_1 W_1^T)."""
        return self.unit.activation(self.network.back_drive(params, 1, x, states[0]))

    @property
    def _layers(self) -> int:
        return self.network.depth - self.cost.logits

    def _cost_gradient(self, params: Params, phase: Phase) -> Array:
        return self.cost.gradient(self.output(params, phase.states), phase.nudge.target)

    def _updated(self, params: Params, drive: Array, states: States, number: int, nudge: Nudge | None) -> Array:
        """Return layer `number` at the minimum over its own units, the others held."""
        s = states[number - 1]
        net = drive if number == 1 else self.network.drive(params, number, states[number - 2])
        if number < len(states):
            net = net + self.network.back_drive(params, number + 1, s, states[number])
        if nudge is None or number < len(states):
            return self.unit.activation(net)
        force = self.cost.gradient(self.output(params, states), nudge.target)
        if self.cost.logits:
            force = self.network.back_drive(params, self.network.depth, s, force)
        if self.unit.quadratic:
            stiffness = nudge.beta * self.cost.curvature
            return self.unit.activation((net + stiffness * s - nudge.beta * force) / (1 + stiffness))
        return self.unit.activation(net - nudge.beta * force)
