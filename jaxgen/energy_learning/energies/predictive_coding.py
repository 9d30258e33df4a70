"""Predictive coding: every layer predicts the next, and the energy is the squared error of the predictions.

    F(theta, x, z) = 1/2 sum_l |e_l|^2,     e_l = z_l - p_l(z_{l-1}),     z_0 = x

    plain       p_l(z) = phi(a_l(z)),   p_L(z) = a_L(z)                    Whittington and Bogacz (2017, equation 2.5)
    residual    p_1(x) = a_1(x),        p_l(z) = z + a_l(phi(z)) / sqrt(L),     p_L(z) = a_L(phi(z)) / sqrt(N)

phi is the activation, L the depth and N the width of the hidden layers. The scales of the residual form are those of
muPC (Innocenti et al., 2025) in units of Glorot's weights: with them activations and gradients hardly depend on the
depth. Without a target the minimum is F = 0 at the forward pass, which is the cold start; inference with one is
gradient descent,

    z_l <- z_l - gamma (e_l - J_{l+1}^T e_{l+1} + [l = L] beta dC/dz_L),     J_l = dp_l(z) / dz,

layer after layer from the output down, or all layers at once. As functions of the errors instead, with the states
z_l = p_l(z_{l-1}) + e_l built from the input up, F + beta C has the gradient e_l - g_l in e_l, and a sweep is

    g_L = - beta dC/dz_L,     g_l = J_{l+1}^T g_{l+1},     e_l <- e_l + gamma (g_l - e_l)     Goemaere et al. (2025)

where g_L = e_L while z_L is held. Here a force reaches every layer in one sweep, whatever the depth, and with gamma = 1
the distance to the minimum shrinks by a factor of order beta |J_{L<-l}|^2 per sweep.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.energy_learning.energies.cost import Cost
from jaxgen.energy_learning.energies.hopfield import Nudge, Phase
from jaxgen.energy_learning.energies.minimiser import Sweep
from jaxgen.energy_learning.energies.network import Network, Params, States
from jaxgen.errors import UserError


@dataclasses.dataclass(frozen=True)
class PredictiveCoding:
    """A network, the activation phi, its cost, the step size gamma of inference, > 0, and the form of its predictions.

    The methods are those of `jaxgen.energy_learning.Model`, on states z_1 ... z_L; the cost reads z_L. The
    hidden layers of a residual network have one shape. Sweeps move states layer after layer, all states at once if
    `synchronous`, or errors if `by_errors`.

    Raises:
        UserError: step_size not positive, or both kinds of sweeps.
    """

    network: Network
    activation: Callable[[Array], Array]
    cost: Cost
    step_size: float = 0.5
    synchronous: bool = False
    residual: bool = False
    by_errors: bool = False

    holomorphic = False

    def __post_init__(self):
        if not self.step_size > 0:
            raise UserError(f"step_size is {self.step_size}; allowed: a number above 0")
        if self.synchronous and self.by_errors:
            raise UserError("by_errors is true; allowed with synchronous: false")

    def drive(self, params: Params, x: Float[Array, "batch ..."]) -> Array:
        """Return a_1(x), which no sweep changes."""
        return self.network.drive(params, 1, x)

    def start(self, params: Params, drive: Array) -> States:
        """Return the forward pass, where F = 0."""
        states = [self.prediction(params, drive, (), 1)]
        for number in range(2, self.network.depth + 1):
            states.append(self.prediction(params, drive, states, number))
        return tuple(states)

    def prediction(self, params: Params, drive: Array, states: Sequence[Array], number: int) -> Array:
        """Return p_l(z_{l-1}), l = `number` from 1."""
        return self._function(1)(drive) if number == 1 else self._from(params, states[number - 2], number)

    def layer_input(self, x: Array, states: Sequence[Array], number: int) -> Array:
        """Return what the affine map a_l is applied to: x, z_{l-1} or, in a residual network, phi(z_{l-1})."""
        return x if number == 1 else self._read(states[number - 2])

    def errors(self, params: Params, drive: Array, states: States) -> States:
        """Return e_1 ... e_L."""
        numbered = enumerate(states, 1)
        return tuple(z - self.prediction(params, drive, states, number) for number, z in numbered)

    def energy(self, params: Params, x: Float[Array, "batch ..."], states: States) -> Float[Array, "batch"]:
        """Return F of each example."""
        errors = self.errors(params, self.drive(params, x), states)
        return sum(0.5 * (e**2).reshape(e.shape[0], -1).sum(1) for e in errors)

    def output(self, params: Params, states: States) -> Float[Array, "batch K"]:
        """Return what the cost reads: z_L."""
        return states[-1]

    def sweep(self, params: Params, drive: Array, nudge: Nudge | None = None, clamped: bool = False) -> Sweep:
        """Return one gradient step of every layer on F + beta C; see `Model.sweep`."""
        if self.by_errors:
            return lambda states: self._errors_moved(params, drive, states, nudge, clamped)
        depth = self.network.depth

        def sweep(states: States) -> States:
            new, back = list(states), 0.0
            for number in range(depth, 0, -1):
                z = states[number - 1]
                # Nothing below has moved yet, so this is the prediction at the states before the sweep in either order.
                predicted = self.prediction(params, drive, states, number)
                slope = z - predicted - back
                if number == depth and nudge is not None:
                    slope = slope + nudge.beta * self.cost.gradient(z, nudge.target)
                if number < depth or not clamped:
                    new[number - 1] = z - self.step_size * slope
                error = (z if self.synchronous else new[number - 1]) - predicted
                if number > 1:
                    back = self.back_error(params, states, number, error)
            return tuple(new)

        return sweep

    def gradient(self, params: Params, x: Array, drive: Array, phases: Sequence[Phase]) -> Params:
        """Return the sum over phases of c dF/d theta at fixed states, averaged over the batch; C has no parameters."""
        errors = [self.errors(params, drive, phase.states) for phase in phases]
        each = []
        for number in range(1, self.network.depth + 1):
            at = [
                self.local_force(params, drive, phase.states, number, phase.share * e[number - 1])
                for phase, e in zip(phases, errors, strict=True)
            ]
            if number == 1:
                each.append(self.network.weight_gradient(params, 1, x, sum(at)))
            else:
                below = jnp.concatenate([self.layer_input(x, phase.states, number) for phase in phases])
                each.append(self.network.weight_gradient(params, number, below, jnp.concatenate(at)))
        return jax.tree.map(lambda leaf: leaf / x.shape[0], self.network.gradients(each))

    def local_force(self, params: Params, drive: Array, states: Sequence[Array], number: int, error: Array) -> Array:
        """Return dF/da_l = - (dp_l/da_l)^T e_l at the prediction made from `states`."""
        net = drive if number == 1 else self.network.drive(params, number, self._read(states[number - 2]))
        return -jax.vjp(self._function(number), net)[1](error)[0]

    def back_error(self, params: Params, states: Sequence[Array], number: int, error: Array) -> Array:
        """Return J_l^T e_l, the feedback to layer l - 1, with J_l at z_{l-1}; l = `number` from 2."""
        return jax.vjp(lambda z: self._from(params, z, number), states[number - 2])[1](error)[0]

    def free_input(self, params: Params, x: Float[Array, "batch ..."], states: States) -> Array:
        """Return the input after one gradient step on F with the states held: x + gamma J_1^T e_1."""
        predicted, back = jax.vjp(lambda x: self._function(1)(self.network.drive(params, 1, x)), x)
        return x + self.step_size * back(states[0] - predicted)[0]

    def _errors_moved(self, params: Params, drive: Array, states: States, nudge: Nudge | None, clamped: bool) -> States:
        """Return the states after one gradient step on F + beta C as a function of the errors."""
        errors, depth = list(self.errors(params, drive, states)), self.network.depth
        force = 0.0 * errors[-1] if nudge is None else -nudge.beta * self.cost.gradient(states[-1], nudge.target)
        force = errors[-1] if clamped else force
        for number in range(depth, 0, -1):
            errors[number - 1] = errors[number - 1] + self.step_size * (force - errors[number - 1])
            if number > 1:
                force = self.back_error(params, states, number, force)
        new = []
        for number, error in enumerate(errors, 1):
            new.append(self.prediction(params, drive, new, number) + error)
        return (*new[:-1], states[-1] if clamped else new[-1])

    def _from(self, params: Params, z: Array, number: int) -> Array:
        predicted = self._function(number)(self.network.drive(params, number, self._read(z)))
        return z + predicted if self.residual and number < self.network.depth else predicted

    def _read(self, z: Array) -> Array:
        return self.activation(z) if self.residual else z

    def _function(self, number: int) -> Callable[[Array], Array]:
        """Return the map from a_l to the prediction, in a residual network to what it adds to z_{l-1}."""
        depth = self.network.depth
        if not self.residual:
            return self.activation if number < depth else lambda a: a
        width = self.network.layers[-2].features if depth > 1 else 1
        scale = 1.0 if number == 1 else 1 / math.sqrt(depth if number < depth else width)
        return lambda a: scale * a
