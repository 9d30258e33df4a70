"""The arguments of `gibbs.sample`: checked, converted to arrays, and placed on the same devices.

Values are checked where they can be read: not those traced by jit, and not arrays spread over several processes.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxgen.errors import UserError
from jaxgen.gibbs.couplings import Params, check_params, n_levels
from jaxgen.gibbs.graph import Graph
from jaxgen.gibbs.graph_params import check_graph_params
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.types import Conditions

_MOST_CHAIN_ID = 2**32 - 1
_MOST_SWEEPS = 2**31 - 1  # of one call, counted in int32


def checked_arguments(
    lattice: Lattice | Graph, params: Params, x, beta=1.0, clamp=None, field=None, chain_ids=None
) -> tuple[Params, Array, Conditions]:
    """Return (params, x, conditions) as the engines take them. Raises UserError naming the argument."""
    if not isinstance(lattice, Lattice | Graph):
        raise UserError(
            f"lattice is {type_name(lattice)}; allowed: a gibbs.Lattice or a gibbs.Graph, such as "
            "gibbs.Graph(list(network.edges), n_sites) of a networkx graph with nodes 0 to n_sites - 1"
        )
    params = _checked_params(lattice, params)
    logits = params["bias"].shape
    if isinstance(lattice, Graph):
        image, levels = (lattice.n_sites,), lattice.levels
    else:
        image, levels = (lattice.height, lattice.width), n_levels(params)
    x = _checked_states(x, image, levels)
    n = len(x)
    clamp = None if clamp is None else as_array("clamp", clamp, f"bool {image} or {(n, *image)}")
    if clamp is not None and (clamp.dtype != bool or clamp.shape not in (image, (n, *image))):
        raise UserError(f"clamp is {clamp.dtype} {clamp.shape}; allowed: bool {image} or {(n, *image)}")
    field = None if field is None else as_array("field", field, f"real numbers of shape {logits} or {(n, *logits)}")
    if field is not None:
        if field.shape not in (logits, (n, *logits)):
            raise UserError(f"field has shape {field.shape}; allowed: {logits} or {(n, *logits)}")
        check_energies("field", field, forbids=len(params["bias"].shape) > 1)
        if field.ndim == len(logits):
            params, field = params | {"bias": params["bias"] + field}, None
    _check_some_level(lattice, params["bias"], field)
    return (
        params,
        x,
        Conditions(
            beta=checked_beta(beta),
            clamp=None if clamp is None else jnp.broadcast_to(clamp, x.shape),
            field=field,
            chain_ids=checked_chain_ids(chain_ids, n),
        ),
    )


def check_sweeps(n_sweeps) -> None:
    """Raise UserError if a number of sweeps is not an integer from 1 to 2^31 - 1."""
    if isinstance(n_sweeps, bool) or not isinstance(n_sweeps, int | np.integer) or not 1 <= n_sweeps <= _MOST_SWEEPS:
        raise UserError(f"n_sweeps is {n_sweeps!r}; allowed: an integer, 1 to {_MOST_SWEEPS}")


def check_key(key) -> None:
    """Raise UserError if `key` is not one random key, typed or, as older programs have them, of uint32 words."""
    if isinstance(key, jax.Array):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if key.shape == () if typed else (key.dtype == jnp.uint32 and key.ndim == 1):
            return
    elif isinstance(key, np.ndarray) and key.dtype == np.uint32 and key.ndim == 1:
        return
    got = f"{key.dtype} {key.shape}" if hasattr(key, "dtype") and hasattr(key, "shape") else type(key).__name__
    raise UserError(f"key is {got}; allowed: one key, jax.random.key(seed)")


def on_common_devices(tree):
    """Return the tree with all its arrays on the devices of the leaf that is on the most.

    Arrays that are there already keep their sharding, on a mesh whose axes are all of JAX's kind "auto", since the
    engines do not state the sharding of every intermediate array. The others are copied to every one of those devices.
    Where one device is enough, all arrays are bound to the device of the first leaf: JAX compiles once for bound
    arguments and once more for free ones.
    """
    shardings = [leaf.sharding for leaf in jax.tree.leaves(tree) if readable(leaf) and isinstance(leaf, jax.Array)]
    if not shardings:
        return tree
    widest = max(shardings, key=lambda sharding: len(sharding.device_set))  # the first of equals
    target = widest
    if len(widest.device_set) > 1:
        mesh = getattr(_automatic(widest), "mesh", None)
        if mesh is None:
            mesh = jax.sharding.Mesh(sorted(widest.device_set, key=lambda device: device.id), "devices")
        target = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def placed(leaf):
        if not readable(leaf):
            return leaf
        stays = isinstance(leaf, jax.Array) and leaf.sharding.device_set == widest.device_set
        return jax.device_put(leaf, _automatic(leaf.sharding) if stays and len(widest.device_set) > 1 else target)

    return jax.tree.map(placed, tree)


def _automatic(sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    """Return the same sharding on a mesh with automatic axes, as `jax.make_mesh` does not make them by default."""
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return sharding
    mesh = jax.sharding.Mesh(sharding.mesh.devices, sharding.mesh.axis_names)
    return jax.sharding.NamedSharding(mesh, sharding.spec)


def readable(value) -> bool:
    """Return whether this process can read the value now; a traced value cannot be read."""
    return not isinstance(value, jax.core.Tracer) and getattr(value, "is_fully_addressable", True)


def _checked_params(lattice: Lattice | Graph, params) -> Params:
    if not isinstance(params, Mapping) or {"bias", "coupling"} - set(params):
        got = f"has entries {sorted(params)}" if isinstance(params, Mapping) else f"is {type(params).__name__}"
        raise UserError(f"params {got}; allowed: a mapping with 'bias' and 'coupling'")
    coupling = params["coupling"]
    if isinstance(coupling, Mapping):
        coupling = {name: as_array(f"params['coupling'][{name!r}]", coupling[name]) for name in coupling}
    else:
        coupling = as_array("params['coupling']", coupling)
    core = {"bias": as_array("params['bias']", params["bias"]), "coupling": coupling}
    (check_graph_params if isinstance(lattice, Graph) else check_params)(lattice, core)
    for path, leaf in jax.tree_util.tree_leaves_with_path(core):
        check_energies(f"params{jax.tree_util.keystr(path)}", leaf, forbids=core["bias"].ndim > 1)
    return core


def _checked_states(x, image: tuple[int, ...], levels):
    x = as_array("x", x, f"uint8 (n, {', '.join(map(str, image))})")
    if x.dtype != jnp.uint8 or x.ndim != len(image) + 1 or x.shape[1:] != image or len(x) < 1:
        raise UserError(
            f"x is {x.dtype} {x.shape}; allowed: uint8 (n, {', '.join(map(str, image))}) with n of 1 or more"
        )
    check_levels(x, levels)
    return x


def check_levels(x, levels) -> None:
    """Raise UserError if a state is not below the number of levels, one for all sites or one per site."""
    if not readable(x):
        return
    x = np.asarray(x)
    beyond = x >= levels
    if x.dtype.kind != "u":
        beyond |= x < 0
    if beyond.any():
        place = tuple(np.argwhere(beyond)[0])
        most = np.broadcast_to(levels, x.shape)[place] - 1
        where = "" if np.ndim(levels) == 0 else f" at site {place[-1]}"
        raise UserError(f"x has a state of {x[place]}{where}; allowed{where and ' there'}: 0..{most}")


def checked_beta(beta) -> Array:
    """Return an inverse temperature as float32. UserError unless it is one finite number, 0 or more."""
    beta = as_array("beta", beta, "one finite number, 0 or more")
    if beta.shape != () or not is_real(beta):
        raise UserError(f"beta is {beta.dtype} {beta.shape}; allowed: one finite number, 0 or more")
    if readable(beta):
        with np.errstate(over="ignore"):
            value = np.asarray(beta).astype(np.float32)
        if not np.isfinite(value) or value < 0:
            raise UserError(f"beta is {np.asarray(beta)}; allowed: 0 or more, finite in float32")
    return jnp.asarray(beta, jnp.float32)


def checked_chain_ids(chain_ids, n: int) -> Array:
    """Return the numbers of n chains as uint32, by default 0 .. n - 1. UserError if they do not fit or repeat."""
    if chain_ids is None:
        return jnp.arange(n, dtype=jnp.uint32)
    chain_ids = as_array("chain_ids", chain_ids, f"integers of shape ({n},)")
    if chain_ids.shape != (n,) or not jnp.issubdtype(chain_ids.dtype, jnp.integer):
        raise UserError(f"chain_ids is {chain_ids.dtype} {chain_ids.shape}; allowed: integers of shape ({n},)")
    if readable(chain_ids):
        numbers, count = np.unique(np.asarray(chain_ids), return_counts=True)
        if int(numbers[0]) < 0 or int(numbers[-1]) > _MOST_CHAIN_ID:
            raise UserError(f"chain_ids has {numbers[0]}..{numbers[-1]}; allowed: 0..{_MOST_CHAIN_ID}")
        if count.max() > 1:
            raise UserError(f"chain_ids repeats {numbers[count.argmax()]}; allowed: every number once")
    return chain_ids.astype(jnp.uint32)


def check_energies(name: str, value, forbids: bool = True) -> None:
    """Raise UserError unless biases, couplings or fields are real and finite; if `forbids`, -inf forbids levels."""
    if not is_real(value):
        raise UserError(f"{name} has dtype {value.dtype}; allowed: real numbers")
    if readable(value):
        with np.errstate(over="ignore"):
            value = np.asarray(value).astype(np.float32)
        if np.isnan(value).any() or (value == np.inf).any():
            raise UserError(f"{name} has an entry that is NaN or +inf; allowed: finite, or -inf for forbidden")
        if not forbids and (value == -np.inf).any():
            raise UserError(
                f"{name} has an entry of -inf, which multiplies spins and forbids no level; allowed: finite numbers. "
                "Forbid levels in params['bias'] of shape (n, 2) with one 2 x 2 matrix per edge"
            )


def _check_some_level(lattice: Lattice | Graph, bias, field) -> None:
    """Refuse a site all of whose levels are forbidden by its bias and field: it has no state."""
    if bias.ndim == 1 or not readable(bias) or not readable(field):  # spins have no level to forbid
        return
    allowed = np.asarray(bias) > -np.inf
    if field is not None:
        allowed = allowed & (np.asarray(field) > -np.inf)
    if isinstance(lattice, Graph):  # entries beyond the levels of a site are not read
        allowed = allowed & (np.arange(allowed.shape[-1]) < np.asarray(lattice.levels)[:, None])
    if not allowed.any(-1).all():
        site = tuple(int(k) for k in np.argwhere(~allowed.any(-1))[0])
        raise UserError(
            f"bias and field forbid (-inf) every level of site {site}; allowed: at least one level per site"
        )


def is_real(value) -> bool:
    """Return whether the values are floating-point numbers or integers."""
    return jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)


def type_name(value) -> str:
    """Return the name of the type of a value, with its module unless it is built in."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def as_array(name: str, value, allowed: str = "an array"):
    """Return an array as it is, and a number or nested lists as a numpy array."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return value
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = None
    if array is None or array.dtype == object:
        raise UserError(f"{name} is {type_name(value)}; allowed: {allowed}")
    return array
