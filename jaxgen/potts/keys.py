"""Every random key of the Potts family, derived from the seed in one place and named by its use.

    steps, init, chains = split(key(seed), 3)          training step t draws from fold_in(steps, t)
    order, fresh        = split(fold_in(steps, 2^31))  no training step reaches 2^31

The studies derive their keys differently from `training.stream`, which is newer. They keep their derivations, because
run folders resume and records are reproduced only with the same keys.
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, Key

from jaxgen.training.keys import LARGEST_SEED, beyond_steps, seed_key, stream

_ORDER, _MEASURES = 2**31, 2**30  # of the studies, beyond those that are split from the seed
_DIGIT_USES = ("samples", "annealing")
_SEARCH_USES = ("annealing", "fresh samples")


class RunKeys(NamedTuple):
    """The keys of one training run.

    Attributes:
        steps: key of the TrainState, which the training steps derive theirs from.
        init: key of the initial parameters.
        chains: key of the examples at which persistent chains start.
        order: key of the order of the batches.
        fresh: key of the samples drawn after training.
    """

    steps: Key[Array, ""]
    init: Key[Array, ""]
    chains: Key[Array, ""]
    order: Key[Array, ""]
    fresh: Key[Array, ""]


class LatticeMeasureKeys(NamedTuple):
    """The keys of the measures of one lattice, by use."""

    start: Key[Array, ""]
    sweeps: Key[Array, ""]
    base: Key[Array, ""]
    paths: Key[Array, ""]
    mixing: Key[Array, ""]


class LikelihoodKeys(NamedTuple):
    """The keys of the likelihood of one class, by use."""

    start: Key[Array, ""]
    sweeps: Key[Array, ""]
    path: Key[Array, ""]


def run_keys(seed: int) -> RunKeys:
    """Return the keys of a training run. UserError for a seed outside 0 .. 2^32 - 1."""
    steps, init, chains = jax.random.split(seed_key(seed), 3)
    return RunKeys(steps, init, chains, *beyond_steps(steps))


def evaluation_keys(seed: int, step: int) -> Key[Array, " 2"]:
    """Return the keys of the start and of the sweeps of the chains that are evaluated after a training step."""
    return jax.random.split(jax.random.fold_in(seed_key((seed + 1) % (LARGEST_SEED + 1)), step))


def hidden_key(chains: Key[Array, ""]) -> Key[Array, ""]:
    """Return the key of the hidden states of persistent chains, apart from that of the examples they start at."""
    return jax.random.fold_in(chains, 1)


def digit_order_key(seed: int, number: int) -> Key[Array, ""]:
    """Return the key of the batches of model `number` of an ensemble of digits."""
    return jax.random.fold_in(jax.random.fold_in(seed_key(seed), _ORDER), number)


def digit_key(seed: int, digit: int, use: str) -> Key[Array, ""]:
    """Return the key of one measure of one digit's model; `use` is "samples" or "annealing"."""
    key = jax.random.fold_in(seed_key(seed), _MEASURES)
    return jax.random.fold_in(key, 10 * _DIGIT_USES.index(use) + digit)


def lattice_order_key(seed: int) -> Key[Array, ""]:
    """Return the key of the batches in a comparison of lattices, the same for every lattice."""
    return jax.random.fold_in(seed_key(seed), _ORDER)


def lattice_measure_keys(seed: int) -> LatticeMeasureKeys:
    """Return the keys of the measures of one lattice."""
    return LatticeMeasureKeys(*jax.random.split(jax.random.fold_in(seed_key(seed), _MEASURES), 5))


def search_key(seed: int, use: str) -> Key[Array, ""]:
    """Return the key of one measure of the trials of a search; `use` is "annealing" or "fresh samples"."""
    return stream(seed, use, _SEARCH_USES)


def likelihood_keys(seed: int, label: int | None) -> LikelihoodKeys:
    """Return the keys of the likelihood of a class, or of a model without labels (None)."""
    key = jax.random.fold_in(seed_key(seed), 10 if label is None else label)
    return LikelihoodKeys(*jax.random.split(key, 3))


def mixing_keys(seed: int) -> tuple[Key[Array, ""], Key[Array, ""], Key[Array, ""]]:
    """Return the keys of the noise at which chains start, of Gibbs sweeps, and of parallel tempering."""
    key = seed_key(seed)
    return key, jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)
