"""One function for every Gibbs engine: images in, images out, all engines sampling the same law

p(x) proportional to exp(-beta E(x)),    E(x) = - sum_i (b_i + field_i)[x_i] - sum_(i,j) W_ij[x_i, x_j].
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8, UInt32

from jaxgen.errors import UserError
from jaxgen.gibbs.couplings import Params, check_params, n_levels
from jaxgen.gibbs.engines import columns as column_engine
from jaxgen.gibbs.engines import kernel as kernel_engine
from jaxgen.gibbs.engines import lattice as lattice_engine
from jaxgen.gibbs.engines import sequential as sequential_engine
from jaxgen.gibbs.engines import thrml as thrml_engine
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.types import Conditions, SampleInfo

_ENGINES = {
    "lattice": lattice_engine.run,
    "lattice13": functools.partial(lattice_engine.run, rounds=13),
    "kernel": kernel_engine.run,
    "thrml": thrml_engine.run,
    "sequential": sequential_engine.run,
    "columns": column_engine.run,
}
ENGINES = tuple(_ENGINES)


def sample(
    key: PRNGKeyArray,
    lattice: Lattice,
    params: Params,
    x: UInt8[Array, "n H W"],
    n_sweeps: int,
    *,
    engine: str = "lattice",
    beta: float | Float[Array, ""] = 1.0,
    clamp: Bool[Array, "H W"] | Bool[Array, "n H W"] | None = None,
    field: Float[Array, "H W L"] | Float[Array, "n H W L"] | None = None,
    chain_ids: UInt32[Array, "n"] | None = None,
) -> tuple[UInt8[Array, "n H W"], SampleInfo]:
    """Run `n_sweeps` Gibbs sweeps of every chain, starting from `x`.

    Args:
      key: random key; the noise of a chain depends on it and on the chain's global number only.
      lattice: the graph (static).
      params: parameter tree of `potts.PottsEBM`, or any of the shapes in `gibbs.couplings`.
      x: states 0..L-1, one image a chain.
      n_sweeps: at least 1 (static).
      engine: "lattice" (fast), "lattice13" (the same with 13 hash rounds instead of 20), "kernel" (the states of
        "lattice" from one GPU kernel), "thrml" (THRML factors and conditionals), "sequential" (raster scan, naive) or
        "columns" (every second column at once, exactly).
      beta: inverse temperature; may be traced.
      clamp: True sites never change, for all chains or for each.
      field: added to the bias, for all chains or for each: a label, a noisy image, a side model.
      chain_ids: global number of every chain, default 0..n-1.

    Returns:
      The new states, and the sweeps and site updates counted by the loop.

    Raises:
      ValueError naming the argument: unknown engine, one that cannot take the lattice, the levels or the device,
      n_sweeps < 1, shapes or dtypes that do not fit, and (outside jit) states beyond L - 1, non-finite parameters,
      field or beta.
    """
    conditions = _checked_conditions(lattice, params, x, beta, clamp, field, chain_ids)
    if engine not in _ENGINES:
        raise UserError(f"engine: got {engine!r}, allowed are {', '.join(ENGINES)}")
    if isinstance(n_sweeps, bool) or not isinstance(n_sweeps, int | np.integer) or n_sweeps < 1:
        raise UserError(f"n_sweeps: got {n_sweeps!r}, must be an integer of at least 1")
    if field is not None and field.ndim == 3:
        params = params | {"bias": params["bias"] + field}
    core = {name: params[name] for name in ("bias", "coupling")}
    if _concrete(x) and isinstance(core["bias"], jax.Array) and _concrete(core["bias"]):
        # States that come back from a call are bound to a device, fresh ones are not; JAX compiles once for each.
        x = jax.device_put(x, *core["bias"].devices())
    return _run(key, lattice, core, x, int(n_sweeps), engine, conditions)


def sample_stages(
    key: PRNGKeyArray,
    lattice: Lattice,
    params: Params,
    x: UInt8[Array, "n H W"],
    n_sweeps: int,
    stage: int,
    **conditions,
) -> Iterator[tuple[int, UInt8[Array, "n H W"], SampleInfo]]:
    """Yield (sweeps so far, states, info of this stage) every `stage` sweeps and after the last of `n_sweeps`.

    conditions: the keyword arguments of `sample`. Stage m draws its noise with fold_in(key, m), so a run depends on
    the stage length. Raises ValueError as `sample` does, and for stage < 1.
    """
    if stage < 1:
        raise UserError(f"stage: got {stage}, must be at least 1")
    done = 0
    while done < n_sweeps or done == 0:
        sweeps = min(stage, n_sweeps - done)
        x, info = sample(jax.random.fold_in(key, done // stage), lattice, params, x, sweeps, **conditions)
        done += sweeps
        yield done, x, info


@functools.partial(jax.jit, static_argnames=("lattice", "n_sweeps", "engine"))
def _run(key, lattice, params, x, n_sweeps, engine, conditions):
    return _ENGINES[engine](key, lattice, params, x, n_sweeps, conditions)


def _checked_conditions(lattice, params, x, beta, clamp, field, chain_ids) -> Conditions:
    check_params(lattice, params)
    levels, n = n_levels(params), len(x)
    image, logits = (lattice.height, lattice.width), (lattice.height, lattice.width, levels)
    if x.dtype != jnp.uint8 or x.shape != (n, *image) or n < 1:
        raise UserError(f"x: got {x.dtype} {x.shape}, must be uint8 (n, {image[0]}, {image[1]}) with n >= 1")
    if clamp is not None and (clamp.dtype != bool or clamp.shape not in (image, (n, *image))):
        raise UserError(f"clamp: got {clamp.dtype} {clamp.shape}, must be bool {image} or {(n, *image)}")
    if field is not None and field.shape not in (logits, (n, *logits)):
        raise UserError(f"field: got shape {field.shape}, must be {logits} or {(n, *logits)}")
    if chain_ids is not None and chain_ids.shape != (n,):
        raise UserError(f"chain_ids: got shape {chain_ids.shape}, must be ({n},)")
    if _concrete(x) and np.max(x) >= levels:
        raise UserError(f"x: got a state of {np.max(x)}, allowed are 0..{levels - 1}")
    named = {"beta": beta, "field": field, "params": {k: params[k] for k in ("bias", "coupling")}}
    for name, value in named.items():
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(value) if _concrete(leaf)):
            raise UserError(f"{name}: got a value that is not finite")
    return Conditions(
        beta=jnp.asarray(beta, jnp.float32),
        clamp=None if clamp is None else jnp.broadcast_to(clamp, x.shape),
        field=field if field is not None and field.ndim == 4 else None,
        chain_ids=jnp.arange(n, dtype=jnp.uint32) if chain_ids is None else chain_ids.astype(jnp.uint32),
    )


def _concrete(value) -> bool:
    return not isinstance(value, jax.core.Tracer)
