"""Gradients from differences of two or more equilibria.

With F(theta, beta) = min_s [E + beta C] and g(beta) = dF/d theta, which is the partial derivative at the minimum,

    d C(s_0) / d theta = dg/d beta at beta = 0                               (Scellier and Bengio, 2017, theorem 1)

and the schemes differ in how they take that derivative, as sums of c g(beta) over points (beta, c):

    positive      (b, 1/b), (0, -1/b)                          error O(b)
    negative      (-b, -1/b), (0, 1/b)                         error O(b)
    centred       (b, 1/2b), (-b, -1/2b)                       error O(b^2)        Laborieux et al. (2021)
    N points      (b w^k, w^-k / N b), w = exp(2 pi i / N)     error O(b^N)        Laborieux and Zenke (2022)

At finite b the one-sided estimate is exactly the gradient of (F(b) - F(0)) / b. A free phase that has not converged
still drifts while the nudged phase relaxes, and a one-sided difference divides that drift by b. Its term at beta = 0 is
therefore taken at states that were relaxed, without nudge, for as many further sweeps as the nudged ones: what is left
of the drift then cancels, as it does between the two sides of a centred difference.

Coupled learning holds the last layer a fraction b of the way to the target instead, s_L = s_0,L + b (y - s_0,L), and
takes (E_held - E_free) / b (Stern et al., 2021); b = 1 is contrastive Hebbian learning, exactly the gradient of
E_held - E_free (Movellan, 1991). On the energy of predictive coding the same functions are the soft and the hard nudge.

Every estimator returns `grad_fn(params, carry, key, batch) -> (grads, carry, metrics)` of batches {"x", "y"}, y the
targets (batch, K). carry is None, or states (batch, ...) by position in the batch, from which the free phase starts and
which are then set to the free equilibrium. The label enters only after the free phase, and the metrics are those of the
free phase: loss (C), energy, error (share of wrong answers), residuals and sweeps of both phases.
"""

import cmath
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from jaxgen.energy_learning.energies.hopfield import Nudge, Phase
from jaxgen.energy_learning.energies.minimiser import Minimiser, RelaxInfo
from jaxgen.energy_learning.energies.model import Model
from jaxgen.energy_learning.energies.network import States
from jaxgen.errors import UserError
from jaxgen.training.step import GradFn


class Point(NamedTuple):
    """A value of beta and its coefficient c; the integer 0 means no nudge."""

    beta: float | complex
    share: float | complex


class Phases(NamedTuple):
    """How the phases are relaxed.

    Attributes:
        free: from the cold start, or the carry.
        nudged: from the free equilibrium; with few sweeps the estimators are truncated ("first step").
        continuation: number of equal stages in which the nudge grows to beta, each relaxed from the one before.
    """

    free: Minimiser
    nudged: Minimiser
    continuation: int = 1


def positive(beta: Float[ArrayLike, ""]) -> list[Point]:
    """Return the points of the one-sided difference, beta > 0."""
    _check_positive(beta)
    return [Point(beta, 1 / beta), Point(0, -1 / beta)]


def negative(beta: Float[ArrayLike, ""]) -> list[Point]:
    """Return the points of the one-sided difference from below, beta > 0."""
    _check_positive(beta)
    return [Point(-beta, -1 / beta), Point(0, 1 / beta)]


def centred(beta: Float[ArrayLike, ""]) -> list[Point]:
    """Return the points of the symmetric difference, beta > 0."""
    return roots_of_unity(beta, 2)


def roots_of_unity(beta: Float[ArrayLike, ""], n: int) -> list[Point]:
    """Return n points on a circle of radius beta > 0, real for n = 2. UserError if n < 2."""
    if n < 2:
        raise UserError(f"points is {n}; allowed: 2 or more")
    _check_positive(beta)
    roots = [1, -1] if n == 2 else [cmath.exp(2j * cmath.pi * k / n) for k in range(n)]
    return [Point(beta * root, 1 / (n * beta * root)) for root in roots]


def equilibrium_propagation(model: Model, points: Sequence[Point], phases: Phases) -> GradFn:
    """Return the estimator sum of c g(beta) over `points`, every phase relaxed from the free equilibrium.

    UserError for complex points on an energy that is not holomorphic.
    """
    if any(jnp.iscomplexobj(point.beta) for point in points) and not model.holomorphic:
        raise UserError("points has complex nudges; allowed: real ones (2 points), or sigmoid units without pooling")

    def grad_fn(params: PyTree, carry: States | None, key: Array | None, batch: dict[str, Array]):
        x, y = batch["x"], batch["y"]
        drive = model.drive(params, x)
        free, info = free_phase(model, phases.free, params, drive, carry)
        terms, infos = [], {"free": info}
        for point in points:
            if isinstance(point.beta, int) and point.beta == 0:
                terms.append(Phase(point.share, base_phase(model, phases, params, drive, free), None))
                continue
            states, infos["nudged"] = nudged_phase(model, phases, params, drive, free, Nudge(point.beta, y))
            terms.append(Phase(point.share, states, Nudge(point.beta, y)))
        grads = model.gradient(params, x, drive, terms)
        return grads, next_carry(carry, free), free_metrics(model, params, batch, free, infos)

    return grad_fn


