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
from jaxgen.gibbs.engines import graph as graph_engine
from jaxgen.gibbs.engines import kernel as kernel_engine
from jaxgen.gibbs.engines import lattice as lattice_engine
from jaxgen.gibbs.engines import sequential as sequential_engine
from jaxgen.gibbs.engines import thrml as thrml_engine
from jaxgen.gibbs.engines.tiles import Tiles
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.graph_params import check_graph_params
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.types import Conditions, EngineName, SampleInfo

_ENGINES = {
    "lattice": lattice_engine.run,
    "lattice13": functools.partial(lattice_engine.run, rounds=13),
    "kernel": kernel_engine.run,
    "thrml": thrml_engine.run,
    "sequential": sequential_engine.run,
    "columns": column_engine.run,
    "graph": graph_engine.run,
}
ENGINES = tuple(_ENGINES)


def sample(
    key: PRNGKeyArray,
    lattice: Lattice | Graph,
    params: Params,
    x: UInt8[Array, "n *sites"],
    n_sweeps: int,
    *,
    engine: str = "lattice",
    beta: float | Float[Array, ""] = 1.0,
    clamp: Bool[Array, "*sites"] | Bool[Array, "n *sites"] | None = None,
    field: Float[Array, "*sites L"] | Float[Array, "n *sites L"] | None = None,
    chain_ids: UInt32[Array, "n"] | None = None,
) -> tuple[UInt8[Array, "n *sites"], SampleInfo]:
    """Run `n_sweeps` Gibbs sweeps of every chain, starting from `x`.

    Args:
      key: random key; the noise of a chain depends on it and on the chain's global number only.
      lattice: a Lattice, whose sites are (H, W), or a Graph, whose sites are (sites,) (static).
      params: parameter tree of `potts.PottsEBM`, any of the shapes in `gibbs.couplings` for a Lattice, or any of those
        in `gibbs.graph_params` for a Graph.
      x: states 0..L-1, one image or row per chain.
      n_sweeps: at least 1 (static).
      engine: "lattice" (fast; a Graph, or a Lattice without a colouring by 2 x 2 tiles, goes to "graph"), "lattice13"
        (the same with 13 hash rounds instead of 20), "kernel" (the states of "lattice" from one GPU kernel), "thrml"
        (THRML factors and conditionals), "sequential" (raster scan, naive), "columns" (every second column at once,
        exactly) or "graph" (fast on any graph). A Graph allows "lattice" and "graph" only.
      beta: inverse temperature; may be traced.
      clamp: True sites never change, for all chains or for each.
      field: added to the bias, with its shape, for all chains or for each: a label, a noisy image, a side model.
      chain_ids: global number of every chain, default 0..n-1.

    Returns:
      The new states; the sweeps and site updates counted by the loop, and the name of the engine that ran.

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
    engine = _resolved(engine, lattice)
    if field is not None and field.ndim == params["bias"].ndim:
        params = params | {"bias": params["bias"] + field}
    core = {name: params[name] for name in ("bias", "coupling")}
    if _concrete(x) and isinstance(core["bias"], jax.Array) and _concrete(core["bias"]):
        # States that come back from a call are bound to a device, fresh ones are not; JAX compiles once for each.
        x = jax.device_put(x, *core["bias"].devices())
    x, info = _run(key, lattice, core, x, int(n_sweeps), engine, conditions)
    return x, info._replace(engine=EngineName(engine))


def _resolved(engine: str, lattice: Lattice | Graph) -> str:
    """The engine that runs: the default one knows which graphs it cannot take."""
    if isinstance(lattice, Graph):
        if engine not in ("lattice", "graph"):
            raise UserError(f"engine is {engine!r}; allowed on a Graph: 'graph'")
        return "graph"
    return "graph" if engine == "lattice" and not _has_tiles(lattice) else engine


@functools.lru_cache(maxsize=256)
def _has_tiles(lattice: Lattice) -> bool:
    try:
        Tiles(lattice)
    except UserError:
        return False
    return True


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
    if isinstance(lattice, Graph):
        check_graph_params(lattice, params)
        image, levels = (lattice.n_sites,), lattice.levels
    else:
        check_params(lattice, params)
        image, levels = (lattice.height, lattice.width), n_levels(params)
    n, logits = len(x), params["bias"].shape
    if x.dtype != jnp.uint8 or x.shape != (n, *image) or n < 1:
        raise UserError(f"x: got {x.dtype} {x.shape}, must be uint8 (n, {', '.join(map(str, image))}) with n >= 1")
    if clamp is not None and (clamp.dtype != bool or clamp.shape not in (image, (n, *image))):
        raise UserError(f"clamp: got {clamp.dtype} {clamp.shape}, must be bool {image} or {(n, *image)}")
    if field is not None and field.shape not in (logits, (n, *logits)):
        raise UserError(f"field: got shape {field.shape}, must be {logits} or {(n, *logits)}")
    if chain_ids is not None and chain_ids.shape != (n,):
        raise UserError(f"chain_ids: got shape {chain_ids.shape}, must be ({n},)")
    if _concrete(x) and np.any(np.asarray(x) >= levels):
        raise UserError(f"x: got a state of {np.max(x)}, allowed are 0..{np.max(levels) - 1}")
    named = {"beta": beta, "field": field, "params": {k: params[k] for k in ("bias", "coupling")}}
    for name, value in named.items():
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(value) if _concrete(leaf)]
        if name != "beta" and isinstance(lattice, Graph):
            if any(np.isnan(leaf).any() or (leaf == np.inf).any() for leaf in leaves):
                raise UserError(f"{name} has an entry that is NaN or +inf; allowed: finite, or -inf for forbidden")
        elif not all(np.isfinite(leaf).all() for leaf in leaves):
            raise UserError(f"{name}: got a value that is not finite")
    return Conditions(
        beta=jnp.asarray(beta, jnp.float32),
        clamp=None if clamp is None else jnp.broadcast_to(clamp, x.shape),
        field=field if field is not None and field.ndim > len(logits) else None,
        chain_ids=jnp.arange(n, dtype=jnp.uint32) if chain_ids is None else chain_ids.astype(jnp.uint32),
    )


def _concrete(value) -> bool:
    return not isinstance(value, jax.core.Tracer)
