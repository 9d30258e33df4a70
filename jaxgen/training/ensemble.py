"""An ensemble: M models of one kind that are trained together by one executable.

    grads_m, carry_m, metrics_m = grad_fn(params_m, carry_m, fold_in(key, m), batch_m),     m = 0 .. M-1

A step of the ensemble is the M steps that its models would take alone. Every leaf of the parameters is (M, ...); a leaf
of the carry is (chains, M, ...) and of the batch (B M, ...), with image b of model m at b M + m, because the parallel
step splits the leading axis: every device then has chains and images of all models.

`ensemble_grad_fn` takes the models in turn, `vmapped_grad_fn` all at once; they return the same numbers up to the order
of float sums, and their docstrings say which is faster when.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from jaxgen import data
from jaxgen.training.step import GradFn


def ensemble_grad_fn(grad_fn: GradFn, n_models: int) -> GradFn:
    """Return the gradient function of an ensemble whose models are computed one after another (`jax.lax.map`).

    Right where one model fills the device by itself, or where it takes a branch on its own parameters: `vmap` turns a
    branch into a computation of both sides. A Potts model on a CPU takes 1.7 times as long under `vmap`, because the
    sampler's choice between products and logarithms is then computed both ways.

    Args:
        grad_fn: the gradient function of one model.
        n_models: M.

    Returns:
        A gradient function of the whole ensemble; its metrics are means over the models.
    """

    def apply(params: PyTree, carry: PyTree, keys: Key[Array, " M"], batch: dict[str, Array]):
        return jax.lax.map(lambda arguments: grad_fn(*arguments), (params, carry, keys, batch))

    return _with_own_batches(apply, n_models)


def vmapped_grad_fn(grad_fn: GradFn, n_models: int, *, shared_batch: bool = False) -> GradFn:
    """Return the gradient function of an ensemble whose models are computed all at once (`jax.vmap`).

    Right for small models without branches, such as dense networks, whose products are too small to fill the device: M
    of them become one batched product. Convolutions become grouped ones, which take 1.6 times as long on a CPU. One
    model (M = 1) is computed without `vmap`.

    Args:
        grad_fn: the gradient function of one model.
        n_models: M.
        shared_batch: whether all models see one batch (B, ...) and one key, which pairs their comparison; else each
            has a batch and a key of its own.

    Returns:
        A gradient function of the whole ensemble; its metrics are means over the models.
    """
    axes = (0, 0, None, None) if shared_batch else (0, 0, 0, 0)

    def apply(*arguments: PyTree):
        if n_models > 1:
            return jax.vmap(grad_fn, axes)(*arguments)
        only = [
            argument if axis is None else member(argument, 0) for argument, axis in zip(arguments, axes, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], grad_fn(*only))

    if not shared_batch:
        return _with_own_batches(apply, n_models)

    def together(params: PyTree, carry: PyTree, key: Key[Array, ""], batch: dict[str, Array]):
        grads, carry, metrics = apply(params, _swap(carry), key, batch)
        return grads, _swap(carry), _means(metrics)

    return together


def map_models(function: Callable, n_models: int) -> Callable:
    """Return `function` mapped over the leading axis (M, ...) of all its arguments; for M = 1 without `vmap`."""
    if n_models > 1:
        return jax.vmap(function)
    return lambda *trees: jax.tree.map(lambda leaf: leaf[None], function(*(member(tree, 0) for tree in trees)))


def stack_models(params: Sequence[PyTree], carries: Sequence[PyTree]) -> tuple[PyTree, PyTree]:
    """Return the parameters (M, ...) and the carry (chains, M, ...) of an ensemble of single models.

    A carry may be None, for all models or for none.
    """
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    return stack, jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *carries)


def member(tree: PyTree, m: int) -> PyTree:
    """Return the part of model m: of parameters, a batch or keys whose leaves are (M, ...)."""
    return jax.tree.map(lambda leaf: leaf[m], tree)


class EnsembleOrder:
    """The order in which every model of an ensemble sees its own images; `indices(k)` is (B M,), as in the module text.

    Args:
        keys: one key per model.
        rows: the rows of the data from which each model draws.
        batch_size: B, images per model and step.
    """

    def __init__(self, keys: Sequence[Key[Array, ""]], rows: Sequence[Int[np.ndarray, "_"]], batch_size: int):
        self._rows = rows
        self._orders = [data.EpochOrder(key, len(own), batch_size) for key, own in zip(keys, rows, strict=True)]

    def indices(self, step: int) -> Int[np.ndarray, "batch_models"]:
        """Return the rows of every model's batch, model by model within an example."""
        columns = [own[order.indices(step)] for own, order in zip(self._rows, self._orders, strict=True)]
        return np.stack(columns, axis=1).ravel()


def _with_own_batches(apply: Callable, n_models: int) -> GradFn:
    """Split the batch and the key over the models, so that each takes the step that it would take alone."""

    def grad_fn(params: PyTree, carry: PyTree, key: Key[Array, ""], batch: dict[str, Array]):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n_models))
        batch = {name: array.reshape(-1, n_models, *array.shape[1:]) for name, array in batch.items()}
        batch["position"] = batch["position"] // n_models
        grads, carry, metrics = apply(params, _swap(carry), keys, _swap(batch))
        return grads, _swap(carry), _means(metrics)

    return grad_fn


def _means(metrics: dict[str, Array]) -> dict[str, Array]:
    return {name: values.mean() for name, values in metrics.items()}


def _swap(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)
