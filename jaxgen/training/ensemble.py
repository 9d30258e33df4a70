"""Several Potts models trained together by one executable: their parameters are stacked on a leading axis.

    grads_m = grad_fn(params_m, carry_m, fold_in(key, m), batch_m),     m = 0 .. M-1

A step is the M steps that the models would do alone. Parameters are (M, ...); carry (chains, M, ...) and batch (B M,),
image b of model m at b M + m, so that devices share chains and images of all models. The models are taken in turn
(`jax.lax.map`), not by vmap, which takes 1.7 times as long on a CPU: the sampler's choice between products and
logarithms, a branch for one model, would be computed both ways for all.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from jaxgen import data


def stacked_grad_fn(grad_fn: Callable, n_models: int) -> Callable:
    """`grad_fn` of one model as that of a stack; metrics are means over the models."""

    def of_stack(params: PyTree, carry: PyTree, key: Key[Array, ""], batch: dict[str, Array]):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n_models))
        batch = {name: array.reshape(-1, n_models, *array.shape[1:]) for name, array in batch.items()}
        batch["position"] = batch["position"] // n_models
        arguments = (params, _swap(carry), keys, _swap(batch))
        grads, carry, metrics = jax.lax.map(lambda one: grad_fn(*one), arguments)
        return grads, _swap(carry), {name: values.mean() for name, values in metrics.items()}

    return of_stack


def stack_states(params: Sequence[PyTree], carries: Sequence[PyTree]) -> tuple[PyTree, PyTree]:
    """Parameters and carries of single models as those of a stack; a carry may be None."""
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    return stack, jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *carries)


class StackedOrder:
    """Every model's own order of its own images: `indices(k)` is (B M,), image b of model m at b M + m.

    Args:
        keys: one a model.
        rows: the rows of the data that are each model's.
        batch_size: B.
    """

    def __init__(self, keys: Sequence[Key[Array, ""]], rows: Sequence[Int[np.ndarray, "_"]], batch_size: int):
        self._rows = rows
        self._orders = [data.EpochOrder(key, len(own), batch_size) for key, own in zip(keys, rows, strict=True)]

    def indices(self, step: int) -> Int[np.ndarray, "batch_models"]:
        columns = [own[order.indices(step)] for own, order in zip(self._rows, self._orders, strict=True)]
        return np.stack(columns, axis=1).ravel()


def _swap(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)
