"""Training of the networks that estimate mutual information: one network per sample, all of them as one ensemble.

Half of a sample trains, a quarter (500 pairs at most) chooses the parameters on the way, and the bound is evaluated on
the rest. An estimate above the exact value is therefore a statistical error, not overfitting. A network that is worse
on the rest than a constant score, whose bound is 0, is replaced by it.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxgen import training
from jaxgen.errors import UserError
from jaxgen.information.estimators.objectives import Objective

_FEWEST = 16  # pairs of a sample
_MOST_VALIDATION = 500

Sample = tuple[Float[np.ndarray, "n d_x"], Float[np.ndarray, "n d_y"]]


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """How the networks are trained: Adam with a cosine decay, gradients clipped to norm 1."""

    steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 2e-3
    tests: int = 20

    def __post_init__(self):
        for name in ("steps", "batch_size", "tests"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; allowed: an integer, 1 or more")


def network_estimates(
    key: Key[Array, ""], samples: Sequence[Sample], objective: Objective, options: NetworkOptions
) -> list[float]:
    """Return the estimate of I(X;Y) in nats from each sample by a network of its own, 0 where the bound is below 0.

    Args:
        key: for initial parameters, the split of the samples and the order of the batches.
        samples: pairs of arrays x (n, d_x) and y (n, d_y), labels one-hot, coordinates standardised. All samples have
            the same numbers of coordinates; n may differ.
        objective: the bound that is maximised, from `jaxgen.information.estimators.objectives`.
        options: of the training. The batch is smaller where the smallest sample has fewer training pairs.

    Raises:
        UserError: no samples, shapes that do not fit, or a sample of fewer than 16 pairs.
        NonFiniteError: a network's loss is not finite.
    """
    _check(samples)
    key_split, key_init, key_order, key_steps = jax.random.split(key, 4)
    sizes = [len(x) for x, _ in samples]
    firsts = np.cumsum([0, *sizes[:-1]])
    pool = {name: jnp.asarray(np.concatenate([s[i] for s in samples]), jnp.float32) for i, name in enumerate("xy")}
    splits = [
        first + np.asarray(jax.random.permutation(jax.random.fold_in(key_split, m), size))
        for m, (first, size) in enumerate(zip(firsts, sizes, strict=True))
    ]
    parts = [np.split(rows, [len(rows) // 2, len(rows) // 2 + _validation(len(rows))]) for rows in splits]
    train, validation, test = ([rows[k] for rows in parts] for k in range(3))
    order = training.EnsembleOrder(
        list(jax.random.split(key_order, len(samples))), train, min([options.batch_size, *map(len, train)])
    )
    state, step = _start(key_init, key_steps, pool, len(samples), objective, options)
    evaluate = _evaluation(objective, pool)
    best = (np.full(len(samples), -np.inf), state.params)
    every = math.ceil(options.steps / options.tests)
    for number in range(1, options.steps + 1):
        state, metrics = step(state, pool, order.indices(number - 1))
        if number % every == 0 or number == options.steps:
            if not np.isfinite(metrics["loss"]):
                raise training.NonFiniteError(f"loss is {float(metrics['loss'])} at step {number}")
            best = _better(best, evaluate(state.params, validation), state.params)
    return np.maximum(evaluate(best[1], test), 0.0).tolist()


def _check(samples: Sequence[Sample]) -> None:
    if not len(samples):
        raise UserError("samples is empty; allowed: one or more")
    widths = {(x.shape[1:], y.shape[1:]) for x, y in samples}
    if len(widths) > 1 or any(x.ndim != 2 or y.ndim != 2 or len(x) != len(y) for x, y in samples):
        shapes = [(x.shape, y.shape) for x, y in samples]
        raise UserError(f"samples have shapes {shapes}; allowed: (n, d_x) and (n, d_y), n alike in a sample")
    fewest = min(len(x) for x, _ in samples)
    if fewest < _FEWEST:
        raise UserError(f"a sample has {fewest} pairs; allowed: {_FEWEST} or more")


def _validation(n: int) -> int:
    return min(n // 4, _MOST_VALIDATION)


def _start(key_init, key_steps, pool: dict[str, Array], n: int, objective: Objective, options: NetworkOptions):
    """Return the state of n networks, and their common step, a function of (state, pool, rows)."""
    rate = optax.cosine_decay_schedule(options.learning_rate, options.steps)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    first = {name: array[:1] for name, array in pool.items()}
    params = jax.jit(jax.vmap(lambda key: objective.init(key, first)))(jax.random.split(key_init, n))
    carry = None if objective.carry is None else jnp.tile(objective.carry[:, None], (1, n))
    update = training.make_train_step(training.vmapped_grad_fn(objective.grad_fn, n), tx)

    def step(state: training.TrainState, pool: dict[str, Array], rows: Int[Array, "batch_n"]):
        batch = {name: array[rows] for name, array in pool.items()}
        batch |= {"valid": jnp.ones(len(rows), bool), "position": jnp.arange(len(rows))}
        return update(state, batch)

    return training.create(key_steps, params, tx, carry), jax.jit(step)


def _evaluation(objective: Objective, pool: dict[str, Array]):
    """Return a function of stacked parameters and a list of rows per network that returns their estimates (n,)."""

    @jax.jit
    def evaluate(params: PyTree, pool: dict[str, Array], rows: Int[Array, "n most"], valid: Array):
        def estimate(network):
            params, rows, valid = network
            return objective.estimate(params, {name: array[rows] for name, array in pool.items()} | {"valid": valid})

        # One network after another: all matrices of scores at once would need much memory.
        return jax.lax.map(estimate, (params, rows, valid))

    def padded(params: PyTree, lists: Sequence[Int[np.ndarray, "_"]]) -> Float[np.ndarray, "n"]:
        most = max(map(len, lists))
        rows = np.stack([np.resize(own, most) for own in lists])
        valid = np.arange(most) < np.array([len(own) for own in lists])[:, None]
        return np.asarray(evaluate(params, pool, rows, valid), np.float64)

    return padded


def _better(best: tuple[np.ndarray, PyTree], values: np.ndarray, params: PyTree) -> tuple[np.ndarray, PyTree]:
    """Return the best validation value of every network so far with its parameters."""
    better = values > best[0]
    chosen = jax.tree.map(
        lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), params, best[1]
    )
    return np.where(better, values, best[0]), chosen
