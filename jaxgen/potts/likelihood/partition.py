"""log Z of a Potts model between two estimates, with a warning where their standard errors cannot be trusted.

    low  = log Z_0 + log mean w        annealed from independent pixels up to the model: on average too low
    high = log Z_0 - log mean 1/w      from samples of the model down: on average too high, if the samples have mixed

A standard error reflects only the modes that its own chains entered. If the model has several modes, all chains can
follow the path into the same few of them; then the estimate and its error are both too small, while the effective
number of chains stays high. The second estimate, with samples that reached the model in another way, reveals this:
`bracket` compares the two estimates, and the states of both populations at the model, and warns where they differ.
Agreement is necessary, not sufficient: a mode that both populations miss goes unnoticed.

How often the warning fires depends on the length of the path: of the estimates that were more than two standard errors
off, on a 4 x 6 grid with three modes, it flagged 58 % with 100 temperatures and all with 600. A short path without a
warning proves little.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Key, UInt8

from jaxgen import gibbs
from jaxgen.potts.likelihood.annealed_importance import (
    PartitionEstimate,
    anneal,
    bound_log_partition,
    check_sizes,
    draw_independent,
    estimate_log_partition,
    independent_params,
    linear_energy,
)
from jaxgen.potts.model import PottsEBM

_ERRORS = 2.5  # combined standard errors between the ends
_SIGNIFICANCE = 1e-3  # of each comparison of the chains
_FEWEST = 5.0  # effective chains


class PartitionWarning(UserWarning):
    """The standard errors of log Z cannot be trusted."""


class Partition(NamedTuple):
    """Two estimates of log Z of p(x), or of p(x | y), in nats: annealed from below and from above."""

    low: PartitionEstimate
    high: PartitionEstimate

    @property
    def gap(self) -> float:
        """Return log Z from above minus log Z from below, in nats."""
        return float(self.high.log_z - self.low.log_z)


def log_partition(
    key: Key[Array, ""],
    model: PottsEBM,
    params: dict,
    base_bias: Float[Array, "H W L"],
    n_chains: int,
    n_temperatures: int,
    beta: float = 1.0,
    progress: Callable[[int], None] = lambda done: None,
) -> Partition:
    """Estimate log Z from both ends.

    The samples for the upper end do not depend on `base_bias`: they are annealed from uniform noise over
    `n_temperatures` sweeps, followed by as many sweeps of the model. Use `bracket` to supply samples of your own.

    Args:
        key: random key.
        model: the model; the parameters of one class if it has classes, see `class_params`.
        params: {"bias", "coupling"}.
        base_bias: log-odds of the independent pixels from which the lower end is annealed; the log marginals of the
            data are a good choice.
        n_chains: chains per end, 2 or more.
        n_temperatures: temperatures per end, 1 or more.
        beta: inverse temperature.
        progress: called with the temperatures done, up to 2 n_temperatures.

    Raises:
        UserError: an argument out of range, by name; or what `gibbs.sample` refuses.

    Warns:
        PartitionWarning: as `bracket`.
    """
    check_sizes(n_chains, n_temperatures)
    key_start, key_anneal, key_sweeps, key_bracket = jax.random.split(key, 4)
    uniform = independent_params(model.lattice, params, jnp.zeros_like(params["bias"]))
    x = draw_independent(key_start, uniform["bias"], n_chains)
    _, x = anneal(key_anneal, model.lattice, uniform, params, x, n_temperatures, beta=beta)
    x, _ = gibbs.sample(key_sweeps, model.lattice, params, x, n_temperatures, beta=beta)
    return bracket(key_bracket, model, params, base_bias, x, n_temperatures, beta, progress)


def bracket(
    key: Key[Array, ""],
    model: PottsEBM,
    params: dict,
    base_bias: Float[Array, "H W L"],
    samples: UInt8[Array, "n H W"],
    n_temperatures: int,
    beta: float = 1.0,
    progress: Callable[[int], None] = lambda done: None,
) -> Partition:
    """Estimate log Z from both ends with as many chains as there are samples; the upper end starts at the samples.

    Arguments are as in `log_partition`; `samples` are states of the model, best drawn by other means than annealing
    from `base_bias`.

    Raises:
        UserError: as `estimate_log_partition`.

    Warns:
        PartitionWarning: the ends are more than 2.5 combined standard errors apart; fewer than five chains carry an
            estimate; or the annealed chains and the samples differ in mean energy or mean share of a level, by a t-test
            at 1e-3.
    """
    keys = jax.random.split(key)
    options = {"n_temperatures": n_temperatures, "beta": beta}
    low = estimate_log_partition(keys[0], model.lattice, params, base_bias, len(samples), progress=progress, **options)
    high = bound_log_partition(
        keys[1],
        model.lattice,
        params,
        base_bias,
        samples,
        progress=lambda done: progress(n_temperatures + done),
        **options,
    )
    both = Partition(low, high)
    for doubt in doubts(both, model.lattice, params, samples):
        warnings.warn(doubt, PartitionWarning, stacklevel=2)
    return both


def doubts(both: Partition, lattice: gibbs.Lattice, params: dict, samples: UInt8[Array, "n H W"]) -> list[str]:
    """Return in words why the standard errors of a bracket cannot be trusted; an empty list if no check fails."""
    reasons, error = [], float(np.hypot(both.low.standard_error, both.high.standard_error))
    if abs(both.gap) > _ERRORS * error and abs(both.gap) > 1e-3:
        reasons.append(
            f"log Z from above is {both.gap:+.2g} nats from log Z from below, more than {_ERRORS:g} standard errors of "
            f"{error:.2g}; raise n_temperatures, or give samples that have mixed"
        )
    effective = min(both.low.effective_chains, both.high.effective_chains)
    if effective < _FEWEST and len(samples) >= 2 * _FEWEST:
        reasons.append(
            f"{effective:.1f} of {len(samples)} chains carry an estimate of log Z; raise n_temperatures or n_chains"
        )
    annealed = _resampled(both.low)
    for name, observable in _observables(lattice, params).items():
        values = [np.asarray(observable(x), np.float64).round(6) for x in (annealed, samples)]
        if np.ptp(np.concatenate(values)) == 0:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a population whose states are all alike
            p = scipy.stats.ttest_ind(*values).pvalue
        if p < _SIGNIFICANCE:
            reasons.append(
                f"chains annealed from the independent pixels and the samples differ in {name} (p = {p:.1g}): one of "
                "them misses a mode, and no error bar covers that; choose another base_bias, raise n_temperatures, or "
                "give samples that have mixed"
            )
            break
    return reasons


def _resampled(low: PartitionEstimate) -> UInt8[Array, "m H W"]:
    """Return annealed chains resampled by their weights (systematic resampling), as many as are effective."""
    w = np.exp(low.log_weights - low.log_weights.max())
    m = max(2, int(low.effective_chains))
    places = np.searchsorted(np.cumsum(w) / w.sum(), (np.arange(m) + 0.5) / m)
    return low.states[np.minimum(places, len(w) - 1)]


def _observables(lattice: gibbs.Lattice, params: dict) -> dict[str, Callable]:
    """Return functions of states by name: the energy, and the share of every level."""
    core = {name: params[name] for name in ("bias", "coupling")}
    shares = {
        f"their share of level {level}": lambda x, level=level: (x == level).mean((1, 2))
        for level in range(gibbs.n_levels(params))
    }
    return {"energy": lambda x: linear_energy(lattice, core, x)} | shares
