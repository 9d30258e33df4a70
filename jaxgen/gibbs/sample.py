"""One function for every Gibbs engine: images in, images out, all engines sampling the same law.

p(x) proportional to exp(-beta E(x)),    E(x) = - sum_i (b_i + field_i)[x_i] - sum_(i,j) W_ij[x_i, x_j].
"""

import functools
from collections.abc import Iterator, Sequence

import jax
from jaxtyping import Array, ArrayLike, Bool, Float, Integer, PRNGKeyArray, UInt8

from jaxgen.errors import UserError
from jaxgen.gibbs.arguments import check_key, check_sweeps, checked_arguments, on_common_devices
from jaxgen.gibbs.couplings import Params
from jaxgen.gibbs.engines import columns as column_engine
from jaxgen.gibbs.engines import graph as graph_engine
from jaxgen.gibbs.engines import kernel as kernel_engine
from jaxgen.gibbs.engines import lattice as lattice_engine
from jaxgen.gibbs.engines import sequential as sequential_engine
from jaxgen.gibbs.engines import thrml as thrml_engine
from jaxgen.gibbs.engines.tiles import Tiles
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.types import EngineName, SampleInfo

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
    x: UInt8[ArrayLike, "n *sites"],
    n_sweeps: int,
    *,
    engine: str = "lattice",
    beta: Float[ArrayLike, ""] = 1.0,
    clamp: Bool[ArrayLike, "*sites"] | Bool[ArrayLike, "n *sites"] | Sequence | None = None,
    field: Float[ArrayLike, "..."] | Sequence | None = None,
    chain_ids: Integer[ArrayLike, "n"] | Sequence[int] | None = None,
) -> tuple[UInt8[Array, "n *sites"], SampleInfo]:
    """Run `n_sweeps` Gibbs sweeps of every chain, starting from `x`.

    Args:
      key: random key; the noise of a chain depends on it and on the chain's global number only.
      lattice: a Lattice, whose sites are (H, W), or a Graph, whose sites are (sites,) (static).
      params: parameter tree (any mapping) of `potts.PottsEBM`, in any of the shapes of `gibbs.couplings` for a
        Lattice, or of `gibbs.graph_params` for a Graph.
      x: states 0..L-1, one image or row per chain.
      n_sweeps: 1 to 2^31 - 1 (static).
      engine: "lattice" (fast; a Graph, or a Lattice without a colouring by 2 x 2 tiles, goes to "graph"), "lattice13"
        (the same with 13 hash rounds instead of 20), "kernel" (the states of "lattice" from one GPU kernel), "thrml"
        (THRML factors and conditionals), "sequential" (raster scan, naive), "columns" (every second column at once,
        exactly) or "graph" (fast on any graph). A Graph allows "lattice" and "graph" only.
      beta: inverse temperature, one number, 0 or more; may be traced.
      clamp: True sites never change, for all chains or for each.
      field: added to the bias, with its shape, for all chains or for each: a label, a noisy image, a side model.
      chain_ids: global number of every chain, each once, 0..2^32 - 1; default 0..n-1.

    Returns:
      The new states; the sweeps and site updates counted by the loop, and the name of the engine that ran.

    Raises:
      UserError naming the argument: no key, unknown engine, one that cannot take the lattice, the levels or the device,
      n_sweeps out of range, shapes or dtypes that do not fit, and (outside jit) states beyond L - 1, repeated
      chain_ids, parameters or a field with NaN or +inf, a beta that is negative or not finite in float32.

    What meets at a site is summed in float32: with d neighbours, the log-odds of two levels are exact up to
    (d + 1) 2^-23 times the sum of the absolute parameters at the site. A penalty such as -1e8 on a level or a pair
    costs the others nothing; a reward of 1e8 that two levels share hides differences below about 70 between them.

    A parameter or field of -inf forbids a level or a pair of levels. From a start that is allowed, no forbidden state
    is ever drawn. A site whose bias and field forbid all its levels is refused outside jit. What a site does whose
    neighbours forbid all its levels, as can be in a forbidden start or under jit, depends on the engine: "graph" keeps
    its state, "lattice" gives it level 0.

    Arrays may lie on one device or be sharded over several in any way; noise depends on none of that.
    """
    params, x, conditions = checked_arguments(lattice, params, x, beta, clamp, field, chain_ids)
    check_key(key)
    if not isinstance(engine, str) or engine not in _ENGINES:
        raise UserError(f"engine is {engine!r}; allowed: {', '.join(ENGINES)}")
    check_sweeps(n_sweeps)
    engine = _resolved(engine, lattice)
    params, x, conditions, key = on_common_devices((params, x, conditions, key))
    x, info = _run(key, lattice, params, x, int(n_sweeps), engine, conditions)
    return x, info._replace(engine=EngineName(engine))


def _resolved(engine: str, lattice: Lattice | Graph) -> str:
    """Return the engine that runs: "graph" in place of "lattice" where the lattice has no tiles."""
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
    x: UInt8[ArrayLike, "n *sites"],
    n_sweeps: int,
    stage: int,
    **conditions,
) -> Iterator[tuple[int, UInt8[Array, "n *sites"], SampleInfo]]:
    """Yield (sweeps so far, states, info of this stage) every `stage` sweeps and after the last of `n_sweeps`.

    conditions: the keyword arguments of `sample`. Stage m draws its noise with fold_in(key, m), so a run depends on
    the stage length. Raises UserError as `sample` does, and for stage < 1.
    """
    if stage < 1:
        raise UserError(f"stage is {stage}; allowed: an integer, 1 or more")
    done = 0
    while done < n_sweeps or done == 0:
        sweeps = min(stage, n_sweeps - done)
        x, info = sample(jax.random.fold_in(key, done // stage), lattice, params, x, sweeps, **conditions)
        done += sweeps
        yield done, x, info


@functools.partial(jax.jit, static_argnames=("lattice", "n_sweeps", "engine"))
def _run(key, lattice, params, x, n_sweeps, engine, conditions):
    return _ENGINES[engine](key, lattice, params, x, n_sweeps, conditions)
