"""The gradient of a denoising machine: data against chains, first from noisy data, then from pure noise.

    positive phase   x^t ~ q(x^t | x) for t = 1 .. T                          grad of F(x | x^t, y, t)
    negative phase   v^t = k sweeps of machine t from x^t                     minus grad of F(v^t | x^t, y, t)
        recovery     x^t as in the positive phase
        trajectory   x^T uniform; x^(t-1) ~ q(x^(t-1) | v^t) for t = T .. 2

Recovery (the recovery likelihood of Gao et al. 2021) compares v and v^t at the same x^t, which takes most of the noise
out of the gradient, so it comes first. The trajectory starts where generation starts and sees its own mistakes, so the
last part of the training keeps errors from accumulating from level to level. Generation uses the same number k of
sweeps: the machine learns to be right after k sweeps, not in the limit (Nijkamp et al. 2019).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, Integer, Key, UInt8

from jaxgen.gibbs.bipartite import one_hot, product, sample_bipartite
from jaxgen.potts.denoising.machine import DenoisingMachine, Params, Statistics
from jaxgen.potts.denoising.noise import corrupt, indicators, log_odds_scale, signal, uniform_levels


def trajectory(
    key: Key[Array, ""],
    machine: DenoisingMachine,
    params: Params,
    statistics: Statistics,
    label: Integer[Array, " n"],
    ids: Integer[Array, " n"],
    sweeps: int,
) -> list[tuple[UInt8[Array, "n V"], UInt8[Array, "n V"]]]:
    """Return (v^t, x^t) for t = T .. 1 of n chains that start at uniform noise.

    A chain's noise depends on the key and on its global number in `ids` alone.
    """
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


def recovery(
    key: Key[Array, ""],
    machine: DenoisingMachine,
    params: Params,
    statistics: Statistics,
    noisy: list[UInt8[Array, "n V"]],
    label: Integer[Array, " n"],
    ids: Integer[Array, " n"],
    sweeps: int,
) -> list[tuple[UInt8[Array, "n V"], UInt8[Array, "n V"]]]:
    """Return (v^t, x^t) for t = 1 .. T of chains that start at the given noisy images x^1 .. x^T."""
    pairs = []
    for step, x in enumerate(noisy):
        logits = machine.apply({"params": params}, statistics, x, jnp.full(len(label), step), label, method="logits")
        key_sweeps = jax.random.fold_in(key, step)
        v = sample_bipartite(key_sweeps, *logits, x, sweeps, chain_ids=ids, dtype=machine.dtype)
        pairs.append((v, x))
    return pairs


def denoising_divergence(
    machine: DenoisingMachine,
    statistics: Statistics,
    sweeps: int,
    recovery_steps: int,
    encode: Callable[[Key[Array, ""], Array, Integer[Array, " n"]], UInt8[Array, "n V"]],
) -> Callable:
    """Return the gradient function of the mean over levels of F(data) - F(chains).

    Args:
        machine: the model.
        statistics: of `fit_statistics`.
        sweeps: k, the Gibbs sweeps per noise level, 1 or more.
        recovery_steps: number of first updates whose chains start at noisy data; later ones follow trajectories.
        encode: `encode(key, image, ids)` codes a batch as states; it draws where the coding is stochastic.

    Returns:
        `grad_fn(params, carry, key, batch)` for `training.make_train_step`; batch holds "image" (n, V), "label" (n,)
        and "position" (n,), carry the number of updates done, once per chain. Metric: "level_error", the mean absolute
        difference between the frequencies of levels 1 .. L-1 in data and chains.
    """
    alpha = jnp.asarray(signal(machine.n_steps))
    n_steps = machine.n_steps

    def grad_fn(params: Params, carry: Int[Array, " n"], key: Key[Array, ""], batch: dict[str, Array]):
        ids, label = batch["position"], batch["label"].astype(jnp.int32)
        key_code, key_noise, key_chains = jax.random.split(key, 3)
        v = encode(key_code, batch["image"], ids)
        noisy = [corrupt(jax.random.fold_in(key_noise, t), ids, v, alpha[t], machine.levels) for t in range(n_steps)]
        pairs = jax.lax.cond(
            carry[0] < recovery_steps,
            lambda: recovery(key_chains, machine, params, statistics, noisy, label, ids, sweeps),
            lambda: trajectory(key_chains, machine, params, statistics, label, ids, sweeps)[::-1],
        )
        grads = free_energy_gap_gradient(machine, params, statistics, [(v, x) for x in noisy], pairs, label)
        counts = [(states[..., None] == jnp.arange(1, machine.levels)).mean(0) for states in (v, pairs[0][0])]
        return grads, carry + 1, {"level_error": jnp.abs(counts[0] - counts[1]).mean()}

    return grad_fn


def free_energy_gap_gradient(
    machine: DenoisingMachine,
    params: Params,
    statistics: Statistics,
    data: list[tuple[UInt8[Array, "n V"], UInt8[Array, "n V"]]],
    chains: list[tuple[UInt8[Array, "n V"], UInt8[Array, "n V"]]],
    label: Integer[Array, " n"],
) -> Params:
    """Return the gradient of mean_t [mean of F(v | x^t, y, t) over the data - its mean over the chains].

    It is written out, since every term is a difference of moments, with s_i = [v_i = level] and m_j = p(h_j = 1 | v):

        dF/dW = - (s - mu)(m - 1/2)     dF/dU = - u (m - 1/2)     dF/dD = - u (s - mu)
        dF/db = dF/dB = - s             dF/dc = dF/dC = - m

    This takes a third of the time of autodiff, whose matrix products have a transposed first factor. The factors have
    the machine's `dtype` (states are exact in bfloat16), the sums are float32.

    Args:
        machine, params, statistics: the model.
        data, chains: pairs (v, x^t) for noise levels 1 .. T.
        label: class of each row.
    """
    n, n_steps = len(label), machine.n_steps
    dtype, shape = machine.dtype, params["weight"].shape
    mean = statistics.mean.reshape(-1)
    weight, input_weight = (params[name].reshape(-1, machine.n_hidden) for name in ("weight", "input_weight"))
    scale = log_odds_scale(signal(n_steps), machine.levels)
    is_label = jax.nn.one_hot(label, machine.n_classes)
    grads = {name: [] for name in ("input_gain", "visible_label", "hidden_label")}
    rows = {name: [] for name in ("weight", "input_weight")}  # what the states and the inputs are multiplied with
    shift_visible, shift_hidden, shift_input = 0.0, 0.0, 0.0
    for t in range(n_steps):
        offset = params["hidden_bias"] + params["hidden_label"][t][label] - mean @ weight
        moments = []
        for (v, x), sign in ((data[t], 1.0), (chains[t], -1.0)):
            states = one_hot(v, machine.levels)
            u = scale[t] * (indicators(x, machine.levels) - statistics.noisy_mean[t])
            pull = product(states.reshape(n, -1).astype(dtype), weight.astype(dtype))
            pull = pull + product(u.reshape(n, -1).astype(dtype), input_weight.astype(dtype))
            m = jax.nn.sigmoid(offset + pull)
            rows["weight"].append(sign * m)
            rows["input_weight"].append(sign * scale[t] * (m - 0.5))
            moments.append((states, m, (u * (states - statistics.mean)).mean(0)))
        (data_states, data_m, data_gain), (states, m, gain) = moments
        difference, difference_m = data_states - states, data_m - m
        shift_visible = shift_visible + difference.mean(0)
        shift_hidden = shift_hidden + difference_m.mean(0)
        shift_input = shift_input + scale[t] * jnp.outer(statistics.noisy_mean[t].reshape(-1), difference_m.mean(0))
        grads["input_gain"].append(data_gain - gain)
        by_label = is_label.T @ difference.reshape(n, -1) / n
        grads["visible_label"].append(by_label.reshape(-1, *shape[:2]))
        grads["hidden_label"].append(is_label.T @ difference_m / n)
    pairs = [pair for level in zip(data, chains, strict=True) for pair in level]
    states, inputs = (jnp.concatenate([pair[k].T for pair in pairs], axis=1) for k in (0, 1))  # (V, 2 T n)
    by_weight, by_input = (jnp.concatenate(rows[name]).astype(dtype) for name in ("weight", "input_weight"))
    moment = product(_level_rows(states, machine.levels, dtype), by_weight) / n
    moment = moment - jnp.outer(mean, shift_hidden) - 0.5 * shift_visible.reshape(-1, 1)
    zero = (inputs == 0).astype(dtype)[:, None]
    is_level = _level_rows(inputs, machine.levels, dtype).reshape(*shape[:2], -1)
    input_moment = product((is_level - zero).reshape(-1, is_level.shape[-1]), by_input) / n - shift_input
    result = {
        "weight": moment.reshape(shape),
        "input_weight": input_moment.reshape(shape),
        "input_gain": sum(grads["input_gain"]),
        "visible_bias": shift_visible,
        "hidden_bias": shift_hidden,
        "visible_label": jnp.stack(grads["visible_label"]),
        "hidden_label": jnp.stack(grads["hidden_label"]),
    }
    return jax.tree.map(lambda moment: -moment / n_steps, result)


def _level_rows(states: UInt8[Array, "V n"], levels: int, dtype: DTypeLike) -> Float[Array, "V*({levels}-1) n"]:
    """Return the indicators of levels 1 .. L-1 as rows, the layout in which matrix products are fastest."""
    is_level = states[:, None, :] == jnp.arange(1, levels, dtype=states.dtype)[:, None]
    return is_level.astype(dtype).reshape(-1, states.shape[1])
