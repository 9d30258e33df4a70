"""One training step for every family.

grads, carry, metrics = grad_fn(params, carry, fold_in(key, t), batch)
params <- params + tx.update(mean over devices of grads)
ema    <- d ema + (1 - d) params
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxgen.errors import UserError
from jaxgen.training.state import TrainState

Batch = dict[str, Array]
Metrics = dict[str, Float[Array, ""]]
GradFn = Callable[[PyTree, PyTree, Key[Array, ""], Batch], tuple[PyTree, PyTree, Metrics]]
LossFn = Callable[[PyTree, Key[Array, ""], Batch], tuple[Float[Array, ""], Metrics]]
Decay = float | Callable[[Array], Array]
StepFn = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def from_loss(loss_fn: LossFn) -> GradFn:
    """Return the grad_fn of a differentiable `loss_fn(params, key, batch) -> (loss, metrics)`; metrics gains "loss"."""
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def grad_fn(params: PyTree, carry: PyTree, key: Key[Array, ""], batch: Batch):
        (loss, metrics), grads = value_and_grad(params, key, batch)
        return grads, carry, {**metrics, "loss": loss}

    return grad_fn


def make_train_step(
    grad_fn: GradFn, tx: optax.GradientTransformation, axis_name: str | None = None, ema_decay: Decay | None = None
) -> StepFn:
    """Return the pure function `step(state, batch) -> (state, metrics)`, to be jitted or mapped over devices.

    metrics gains "grad_norm", the global norm of the averaged gradient.

    Args:
        grad_fn: gives gradients, the new carry and scalar metrics of one batch.
        tx: the optimiser.
        axis_name: the mapped axis over which gradients and metrics are averaged; carry belongs to its device.
        ema_decay: in [0, 1), or its function of the updates done so far; keeps `state.ema_params`; None for a state
            without.

    Raises:
        UserError: `ema_decay` out of range; while tracing, a metric that is not a scalar, or only one of `ema_decay`
            and `state.ema_params` given.
    """
    if isinstance(ema_decay, float | int) and not 0.0 <= ema_decay < 1.0:
        raise UserError(f"ema_decay is {ema_decay}; allowed: 0 <= ema_decay < 1, or None")

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if (ema_decay is None) != (state.ema_params is None):
            raise UserError(f"ema_decay is {ema_decay} but the state was made with ema={state.ema_params is not None}")
        key = jax.random.fold_in(state.key, state.step)
        grads, carry, metrics = grad_fn(state.params, state.carry, key, batch)
        metrics = {name: _scalar(name, value) for name, value in metrics.items()}
        if axis_name is not None:
            grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_decay is not None:
            decay = ema_decay(state.step) if callable(ema_decay) else ema_decay
            ema_params = optax.incremental_update(params, ema_params, 1.0 - decay)
        state = state.replace(
            step=state.step + 1, params=params, ema_params=ema_params, opt_state=opt_state, carry=carry
        )
        return state, {**metrics, "grad_norm": optax.tree.norm(grads)}

    return step


def warmup_steps(warmup: int, steps: int) -> int:
    """Return the steps of warm-up of a run: `warmup`, at most a tenth of all steps."""
    return min(warmup, steps // 10)


def average_decay(decay: float, steps: int) -> float:
    """Return the decay of the moving average of a run: `decay`, at most the larger of 1 - 5 / steps and 0.5.

    A longer average would keep more than e^-5 of the parameters before training in the parameters that are used.
    """
    return min(decay, max(0.5, 1 - 5 / steps))


def _scalar(name: str, value: Array) -> Float[Array, ""]:
    if jnp.shape(value) != ():
        raise UserError(f"metric {name!r} has shape {jnp.shape(value)}; allowed: a scalar ()")
    return jnp.asarray(value, jnp.float32)
