"""Runs observed after every sweep, and their measures of mixing.

    f_0(x) = E(x),     f_1(x) = sum_i v_i x_i

v is the first principal component of the data. The energy equilibrates within a mode long before chains move between
modes; moves between modes are visible along v.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, UInt8

from jaxgen import gibbs, runs
from jaxgen.potts.likelihood.annealed_importance import linear_energy

READABLE = 0.9
_NEAR = 1.5
_REPEATS = 7


@functools.partial(jax.jit, static_argnames=("lattice", "n_sweeps", "engine"))
def observe_sweeps(
    key: Key[Array, ""],
    lattice: gibbs.Lattice,
    params: dict,
    direction: Float[Array, "H W"],
    x: UInt8[Array, "n H W"],
    n_sweeps: int,
    *,
    engine: str = "lattice",
    beta: Float[ArrayLike, ""] = 1.0,
) -> tuple[UInt8[Array, "n H W"], Float[Array, "2 n_sweeps n"]]:
    """Return the states after `n_sweeps` sweeps, and E(x) and direction . x of every chain after each sweep.

    Errors as `gibbs.sample`.
    """
    params = {name: params[name] for name in ("bias", "coupling")}

    def sweep(x, number):
        x, _ = gibbs.sample(jax.random.fold_in(key, number), lattice, params, x, 1, engine=engine, beta=beta)
        return x, observe(lattice, params, direction, x)

    x, observed = jax.lax.scan(sweep, x, jnp.arange(n_sweeps))
    return x, jnp.moveaxis(observed, 1, 0)


def observe(
    lattice: gibbs.Lattice, params: dict, direction: Float[Array, "H W"], x: UInt8[Array, "n H W"]
) -> Float[Array, "2 n"]:
    """Return f_0 and f_1 of every image; `params` is {"bias", "coupling"}."""
    return jnp.stack([linear_energy(lattice, params, x), jnp.tensordot(x.astype(jnp.float32), direction)])


@dataclasses.dataclass(frozen=True, eq=False)
class Mixing:
    """A run of one sampler: n chains over T sweeps.

    Attributes:
        observed: (2, T, n), the energy and the projection on the principal component.
        sweep_seconds: wall time in seconds of one unobserved sweep of all chains.
    """

    observed: Float[np.ndarray, "2 T n"]
    sweep_seconds: float

    @property
    def settled(self) -> Float[np.ndarray, "2 half n"]:
        """Return the second half of the run, from which all numbers are taken."""
        return self.observed[:, self.observed.shape[1] // 2 :]

    @property
    def times(self) -> list[float]:
        """Return the integrated autocorrelation times in sweeps; infinity if the run is too short to tell."""
        return [gibbs.integrated_autocorrelation_time(series) for series in self.settled]

    @property
    def r_hats(self) -> list[float]:
        """Return R-hat of both observables over all chains of all starts."""
        return [gibbs.split_r_hat(series) for series in self.settled]

    @property
    def effective_per_second(self) -> float:
        """Return effectively independent samples per second, by the slower of the two observables."""
        return self.observed.shape[2] / max(self.times) / self.sweep_seconds


def run_stages(
    observed_stage: Callable[[int, Array], tuple[Array, Array]],
    plain_stage: Callable[[int, Array], Array],
    x: UInt8[Array, "..."],
    n_stages: int,
    look: Callable[[int, Array, Sequence[Array]], None] = lambda done, x, observed: None,
    before: Sequence[Array] = (),
) -> Mixing:
    """Run `(x, observed) = observed_stage(stage, x)` stage by stage, then time `plain_stage`, its unobserved twin.

    Args:
        observed_stage: runs one stage and returns the states and what was observed.
        plain_stage: runs one stage and returns the states.
        x: the states after the stages of `before`.
        n_stages: number of stages of the whole run.
        look: called with the number of stages done, the states, and the observables of every stage.
        before: observables of the first stages, if a run is resumed.
    """
    observed = list(before)
    for stage in range(len(observed), n_stages):
        x, values = observed_stage(stage, x)
        observed.append(np.asarray(values))
        look(stage + 1, x, observed)
    sweeps = observed[0].shape[1]
    jax.block_until_ready(plain_stage(0, x))
    seconds = []
    for repeat in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(plain_stage(repeat, x))
        seconds.append(time.perf_counter() - start)
    return Mixing(np.concatenate(observed, axis=1), float(np.median(seconds)) / sweeps)


def mixing_rows(
    runs_by_name: Mapping[str, Mixing],
    shares: Mapping[str, Sequence[tuple[int, float]]],
    real: float,
    acceptance: Float[np.ndarray, "gaps"],
) -> list[runs.Row]:
    """Return the rows of a record: times and rates of all samplers, R-hat of the first, sweeps to readable samples.

    Args:
        runs_by_name: runs of the samplers by name.
        shares: for each start, pairs (sweeps, share of chains read as a class of the training set).
        real: the share of training images that is read as such a class.
        acceptance: fraction of accepted swaps between replicas.
    """
    rows = []
    for name, mixing in runs_by_name.items():
        length = f"{mixing.observed.shape[1]} sweeps of {mixing.observed.shape[2]} chains, the second half counted"
        for what, tau in zip(("energy", "principal component"), mixing.times, strict=True):
            known = math.isfinite(tau)
            value = tau if known else "longer than the run can measure"
            rows.append(runs.Row(f"{name}: autocorrelation time of the {what}", value, "sweeps" * known, "", length))
        rows.append(runs.Row(f"{name}: sweeps per second", 1 / mixing.sweep_seconds, "1/s"))
        rows.append(runs.Row(f"{name}: independent samples per second", mixing.effective_per_second, "1/s"))
        half = mixing.settled.shape[1] // 2
        for what, r_hat, tau in zip(("energy", "principal component"), mixing.r_hats, mixing.times, strict=True):
            # Even the means of equilibrated half-chains have a variance of var(f) tau / T'.
            note = f"{math.sqrt(1 + tau / half):.3f} expected of settled chains this short"
            note = note if math.isfinite(tau) else ""
            rows.append(runs.Row(f"{name}: R-hat of the {what} from dispersed starts", r_hat, "", "< 1.01", note))
    swaps = f"from {acceptance.min():.2f} to {acceptance.max():.2f} along the ladder of {len(acceptance) + 1}"
    rows.append(runs.Row("parallel tempering: accepted swaps", float(acceptance.mean()), "", "", swaps))
    for start, curve in shares.items():
        reached, final = readable_from(curve)
        value, unit = ("not settled in the run", "") if reached is None else (reached, "sweeps")
        note = f"readable chains: {final:.3f} at the end, {curve[0][1]:.3f} at the start; readable training images: "
        note += f"{real:.3f}"
        quantity = f"sweeps from {start} to {READABLE:g} of the final share of readable chains"
        rows.append(runs.Row(quantity, value, unit, "", note))
    return rows


def smoothed_shares(curve: Sequence[tuple[int, float]]) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """Return the sweeps s and the mean of the shares between s / 1.5 and 1.5 s, since single shares scatter."""
    sweeps, shares = np.array(curve, float).T
    near = (sweeps >= sweeps[:, None] / _NEAR) & (sweeps <= sweeps[:, None] * _NEAR)
    return sweeps, (near * shares).sum(1) / near.sum(1)


def readable_from(curve: Sequence[tuple[int, float]]) -> tuple[int | None, float]:
    """Return the sweeps after which the smoothed share stays at READABLE of the final share, and the final share.

    The final share is the mean over the second half of the run. The sweeps are None if the share ends below.
    """
    sweeps, smooth = smoothed_shares(curve)
    final = float(np.mean([share for s, share in curve if s >= sweeps[-1] / 2]))
    below = np.flatnonzero(smooth < READABLE * final)
    first = below[-1] + 1 if len(below) else 0
    return (int(sweeps[first]) if first < len(sweeps) else None), final
