"""Relaxation to a fixed point s = T(s) of a sweep T, with a measure of convergence.

    residual = max_i |T(s)_i - s_i|   over all units of one example

With a tolerance each example stops by itself: one whose residual has reached it is left unchanged while the others
continue, so that the result of an example does not depend on its batch, its device, or vmap.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.energy_learning.energies.network import States
from jaxgen.errors import UserError

Sweep = Callable[[States], States]
# Convolutions inside a loop of XLA take about ten times as long on CPUs, so short relaxations of images are unrolled.
_UNROLLED = 64


class RelaxInfo(NamedTuple):
    """Residual of the last sweep of each example (0 if there was none), and the number of its sweeps."""

    residual: Float[Array, "batch"]
    iterations: Int[Array, "batch"]


@dataclasses.dataclass(frozen=True)
class Minimiser:
    """How long to sweep.

    Attributes:
        iterations: number of sweeps, or their maximum with a tolerance; 0 returns the start.
        tolerance: residual at which an example stops, > 0; None always does all sweeps.

    Raises:
        UserError: iterations < 0 or tolerance <= 0.
    """

    iterations: int
    tolerance: float | None = None

    def __post_init__(self):
        if self.iterations < 0:
            raise UserError(f"iterations is {self.iterations}; allowed: 0 or more")
        if self.tolerance is not None and not self.tolerance > 0:
            raise UserError(f"tolerance is {self.tolerance}; allowed: a number above 0, or None")

    def __call__(self, sweep: Sweep, states: States) -> tuple[States, RelaxInfo]:
        """Sweep from `states` on; return the states and their RelaxInfo."""
        if self.tolerance is None:
            return self._fixed(sweep, states)
        return self._until(sweep, states, self.tolerance)

    def _fixed(self, sweep: Sweep, states: States) -> tuple[States, RelaxInfo]:
        batch = states[0].shape[0]
        count = jnp.full(batch, self.iterations, jnp.int32)
        if not self.iterations:
            return states, RelaxInfo(jnp.zeros(batch, states[0].real.dtype), count)
        before, repeats = states, self.iterations - 1
        if repeats <= _UNROLLED and any(s.ndim > 2 for s in states):
            for _ in range(repeats):
                before = sweep(before)
        else:
            before = jax.lax.fori_loop(0, repeats, lambda _, states: sweep(states), before)
        states = sweep(before)
        return states, RelaxInfo(_distance(states, before), count)

    def _until(self, sweep: Sweep, states: States, tolerance: float) -> tuple[States, RelaxInfo]:
        batch = states[0].shape[0]

        def going(info: RelaxInfo):
            return (info.residual > tolerance) & (info.iterations < self.iterations)

        def body(loop: tuple[States, RelaxInfo]) -> tuple[States, RelaxInfo]:
            states, info = loop
            active, after = going(info), sweep(states)
            chosen = tuple(jnp.where(_along(active, new), new, old) for new, old in zip(after, states, strict=True))
            residual = jnp.where(active, _distance(after, states), info.residual)
            return chosen, RelaxInfo(residual, info.iterations + active)

        start = RelaxInfo(jnp.full(batch, jnp.inf, states[0].real.dtype), jnp.zeros(batch, jnp.int32))
        states, info = jax.lax.while_loop(lambda loop: going(loop[1]).any(), body, (states, start))
        return states, info._replace(residual=jnp.where(info.iterations > 0, info.residual, 0))


def _distance(after: States, before: States) -> Float[Array, "batch"]:
    pairs = zip(after, before, strict=True)
    return jnp.stack([jnp.abs(a - b).reshape(a.shape[0], -1).max(1) for a, b in pairs]).max(0)


def _along(flags: Array, like: Array) -> Array:
    """Return flags (batch,) in a shape that selects rows of `like`."""
    return flags.reshape(-1, *[1] * (like.ndim - 1))
