"""The centred gradient."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from test_potts_contrastive import (
    BETA,
    KEY,
    LATTICE,
    MODEL,
    assert_trees_close,
    batch_of,
    data_of,
    estimator,
    params_of,
    statistics_of,
)

from jaxgen import gibbs
from jaxgen.gibbs import Lattice
from jaxgen.potts import ContrastiveSettings, PottsEBM, contrastive_divergence, mean_statistics
from jaxgen.potts.contrastive import centred


def plain_of_centred(lattice, params, mu, share=None):
    """(b, W, U) with the energy of -sum b'[x_i] - sum (e_i - mu_i)' W (e_j - mu_j) - sum e_i' U (e_y - share)."""
    levels = mu.shape[-1]
    bias = params["bias"].reshape(-1, levels)
    flat_mu = mu.reshape(-1, levels)
    for offset, coupling in gibbs.edge_couplings(lattice, params):
        source, target = lattice.edges(offset)
        tables = coupling.reshape(-1, levels, levels)
        bias = bias.at[source].add(-jnp.einsum("eab,eb->ea", tables, flat_mu[target]))
        bias = bias.at[target].add(-jnp.einsum("eab,ea->eb", tables, flat_mu[source]))
    bias = bias.reshape(mu.shape)
    if share is not None:
        bias = bias - params["label_coupling"] @ share
    return params | {"bias": bias}


def centred_energy(lattice, params, mu, x, label=None, share=None):
    """The energy above, from its formula."""
    levels = mu.shape[-1]
    onehot = jnp.eye(levels)[x]
    deviation = (onehot - mu).reshape(len(x), -1, levels)
    energy = -(onehot * params["bias"]).sum((1, 2, 3))
    for offset, coupling in gibbs.edge_couplings(lattice, params):
        source, target = lattice.edges(offset)
        tables = coupling.reshape(-1, levels, levels)
        energy -= jnp.einsum("nea,eab,neb->n", deviation[:, source], tables, deviation[:, target])
    if label is not None:
        of_label = jnp.eye(len(share))[label] - share
        energy -= jnp.einsum("nyxa,yxac,nc->n", onehot, params["label_coupling"], of_label)
    return energy


CENTRED = {
    "edge": (Lattice.grid(2, 3), 3, "edge", 0),
    "torus": (Lattice.grid(3, 4, boundary="periodic"), 2, "edge", 0),
    "tied": (Lattice.grid(2, 3), 3, "tied", 0),
    "labelled": (Lattice.grid(2, 3), 2, "edge", 4),
}


@pytest.mark.parametrize("name", CENTRED)
def test_centred_gradient_is_that_of_the_centred_energy(name):
    """Return a plain gradient step in (b', W') as it appears in (b, W)."""
    lattice, levels, kind, n_classes = CENTRED[name]
    rng = np.random.default_rng(15)
    shape = (lattice.height, lattice.width)
    data, model = (rng.choice(levels, p=rng.dirichlet(np.ones(levels)), size=(60, *shape)) for _ in range(2))
    params, label, share = params_of(16, kind, lattice, levels), None, None
    if n_classes:
        params["label_coupling"] = jnp.asarray(rng.normal(size=(*shape, levels, n_classes)), jnp.float32)
        label = np.arange(60) % n_classes
        label[:7] = 0
        share = jnp.asarray(np.bincount(label) / 60, jnp.float32)

    @jax.jit
    def routes(params):
        states = (data.astype(np.uint8), model.astype(np.uint8))
        centre, other = (mean_statistics(lattice, params, x, label) for x in states)
        mu = centre["bias"]
        got = centred(lattice, jax.tree.map(lambda a, b: a - b, centre, other), centre)

        def energies(primed, x):
            return centred_energy(lattice, primed, mu, x, label, share)

        def to_plain(primed):
            return plain_of_centred(lattice, primed, mu, share)

        step = jax.grad(lambda primed: energies(primed, model).mean() - energies(primed, data).mean())(params)
        plain_energies = PottsEBM(lattice, levels, kind, n_classes).apply(
            {"params": to_plain(params)}, states[0], *(() if label is None else (label,))
        )
        return got, step, jax.jvp(to_plain, (params,), (step,))[1], plain_energies - energies(params, data)

    got, step, seen, shift = routes(params)
    np.testing.assert_allclose(shift, shift[0], atol=1e-4)  # one energy in two parametrisations, up to a constant
    assert_trees_close(got, seen, rtol=1e-4, atol=1e-5)
    assert_trees_close(got | {"bias": 0}, step | {"bias": 0}, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["edge", "tied"])
def test_centring_moves_no_fixed_point(kind):
    """As a linear map of the plain gradient it is symmetric and positive definite."""
    lattice = Lattice.grid(2, 2)
    centre = statistics_of(lattice, params_of(0, kind, lattice, 2), data_of(50)[:, :2, :2])
    flat, unravel = jax.flatten_util.ravel_pytree(centre)
    matrix = jax.jit(jax.jacobian(lambda v: jax.flatten_util.ravel_pytree(centred(lattice, unravel(v), centre))[0]))(
        flat
    )
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    assert np.linalg.eigvalsh(np.asarray(matrix, np.float64)).min() > 1e-2


def test_centring_enters_the_estimator():
    params, data = params_of(17), data_of(50)
    centre = statistics_of(LATTICE, params, data)
    settings, batch = ContrastiveSettings(2, beta=BETA), batch_of(data)
    plain = estimator(settings)(params, None, KEY, batch)[0]
    enhanced = jax.jit(contrastive_divergence(MODEL, settings, centre))(params, None, KEY, batch)[0]
    difference = jax.tree.map(lambda g: -g / BETA, plain)
    expected = jax.tree.map(jnp.negative, jax.jit(centred, static_argnums=0)(LATTICE, difference, centre))
    assert_trees_close(enhanced, jax.tree.map(lambda g: BETA * g, expected), rtol=1e-4, atol=1e-5)
