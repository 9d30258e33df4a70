"""The step on all devices at once: the only file that maps over devices.

Parameters, optimiser state, moving average, step and key are copies, one per device, stacked on a leading axis; carry
and batch are split. The data lie on every device and a step is sent only the indices of its examples, from which
each device gathers its share. `batch["position"]` is the place of an example in the whole batch: noise keyed by it does
not depend on the number of devices.

With several processes the devices are those of all of them, in the order of the processes; every process passes and
gets the rows of its own devices.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jaxtyping import Array, Int, Integer, PyTree

from jaxgen.errors import UserError
from jaxgen.runs.processes import bytes_from_first, several
from jaxgen.training.state import TrainState, data_to_keys, keys_to_data
from jaxgen.training.step import Decay, GradFn, Metrics, make_train_step

AXIS = "devices"

Data = dict[str, Array]
ParallelStep = Callable[[TrainState, Data, Int[np.ndarray, "devices local"]], tuple[TrainState, Metrics]]


def parallel_step(
    grad_fn: GradFn,
    tx: optax.GradientTransformation,
    ema_decay: Decay | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> ParallelStep:
    """Return `make_train_step` mapped over `devices` (default: all): `(state, data, index) -> (state, metrics)`.

    `grad_fn` sees the batch `{name: data[name][index]}` with "position" uint32 (batch / devices,) added. The returned
    step takes `state` of `replicate_state`, donated except on CPUs, so use only what comes back; `data` of
    `replicate_data`; `index` int32 (devices, batch / devices) of `shard_index`. Its metrics are scalars.

    Args:
        grad_fn: see `make_train_step`; `axis_name` there is AXIS, or None for one device.
        tx: the optimiser.
        ema_decay: of `make_train_step`, for a state made with ema=True.
        devices: default, all of all processes.
    """
    devices = _devices(devices)
    # XLA's CPU copies every gradient for a mean over one device, and every donated array before it is overwritten: of a
    # step with 4.4 million parameters, 90 ms with both, 55 ms with neither.
    axis_name = AXIS if len(devices) > 1 else None
    donated = () if devices[0].platform == "cpu" else (0,)
    step = make_train_step(grad_fn, tx, axis_name=axis_name, ema_decay=ema_decay)

    def device_step(state: TrainState, data: Data, index: Integer[Array, " local"]) -> tuple[TrainState, Metrics]:
        batch = {name: array[index] for name, array in data.items()}
        local = jnp.arange(index.shape[0], dtype=jnp.uint32)
        batch["position"] = jax.lax.axis_index(AXIS).astype(jnp.uint32) * index.shape[0] + local
        return step(state, batch)

    return jax.pmap(device_step, axis_name=AXIS, devices=devices, donate_argnums=donated, out_axes=(0, None))


def mean_over_devices(tree: PyTree) -> PyTree:
    """Return the mean over all devices of a parallel step, called in its grad_fn; elsewhere the tree itself.

    Metrics are averaged over devices by the step. One that is no mean itself, such as a correlation, is computed from
    these means, so that it does not depend on the number of devices.
    """
    try:
        devices = jax.lax.psum(1, AXIS)
    except NameError:  # no such axis: the plain step, or a single call
        return tree
    return tree if devices == 1 else jax.lax.pmean(tree, AXIS)


def any_process() -> Callable[[bool], Int[Array, ""]]:
    """Return a function that tells every process whether any of them passed True.

    All must call it, and none waits for it.
    """
    any_device = jax.pmap(lambda flag: jax.lax.pmax(flag, AXIS), axis_name=AXIS, devices=_devices(None), out_axes=None)
    return lambda flag: any_device(np.full(jax.local_device_count(), flag, np.int32))


def replicate_state(state: TrainState, devices: Sequence[jax.Device] | None = None) -> TrainState:
    """Return a state laid out for `parallel_step`: one copy per device, carry (n, ...) as (devices, n / devices, ...).

    UserError if a leaf of the carry does not divide by the number of devices.
    """
    devices = _devices(devices)
    require_divisible(state.carry, devices)
    arrays = keys_to_data(state)
    carry = jax.tree.map(lambda x: _split(x, devices), arrays.carry)
    shared = jax.tree.map(lambda x: _copies(x, devices), arrays.replace(carry=None))
    return data_to_keys(shared.replace(carry=carry), like=state)


def unreplicate_state(stacked: TrainState) -> TrainState:
    """Return the plain state on the first device, the carry in global order, (n, ...).

    The arrays are copies, safe from donation.

    With several processes all must call it, since each holds a part of the carry.
    """
    arrays = keys_to_data(stacked)
    first = _drop_axis(jax.tree.map(lambda x: x.addressable_data(0), arrays.replace(carry=None)))
    return data_to_keys(first.replace(carry=jax.tree.map(_join, arrays.carry)), like=stacked)


def replicate_data(data: dict[str, Array | np.ndarray], devices: Sequence[jax.Device] | None = None) -> Data:
    """Return a dict of arrays (N, ...) copied to every device of this process, each (devices, N, ...)."""
    return {name: _copies(array, _devices(devices)) for name, array in data.items()}


def shard_index(
    index: Integer[np.ndarray, " batch"], devices: Sequence[jax.Device] | None = None
) -> Int[np.ndarray, "devices local"]:
    """Return the batch indices, one row per device of this process; UserError unless all devices divide the batch."""
    devices = _devices(devices)
    count = len(devices)
    if len(index) % count or not len(index):
        raise UserError(f"batch_size is {len(index)} on {count} devices; allowed: a multiple of {count}")
    return np.asarray(index, np.int32).reshape(count, -1)[_local_rows(devices)]


def require_divisible(carry: PyTree, devices: Sequence[jax.Device] | None = None) -> None:
    """Raise UserError naming a leaf of the carry whose leading axis does not divide by the number of devices."""
    count = len(_devices(devices))
    for path, leaf in jax.tree_util.tree_leaves_with_path(keys_to_data(carry)):
        if leaf.ndim == 0 or leaf.shape[0] % count:
            raise UserError(
                f"carry{jax.tree_util.keystr(path)} has shape {leaf.shape} on {count} devices; allowed: a leading axis "
                f"(batch_size or chains) that is a multiple of {count}"
            )


def tree_from_first(tree: PyTree) -> PyTree:
    """Return the arrays of process 0 in a tree with the same structure, shapes and dtypes everywhere, bit for bit."""
    if not several():
        return tree
    leaves, structure = jax.tree.flatten(keys_to_data(tree))
    hosts = [np.asarray(leaf) for leaf in leaves]
    content = bytes_from_first(b"".join(host.tobytes() for host in hosts))
    received, offset = [], 0
    for host in hosts:
        piece = np.frombuffer(content, host.dtype, host.size, offset).reshape(host.shape)
        received.append(jnp.array(piece))
        offset += host.nbytes
    return data_to_keys(jax.tree.unflatten(structure, received), like=tree)


def _devices(devices: Sequence[jax.Device] | None) -> list[jax.Device]:
    return list(devices or sorted(jax.devices(), key=lambda device: (device.process_index, device.id)))


def _local_rows(devices: Sequence[jax.Device]) -> list[int]:
    """Return which of all rows, one per device, this process holds."""
    return [row for row, device in enumerate(devices) if device.process_index == jax.process_index()]


def _place(rows: Callable[[int], np.ndarray], shape: tuple[int, ...], devices: Sequence[jax.Device]) -> Array:
    """Return an array (local devices, *shape) with rows(d) on device d of all, which is never whole on the host."""
    local = _local_rows(devices)
    mesh = jax.sharding.Mesh(np.asarray([devices[row] for row in local]), (AXIS,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
    shape = (len(local), *shape)
    return jax.make_array_from_callback(shape, sharding, lambda place: rows(local[place[0].indices(shape[0])[0]])[None])


def _copies(x: Array | np.ndarray, devices: Sequence[jax.Device]) -> Array:
    # np.array, not asarray: a view of a JAX buffer could be donated and overwritten under its owner.
    host = np.array(x)
    return _place(lambda row: host, host.shape, devices)


def _split(x: Array, devices: Sequence[jax.Device]) -> Array:
    host = np.array(x)
    rows = host.reshape(len(devices), -1, *host.shape[1:])
    return _place(lambda row: rows[row], rows.shape[1:], devices)


def _join(x: Array) -> Array:
    rows = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    local = np.concatenate([np.asarray(row.data)[0] for row in rows])
    if jax.process_count() == 1:
        return jnp.asarray(local)
    return jnp.asarray(multihost_utils.process_allgather(local, tiled=True))


@jax.jit
def _drop_axis(tree: PyTree) -> PyTree:
    """Return x[0] of single-device arrays (1, ...), in one dispatch per tree and without traffic between devices."""
    return jax.tree.map(lambda x: x[0], tree)