def coupled_learning(model: Model, beta: Float[ArrayLike, ""], phases: Phases) -> GradFn:
    """Return the estimator (g_held - g_free) / beta, the last layer held a fraction beta of the way to the target.

    UserError unless 0 < beta <= 1.
    """
    check_held(beta)

    def grad_fn(params: PyTree, carry: States | None, key: Array | None, batch: dict[str, Array]):
        x, y = batch["x"], batch["y"]
        drive = model.drive(params, x)
        free, info = free_phase(model, phases.free, params, drive, carry)
        held, clamped = held_phase(model, phases, params, drive, (*free[:-1], free[-1] + beta * (y - free[-1])))
        base = free
        if isinstance(beta, jax.Array) or beta < 1:
            # As for one-sided nudges; at beta = 1 the drift is not amplified, and E_held - E_free is what is meant.
            base, _ = held_phase(model, phases, params, drive, free)
        grads = model.gradient(params, x, drive, [Phase(1 / beta, held, None), Phase(-1 / beta, base, None)])
        infos = {"free": info, "nudged": clamped}
        return grads, next_carry(carry, free), free_metrics(model, params, batch, free, infos)

    return grad_fn


def contrastive_hebbian(model: Model, phases: Phases) -> GradFn:
    """Return the estimator held at the target minus free: coupled learning with beta = 1."""
    return coupled_learning(model, 1.0, phases)


def free_phase(
    model: Model, minimiser: Minimiser, params: PyTree, drive: Array, carry: States | None
) -> tuple[States, RelaxInfo]:
    """Return the equilibrium without a label, from the cold start or from the carry."""
    start = model.start(params, drive) if carry is None else carry
    return minimiser(model.sweep(params, drive), start)


def base_phase(model: Model, phases: Phases, params: PyTree, drive: Array, free: States) -> States:
    """Return the free states after as many further sweeps as a nudged phase takes."""
    states = free
    for _ in range(phases.continuation):
        states, _ = phases.nudged(model.sweep(params, drive), states)
    return states


def nudged_phase(
    model: Model, phases: Phases, params: PyTree, drive: Array, free: States, nudge: Nudge
) -> tuple[States, RelaxInfo]:
    """Return the equilibrium of E + beta C, from the free one, in `phases.continuation` stages."""
    states = free
    if jnp.iscomplexobj(nudge.beta):
        states = jax.tree.map(lambda s: s.astype(jnp.result_type(s, jnp.complex64)), free)
    for stage in range(1, phases.continuation + 1):
        weak = nudge._replace(beta=nudge.beta * stage / phases.continuation)
        states, info = phases.nudged(model.sweep(params, drive, weak), states)
    return states, info


def held_phase(model: Model, phases: Phases, params: PyTree, drive: Array, states: States) -> tuple[States, RelaxInfo]:
    """Return the equilibrium with the last layer held where it is in `states`."""
    return phases.nudged(model.sweep(params, drive, clamped=True), states)


def free_metrics(
    model: Model, params: PyTree, batch: dict[str, Array], free: States, infos: Mapping[str, RelaxInfo]
) -> dict[str, Float[Array, ""]]:
    """Return the label-free quality of the free states, and how well each named phase relaxed."""
    output = model.output(params, free)
    metrics = {
        "loss": model.cost.value(output, batch["y"]).mean(),
        "error": (output.argmax(1) != batch["y"].argmax(1)).mean(),
        "energy": model.energy(params, batch["x"], free).mean(),
    }
    for name, info in infos.items():
        metrics[f"{name}_residual"] = info.residual.mean()
        metrics[f"{name}_sweeps"] = info.iterations.mean()
    return metrics


def next_carry(carry: States | None, free: States) -> States | None:
    """Return the carry of the next step: the free states where they persist."""
    return None if carry is None else free


def _check_positive(beta: Float[ArrayLike, ""]) -> None:
    # A traced beta, of a schedule, has no value yet.
    if not isinstance(beta, jax.Array) and not beta > 0:
        raise UserError(f"beta is {beta}; allowed: a number above 0")


def check_held(beta: Float[ArrayLike, ""]) -> None:
    """Raise UserError unless an output can be held that fraction of the way to the target: 0 < beta <= 1."""
    if not isinstance(beta, jax.Array) and not 0 < beta <= 1:
        raise UserError(f"beta is {beta}; allowed for a held output: above 0, at most 1")
