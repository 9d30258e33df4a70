"""What the estimators need of an energy, and a model made of an energy function alone.

    E(theta, x, s),     nudged: E + beta C(o(s), y),     s = (s_1, ..., s_L),  o = s_L

Any object with the methods of `Model` can be trained: `Hopfield`, `PredictiveCoding`, your own, or `FunctionEnergy`,
which relaxes an energy function by projected gradient descent,

    s <- P(s - gamma d(E + beta C)/ds),

and differentiates it for its gradient.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Inexact, PyTree

from jaxgen.energy_learning.energies.cost import Cost
from jaxgen.energy_learning.energies.hopfield import Nudge, Phase
from jaxgen.energy_learning.energies.minimiser import Sweep
from jaxgen.energy_learning.energies.network import States
from jaxgen.errors import UserError


@runtime_checkable
class Model(Protocol):
    """An energy with its cost; every method is a pure function."""

    cost: Cost

    @property
    def holomorphic(self) -> bool:
        """Return whether sweeps accept complex states and nudges."""
        ...

    def drive(self, params: PyTree, x: Float[Array, "batch ..."]) -> Array:
        """Return what of the input no sweep changes."""
        ...

    def start(self, params: PyTree, drive: Array) -> States:
        """Return the cold start."""
        ...

    def energy(self, params: PyTree, x: Float[Array, "batch ..."], states: States) -> Inexact[Array, "batch"]:
        """Return E of each example."""
        ...

    def output(self, params: PyTree, states: States) -> Inexact[Array, "batch K"]:
        """Return what the cost reads."""
        ...

    def sweep(self, params: PyTree, drive: Array, nudge: Nudge | None = None, clamped: bool = False) -> Sweep:
        """Return the map that updates every layer once; with `clamped` the last layer is left as it is."""
        ...

    def gradient(self, params: PyTree, x: Array, drive: Array, phases: Sequence[Phase]) -> PyTree:
        """Return the sum over phases of c d(E + beta C)/d theta at fixed states, averaged over the batch."""
        ...


@dataclasses.dataclass(frozen=True)
class FunctionEnergy:
    """A model made of two functions; the cost reads the last state.

    Attributes:
        function: (params, x, states) -> E of each example, (batch,).
        initial: (params, x) -> states of the cold start, a tuple of arrays (batch, ...).
        cost: of the last state; a cost of logits is not allowed.
        step_size: gamma > 0.
        project: P, applied to every layer after a step; the identity by default.

    Raises:
        UserError: step_size not positive, or a cost of logits.
    """

    function: Callable[[PyTree, Array, States], Array]
    initial: Callable[[PyTree, Array], States]
    cost: Cost
    step_size: float = 0.5
    project: Callable[[Array], Array] = lambda s: s

    holomorphic = False

    def __post_init__(self):
        if not self.step_size > 0:
            raise UserError(f"step_size is {self.step_size}; allowed: a number above 0")
        if self.cost.logits:
            raise UserError("cost is cross_entropy; allowed with an energy function: squared_error, a cost of states")

    def drive(self, params: PyTree, x: Array) -> Array:
        """Return x."""
        return x

    def start(self, params: PyTree, drive: Array) -> States:
        """Return the cold start."""
        return tuple(self.initial(params, drive))

    def energy(self, params: PyTree, x: Array, states: States) -> Array:
        """Return E of each example."""
        return self.function(params, x, states)

    def output(self, params: PyTree, states: States) -> Array:
        """Return the last state."""
        return states[-1]

    def sweep(self, params: PyTree, drive: Array, nudge: Nudge | None = None, clamped: bool = False) -> Sweep:
        """Return one projected gradient step of all layers on E + beta C; see `Model.sweep`."""

        def total(states: States) -> Array:
            return self._total(params, drive, states, nudge).sum()

        def sweep(states: States) -> States:
            slopes = jax.grad(total)(states)
            moved = [self.project(s - self.step_size * d) for s, d in zip(states, slopes, strict=True)]
            return (*moved[:-1], states[-1] if clamped else moved[-1])

        return sweep

    def gradient(self, params: PyTree, x: Array, drive: Array, phases: Sequence[Phase]) -> Any:
        """Return the sum over phases of c d(E + beta C)/d theta; see `Model.gradient`."""

        def total(params: PyTree) -> Array:
            terms = [phase.share * self._total(params, x, phase.states, phase.nudge).mean() for phase in phases]
            return sum(terms)

        return jax.grad(total)(params)

    def _total(self, params: PyTree, x: Array, states: States, nudge: Nudge | None) -> Array:
        energy = self.function(params, x, states)
        return energy if nudge is None else energy + nudge.beta * self.cost.value(states[-1], nudge.target)
