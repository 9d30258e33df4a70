"""Contrastive divergence for the restricted Potts machine (Hinton 2002; persistent chains: Tieleman 2008).

    grad of - log p(v)  =  < grad F >_data - < grad F >_model
    CD-k:  < grad F >_model ~ mean over chains after k Gibbs sweeps started at the data
    PCD-k: < grad F >_model ~ mean over chains that go on from step to step, k sweeps per step

F sums the hidden units exactly, so neither phase draws them for the gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key, PyTree, UInt8

from jaxgen.gibbs.bipartite import sample_bipartite
from jaxgen.potts.restricted.machine import Params, RestrictedPotts
from jaxgen.training.parallel import mean_over_devices


def sweep_machine(
    key: Key[Array, ""],
    machine: RestrictedPotts,
    params: Params,
    mean: Float[Array, "V L1"],
    v: UInt8[Array, "n V"],
    n_sweeps: int,
    chain_ids: Integer[Array, "n"] | None = None,
) -> UInt8[Array, "n V"]:
    """Return the states after `n_sweeps` Gibbs sweeps.

    A chain's noise depends on the key and on its global number in `chain_ids` (by default its row) alone.
    """
    weight, visible, hidden = machine.apply({"params": params}, mean, method="logits")
    fields = (jnp.broadcast_to(field, (len(v), *field.shape)) for field in (visible, hidden))
    return sample_bipartite(key, weight, *fields, v, n_sweeps, chain_ids=chain_ids, dtype=machine.dtype)


def restricted_divergence(
    machine: RestrictedPotts,
    mean: Float[Array, "V L1"],
    sweeps: int,
    encode: Callable[[Key[Array, ""], Array, Integer[Array, "n"]], UInt8[Array, "n V"]],
) -> Callable:
    """Return the gradient function of F(data) - F(chains).

    Args:
        machine: the model.
        mean: mu, the frequency of levels 1 .. L-1 of each unit in the data.
        sweeps: k, the Gibbs sweeps per step, 1 or more.
        encode: `encode(key, image, ids)` codes a batch as states; it draws where the coding is stochastic.

    Returns:
        `grad_fn(params, carry, key, batch)` for `training.make_train_step`; batch holds "image" (n, V) and "position"
        (n,), carry is {"chains": (m, V), "chain_id": (m,)} for PCD and None for CD. Metrics: "energy_gap", the mean of
        F(data) - F(chains); "level_error", the mean absolute difference between the frequencies of levels 1 .. L-1 in
        data and chains.
    """

    def grad_fn(params: Params, carry: PyTree, key: Key[Array, ""], batch: dict[str, Array]):
        key_code, key_chains = jax.random.split(key)
        data = encode(key_code, batch["image"], batch["position"])
        start = carry or {"chains": data, "chain_id": batch["position"]}
        chains = sweep_machine(key_chains, machine, params, mean, start["chains"], sweeps, start["chain_id"])
        both, n = jnp.concatenate([data, chains]), len(data)

        def gap(params: Params) -> Float[Array, ""]:
            free = machine.apply({"params": params}, mean, both)
            return free[:n].mean() - free[n:].mean()

        value, grads = jax.value_and_grad(gap)(params)
        counts = [(v[..., None] == jnp.arange(1, machine.levels)).mean(0) for v in (data, chains)]
        error = jnp.abs(mean_over_devices(counts[0] - counts[1])).mean()
        return grads, carry and carry | {"chains": chains}, {"energy_gap": value, "level_error": error}

    return grad_fn
