"""Contrastive divergence for the Potts model (Hinton 2002, eq. 5; persistent chains: Younes 1989, Tieleman 2008).

    d log p(x) / d theta  =  beta ( < s >_data - < s >_model )                      s: sufficient statistics
    CD-k:  < s >_model ~ mean of s after k Gibbs sweeps started at the data
    PCD-k: < s >_model ~ mean of s over chains that go on from step to step, k sweeps per step

The gradient returned is that of the loss - log p(x), which an optimiser descends. Sampling, both phases, the gradient
and the update of the optimiser are traced together and compiled to one XLA executable.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Integer, PRNGKeyArray, UInt8

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.model import label_field
from jaxgen.potts.statistics import mean_statistics
from jaxgen.training.parallel import mean_over_devices


@dataclasses.dataclass(frozen=True)
class ContrastiveSettings:
    """The settings of the negative phase.

    Attributes:
        sweeps: k >= 1, Gibbs sweeps per training step.
        persistent: True for PCD, whose chains go on from step to step; False for CD. It must agree with the carry:
            chains of `persistent_chains` for PCD, None for CD.
        engine: one of `gibbs.ENGINES`.
        beta: inverse temperature > 0.
    """

    sweeps: int = 1
    persistent: bool = False
    engine: str = "lattice"
    beta: Float[ArrayLike, ""] = 1.0


def persistent_chains(
    key: PRNGKeyArray, x: UInt8[Array, "n H W"], n_chains: int, label: Integer[Array, "n"] | None = None
) -> dict:
    """Return the carry of PCD: `n_chains` chains that start at examples.

    The examples are drawn without replacement, or with it if there are fewer examples than chains. With labels the
    chains are spread evenly over the classes that occur, and the chains of a class are weighted by (share of the class
    in the data) / (its share of the chains), so that the negative statistics are those of p(x | y) p_data(y).

    Args:
        key: random key.
        x: the examples, states 0 .. L - 1.
        n_chains: 1 or more; with labels at least the number of classes that occur.
        label: the class of every example, a concrete array.

    Raises:
        UserError: too few chains.
    """
    ids = jnp.arange(n_chains, dtype=jnp.uint32)
    if label is None:
        if n_chains < 1:
            raise UserError(f"chains is {n_chains}; allowed: an integer, 1 or more")
        chosen = jax.random.choice(key, len(x), (n_chains,), replace=n_chains > len(x))
        return {"chains": x[chosen], "chain_id": ids}
    present, counts = np.unique(np.asarray(label), return_counts=True)
    if n_chains < len(present):
        raise UserError(f"chains is {n_chains}; allowed: {len(present)} or more, the number of classes in the data")
    place = np.arange(n_chains) % len(present)
    of_data = counts.astype(np.float32) / np.float32(len(label))
    of_chains = np.bincount(place).astype(np.float32) / np.float32(n_chains)
    chain_label = jnp.asarray(present[place], jnp.uint8)
    logits = jnp.where(chain_label[:, None] == label, 0.0, -jnp.inf)
    chosen = jax.random.categorical(key, logits)
    return {
        "chains": x[chosen],
        "chain_id": ids,
        "label": chain_label,
        "weight": jnp.asarray((of_data / of_chains)[place]),
    }


def contrastive_divergence(
    model: nn.Module, settings: ContrastiveSettings, centre: dict | None = None
) -> Callable[..., tuple[dict, dict | None, dict]]:
    """Return a `grad_fn(params, carry, key, batch) -> (grads, carry, metrics)` for the common training step.

    Args:
        model: the model.
        settings: the settings of the negative phase.
        centre: frequencies of the data shaped like `params`; if given, the gradient is that of the centred model, see
            `centred`.

    Returns:
        The gradient function. Its batch is {"image": states uint8 (n, H, W), "position": global number of each
        example, "label": (n,) if the model has classes}; its carry is `persistent_chains(...)` for PCD and None for CD.
        Its metrics are the mean energies of data and samples, their difference, and `lag_autocorrelation`, the
        correlation of the chains before and after the k sweeps (1: no site changed; 0: independent).

    Raises:
        UserError: while tracing, a carry that does not agree with `settings.persistent`.
    """
    lattice = model.lattice

    def grad_fn(params, carry, key, batch):
        if settings.persistent != (carry is not None):
            given = "None" if carry is None else "persistent chains"
            raise UserError(
                f"carry is {given} with persistent={settings.persistent}; allowed: persistent_chains(...) with "
                "persistent=True, None with persistent=False"
            )
        data, label = batch["image"], batch.get("label")
        chains = carry or {"chains": data, "chain_id": batch["position"], "label": label}
        chain_label = chains.get("label") if model.n_classes else None
        field = None if chain_label is None else label_field(params, chain_label)
        sampled, _ = gibbs.sample(
            key,
            lattice,
            params,
            chains["chains"],
            settings.sweeps,
            engine=settings.engine,
            beta=settings.beta,
            field=field,
            chain_ids=chains["chain_id"],
        )
        positive = mean_statistics(lattice, params, data, label)
        negative = mean_statistics(lattice, params, sampled, chain_label, _class_weight(model, chains))
        difference = jax.tree.map(lambda p, n: p - n, positive, negative)
        if centre is not None:
            difference = centred(lattice, difference, centre)
        grads = jax.tree.map(lambda d: -settings.beta * d, difference)
        data_energy, sample_energy = -_inner(params, positive), -_inner(params, negative)
        metrics = {
            "data_energy": data_energy,
            "sample_energy": sample_energy,
            "energy_gap": sample_energy - data_energy,
            "lag_autocorrelation": _overlap_correlation(chains["chains"], sampled, negative["bias"]),
        }
        return grads, carry and carry | {"chains": sampled}, metrics

    return grad_fn


def decay_couplings(tx: optax.GradientTransformation, l2: float) -> optax.GradientTransformation:
    """Return `tx` applied to the gradient of the loss plus (l2 / 2) |couplings|^2; biases do not decay.

    The decay has no state, so the state is that of `tx`. UserError for a negative l2.
    """
    if l2 < 0:
        raise UserError(f"l2 is {l2}; allowed: a number, 0 or more")
    if l2 == 0:
        return tx
    decay = optax.add_decayed_weights(l2, mask=lambda params: {name: name != "bias" for name in params})

    def update(grads, state, params=None):
        grads, _ = decay.update(grads, decay.init(params), params)
        return tx.update(grads, state, params)

    return optax.GradientTransformation(tx.init, update)


def centred(lattice: gibbs.Lattice, difference: dict, centre: dict) -> dict:
    """Return the enhanced gradient, that of E(x) = - sum b_i[x_i] - sum (e(x_i) - mu_i)' W_ij (e(x_j) - mu_j).

    mu = centre["bias"] are the site marginals of the data.

        dW_ij <- dW_ij - mu_i db_j' - db_i mu_j'          db_i <- db_i - sum_j dW_ij mu_j     (with the new dW_ij)

    It is invariant under relabelling of levels and better conditioned (Cho, Raiko and Ilin 2011; Montavon and Mueller
    2012), and has the fixed points of the plain gradient. Labels are centred on the shares of their classes in the same
    way.

    Raises:
        UserError: a `gibbs.Graph` in place of a lattice.
    """
    if isinstance(lattice, gibbs.Graph):
        raise UserError("centre is for models on a lattice; allowed on a Graph: None")
    mu, db = centre["bias"], difference["bias"]
    levels = mu.shape[-1]
    shift = jnp.zeros((lattice.n_sites, levels))
    pairs = []
    for k, offset in enumerate(lattice.offsets):
        source, target = lattice.edges(offset)
        mu_i, mu_j, db_i, db_j = (a.reshape(-1, levels)[end] for a in (mu, db) for end in (source, target))
        product = jnp.einsum("ea,eb->eab", mu_i, db_j) + jnp.einsum("ea,eb->eab", db_i, mu_j)
        if gibbs.is_tied(difference):
            # dW_ij = dw delta(a, b) for the one shared strength
            dw = difference["coupling"][k] - jnp.einsum("eaa->", product)
            pairs.append(dw)
            shift = shift.at[source].add(dw * mu_j).at[target].add(dw * mu_i)
        else:
            dw = difference["coupling"][gibbs.offset_name(offset)]
            dw = dw - product.reshape(dw.shape)
            pairs.append(dw)
            flat = dw.reshape(-1, levels, levels)
            shift = shift.at[source].add(jnp.einsum("eab,eb->ea", flat, mu_j))
            shift = shift.at[target].add(jnp.einsum("eab,ea->eb", flat, mu_i))
    coupling = (
        jnp.stack(pairs)
        if gibbs.is_tied(difference)
        else {gibbs.offset_name(o): dw for o, dw in zip(lattice.offsets, pairs, strict=True)}
    )
    centred_difference = {"coupling": coupling}
    if "label_coupling" in difference:
        share = centre["label_coupling"].sum((0, 1, 2)) / lattice.n_sites
        du = difference["label_coupling"] - db[..., None] * share
        centred_difference["label_coupling"] = du
        shift = shift + (du @ share).reshape(shift.shape)
    return centred_difference | {"bias": db - shift.reshape(db.shape)}


def _class_weight(model: nn.Module, chains: dict) -> Float[Array, "C"] | None:
    """Return the weight of each class, taken from its chains; a class without chains on this device contributes 0."""
    if chains.get("weight") is None:
        return None
    return jnp.zeros(model.n_classes).at[chains["label"]].set(chains["weight"])


def _inner(params: dict, statistics: dict) -> Float[Array, ""]:
    """Return <params, s> = - mean energy."""
    products = jax.tree.map(lambda p, s: (p * s).sum(), {k: params[k] for k in statistics}, statistics)
    return sum(jax.tree.leaves(products))


def _overlap_correlation(before, after, marginals) -> Float[Array, ""]:
    """Return (P(same) - P(same | independent)) / (1 - P(same | independent)), with the samples' own marginals."""
    if marginals.ndim == 1:  # means of spins
        marginals = jnp.stack([1 - marginals, 1 + marginals], -1) / 2
    same, marginals = mean_over_devices(((before == after).mean(), marginals))
    by_chance = (marginals**2).sum(-1).mean()
    return (same - by_chance) / jnp.maximum(1 - by_chance, 1e-6)
