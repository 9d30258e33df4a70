"""Contrastive divergence for the Potts model (Hinton 2002, eq. 5; persistent chains: Younes 1989, Tieleman 2008).

    d log p(x) / d theta  =  beta ( < s >_data - < s >_model )                      s: sufficient statistics
    CD-k:  < s >_model ~ mean of s after k Gibbs sweeps started at the data
    PCD-k: < s >_model ~ mean of s over chains that go on from step to step, k sweeps a step

The gradient returned is of the loss - log p(x) + (l2 / 2) |couplings|^2, so an optimiser descends it. Sampling, both
phases, gradient and the optimiser's update are one traced function, hence one XLA executable.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, PRNGKeyArray, UInt8

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.model import PottsEBM, label_field
from jaxgen.potts.statistics import mean_statistics


@dataclasses.dataclass(frozen=True)
class ContrastiveSettings:
    """How the negative phase is run.

    sweeps: k >= 1 Gibbs sweeps a step. persistent: PCD instead of CD. engine: a Gibbs engine. beta: inverse
    temperature > 0. l2: weight decay >= 0 on couplings, not on biases.
    """

    sweeps: int = 1
    persistent: bool = False
    engine: str = "lattice"
    beta: float = 1.0
    l2: float = 0.0


def persistent_chains(
    key: PRNGKeyArray, x: UInt8[Array, "n H W"], n_chains: int, label: Integer[Array, "n"] | None = None
) -> dict:
    """The carry of PCD: `n_chains` chains that start at examples drawn without replacement (with, if there are fewer).

    With labels, the chains are spread evenly over the classes and each is weighted by (its class's share of the data) /
    (its class's share of the chains), so that the negative statistics are those of p(x | y) p_data(y).
    """
    ids = jnp.arange(n_chains, dtype=jnp.uint32)
    if label is None:
        chosen = jax.random.choice(key, len(x), (n_chains,), replace=n_chains > len(x))
        return {"chains": x[chosen], "chain_id": ids}
    n_classes = int(label.max()) + 1
    if n_chains < n_classes:
        raise UserError(f"chains: got {n_chains}, must be at least the number of classes, {n_classes}")
    share = jnp.bincount(label, length=n_classes) / len(label)
    chain_label = (ids % n_classes).astype(jnp.uint8)
    of_chains = jnp.bincount(chain_label, length=n_classes) / n_chains
    logits = jnp.where(chain_label[:, None] == label, 0.0, -jnp.inf)
    chosen = jax.random.categorical(key, logits)
    return {
        "chains": x[chosen],
        "chain_id": ids,
        "label": chain_label,
        "weight": (share / of_chains)[chain_label].astype(jnp.float32),
    }


def contrastive_divergence(
    model: PottsEBM, settings: ContrastiveSettings, centre: dict | None = None
) -> Callable[..., tuple[dict, dict | None, dict]]:
    """A `grad_fn(params, carry, key, batch) -> (grads, carry, metrics)` for the common training step.

    batch: {"image": states uint8 (n, H, W), "position": global number of each example, "label": (n,) if the model has
    classes}. carry: `persistent_chains(...)` for PCD, None for CD. centre: frequencies of the data shaped like
    `params`; if given, the gradient is that of the centred model, see `centred`.

    metrics: mean energies of data and samples, their difference, and `lag_autocorrelation`, the correlation of the
    chains before and after the k sweeps (1: nothing moved; 0: forgotten).
    """
    lattice = model.lattice

    def grad_fn(params, carry, key, batch):
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
        decayed = {name: value for name, value in params.items() if name != "bias"}
        grads |= jax.tree.map(lambda g, w: g + settings.l2 * w, {name: grads[name] for name in decayed}, decayed)
        data_energy, sample_energy = -_inner(params, positive), -_inner(params, negative)
        metrics = {
            "data_energy": data_energy,
            "sample_energy": sample_energy,
            "energy_gap": sample_energy - data_energy,
            "lag_autocorrelation": _overlap_correlation(chains["chains"], sampled, negative["bias"]),
        }
        return grads, carry and carry | {"chains": sampled}, metrics

    return grad_fn


def centred(lattice: gibbs.Lattice, difference: dict, centre: dict) -> dict:
    """The enhanced gradient, that of E(x) = - sum b_i[x_i] - sum (e(x_i) - mu_i)' W_ij (e(x_j) - mu_j).

    mu = centre["bias"] are the site marginals of the data.

        dW_ij <- dW_ij - mu_i db_j' - db_i mu_j'          db_i <- db_i - sum_j dW_ij mu_j          (dW_ij as just made)

    It is invariant under relabelling of levels and better conditioned (Cho, Raiko and Ilin 2011; Montavon and Mueller
    2012). Fixed points are those of the plain gradient. Labels are centred on their class shares in the same way.
    """
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


def _class_weight(model: PottsEBM, chains: dict) -> Float[Array, "C"] | None:
    """Weight of each class, read off its chains; a class without chains on this device has no term to weigh."""
    if chains.get("weight") is None:
        return None
    return jnp.zeros(model.n_classes).at[chains["label"]].set(chains["weight"])


def _inner(params: dict, statistics: dict) -> Float[Array, ""]:
    """<params, s> = - mean energy."""
    products = jax.tree.map(lambda p, s: (p * s).sum(), {k: params[k] for k in statistics}, statistics)
    return sum(jax.tree.leaves(products))


def _overlap_correlation(before, after, marginals) -> Float[Array, ""]:
    """(P(same) - P(same | independent)) / (1 - P(same | independent)), with the samples' own marginals."""
    by_chance = (marginals**2).sum(-1).mean()
    return ((before == after).mean() - by_chance) / jnp.maximum(1 - by_chance, 1e-6)
