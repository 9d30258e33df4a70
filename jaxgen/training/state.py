"""TrainState: everything a run needs to go on."""

from typing import Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from jaxgen.errors import UserError


@no_type_check  # jax.tree.map puts leaves of any kind here: stacked copies, the data of keys, shardings
@flax.struct.dataclass
class TrainState:
    """What persists between two steps.

    Attributes:
        step: int32, updates done.
        params: the parameters.
        ema_params: their exponential moving average, or None.
        opt_state: of optax.
        carry: what the family keeps besides parameters (chains, neural states), chains on the leading axis, or None.
        key: a typed key; step t draws from `fold_in(key, t)`.
    """

    step: Int[Array, ""]
    params: PyTree
    ema_params: PyTree | None
    opt_state: PyTree
    carry: PyTree | None
    key: Key[Array, ""]


def create(
    key: Key[Array, ""],
    params: PyTree,
    tx: optax.GradientTransformation,
    carry: PyTree | None = None,
    ema: bool = False,
) -> TrainState:
    """Return the state before the first step; `ema=True` starts the moving average at `params`.

    Raises:
        UserError: `key` is not one typed key, `jax.random.key(seed)`.
    """
    if not _is_key(key) or key.shape != ():
        raise UserError(
            f"key is {getattr(key, 'dtype', type(key).__name__)}; allowed: one typed key, jax.random.key(seed)"
        )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy, because the step donates its state and a buffer cannot be donated twice.
        ema_params=jax.tree.map(jnp.copy, params) if ema else None,
        opt_state=tx.init(params),
        carry=carry,
        key=key,
    )


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def keys_to_data(tree: PyTree) -> PyTree:
    """Return the tree with every typed key replaced by its uint32 data, which can be stored and sharded."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def data_to_keys(tree: PyTree, like: PyTree) -> PyTree:
    """Return the tree with typed keys again, of the implementation that they have in `like`; undoes `keys_to_data`."""
    return jax.tree.map(
        lambda x, y: jax.random.wrap_key_data(x, impl=jax.random.key_impl(y)) if _is_key(y) else x, tree, like
    )
