"""The gradient of a denoising machine: data against the machine's own trajectory from noise.

    positive phase   x^t ~ q(x^t | x) for t = 1 .. T                          grad of F(x | x^t, y, t)
    negative phase   x^T uniform; for t = T .. 1: v^t = k sweeps of machine t from x^t,
                     x^(t-1) ~ q(x^(t-1) | v^t)                               minus grad of F(v^t | x^t, y, t)

The chains start where generation starts and see their own mistakes, so errors do not pile up when the levels follow one
another; with chains that start at noisy data (recovery likelihood, Gao et al. 2021) they do. k is the number of sweeps
that generation uses as well: the machine learns to be right after k sweeps, not in the limit (Nijkamp et al. 2019).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from jaxgen.gibbs.bipartite import sample_bipartite
from jaxgen.potts.denoising.machine import DenoisingMachine, Params, Statistics
from jaxgen.potts.denoising.noise import corrupt, signal, uniform_levels


def trajectory(
    key: Key[Array, ""],
    machine: DenoisingMachine,
    params: Params,
    statistics: Statistics,
    label: Int[Array, " n"],
    ids: Int[Array, " n"],
    sweeps: int,
) -> list[tuple[UInt8[Array, "n V"], UInt8[Array, "n V"]]]:
    """Return (v^t, x^t) for t = T .. 1 of n chains from uniform noise, noise keyed by the chain's global number."""
    alpha = signal(machine.n_steps)
    key_start, key_levels = jax.random.split(key)
    x = uniform_levels(key_start, ids, machine.n_pixels, machine.levels)
    pairs = []
    for step in reversed(range(machine.n_steps)):
        key_sweeps, key_noise = jax.random.split(jax.random.fold_in(key_levels, step))
        steps = jnp.full(len(label), step)
        logits = machine.apply({"params": params}, statistics, x, steps, label, method="logits")
        v = sample_bipartite(key_sweeps, *logits, x, sweeps, chain_ids=ids, dtype=machine.dtype)
        pairs.append((v, x))
        x = corrupt(key_noise, ids, v, alpha[step - 1], machine.levels) if step else v
    return pairs


def denoising_divergence(
    machine: DenoisingMachine,
    statistics: Statistics,
    sweeps: int,
    encode: Callable[[Key[Array, ""], Array, Int[Array, " n"]], UInt8[Array, "n V"]],
) -> Callable:
    """Return the gradient function of the mean over levels of F(data) - F(trajectory).

    Args:
        machine: the model.
        statistics: of `fit_statistics`.
        sweeps: k, of each level.
        encode: `encode(key, image, ids)` codes a batch as states; it draws where the coding is stochastic.

    Returns:
        `grad_fn(params, carry, key, batch)` for `training.make_train_step`; batch holds "image" (n, V), "label" (n,)
        and "position" (n,). Metrics: "energy_gap", the mean of F(data) - F(trajectory); "level_error", the mean
        absolute difference between the frequencies of levels 1 .. L-1 in data and trajectory.
    """
    alpha = jnp.asarray(signal(machine.n_steps))
    n_steps = machine.n_steps

    def grad_fn(params: Params, carry: PyTree, key: Key[Array, ""], batch: dict[str, Array]):
        ids, label = batch["position"], batch["label"].astype(jnp.int32)
        key_code, key_noise, key_chains = jax.random.split(key, 3)
        x = encode(key_code, batch["image"], ids)
        noisy = [corrupt(jax.random.fold_in(key_noise, t), ids, x, alpha[t], machine.levels) for t in range(n_steps)]
        pairs = trajectory(key_chains, machine, params, statistics, label, ids, sweeps)[::-1]
        step = jnp.repeat(jnp.arange(n_steps), len(x))
        labels = jnp.tile(label, n_steps)
        data = jnp.tile(x, (n_steps, 1)), jnp.concatenate(noisy)
        chains = tuple(jnp.concatenate(part) for part in zip(*pairs, strict=True))

        def gap(params: Params) -> Float[Array, ""]:
            free = [machine.apply({"params": params}, statistics, *part, step, labels) for part in (data, chains)]
            return free[0].mean() - free[1].mean()

        value, grads = jax.value_and_grad(gap)(params)
        counts = [(v[..., None] == jnp.arange(1, machine.levels)).mean(0) for v in (data[0], chains[0])]
        return grads, carry, {"energy_gap": value, "level_error": jnp.abs(counts[0] - counts[1]).mean()}

    return grad_fn
