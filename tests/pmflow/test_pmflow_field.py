"""The index and its field: exact gradients, positivity, the flow's order of convergence, the original form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import torch
from torch_reference import pmflow as reference

from jaxgen import pmflow
from jaxgen.pmflow.field import original_gradient

CENTRES = np.random.default_rng(0).normal(0, 0.7, (5, 3))
MU = np.array([0.5, 1.5, 0.1, 2.0, 0.7])


def in_float64(function, *arguments):
    """The call in double precision; the setting ends with it."""
    with jax.enable_x64(True):
        return np.asarray(function(*(jnp.asarray(argument, jnp.float64) for argument in arguments)))


def points(n=64, d=3, scale=2.0, seed=1):
    return np.random.default_rng(seed).normal(0, scale, (n, d))


@pytest.mark.parametrize("softening", [1e-2, 0.4])
def test_the_field_is_the_gradient_of_the_log_index(softening):
    z = np.concatenate([points(), CENTRES + 1e-3, CENTRES])  # far, near and at the centres
    field = in_float64(lambda *a: pmflow.log_index_gradient(*a, softening), z, CENTRES, MU)
    wanted = in_float64(
        lambda z, c, mu: jax.vmap(jax.grad(lambda point: pmflow.log_index(point, c, mu, softening)))(z), z, CENTRES, MU
    )
    assert field.dtype == np.float64
    np.testing.assert_allclose(field, wanted, rtol=1e-10, atol=1e-10)
    assert np.abs(wanted).max() > 0.5


def test_the_index_by_hand():
    z, centres = np.array([[3.0, 0.0]]), np.array([[0.0, 0.0], [3.0, 4.0]])
    log_index = in_float64(lambda *a: pmflow.log_index(*a, 4.0), z, centres, np.array([2.0, 3.0]))
    # r = sqrt(9 + 16) = 5 and sqrt(16 + 16)
    np.testing.assert_allclose(log_index, [np.log(1 + 2 / 5 + 3 / np.sqrt(32))], rtol=1e-14)
    pull = in_float64(lambda *a: pmflow.log_index_gradient(*a, 4.0), z, centres[:1], np.array([2.0]))
    np.testing.assert_allclose(pull, [[-2 * 3 / 125 / 1.4, 0.0]], rtol=1e-14)


def test_the_original_field_is_the_loop_and_no_gradient_of_its_index():
    z = points()
    field = in_float64(original_gradient, z, CENTRES, MU)
    one_step = reference.flow_loop(*map(torch.tensor, (z, CENTRES, MU)), 1, 1.0, reference.source_radius).numpy() - z
    np.testing.assert_allclose(field, one_step, atol=1e-12)

    def log_index(z, centres, mu):
        return jnp.log1p((mu / (jnp.linalg.norm(z - centres, axis=-1) + 1e-4)).sum(-1))

    own = in_float64(lambda z, c, mu: jax.vmap(jax.grad(lambda point: log_index(point, c, mu)))(z), z, CENTRES, MU)
    assert 1e-6 < np.abs(field - own).max() < 1e-2


def test_the_index_is_at_least_one_for_any_parameters():
    flow = pmflow.Flow()
    z = jnp.asarray(points(200, 16), jnp.float32)
    for seed, scale in enumerate((0.1, 10.0, 1000.0)):
        raw = scale * jax.random.normal(jax.random.key(seed), (4,))
        centres = jax.random.normal(jax.random.key(seed + 9), (4, 16))
        assert (pmflow.log_index(z, centres, jax.nn.softplus(raw), 0.4) >= 0).all()
        moved = flow.apply({"params": {"centres": centres, "mu": raw}}, z)
        assert np.isfinite(moved).all()
        mu = jax.nn.softplus(raw)
        wanted = pmflow.euler(lambda z, c=centres, m=mu: pmflow.log_index_gradient(z, c, m, 0.4), z, 3, 0.1)
        np.testing.assert_allclose(moved, wanted, rtol=1e-6)


def test_mu_starts_at_one_half_in_both_forms():
    for flow in (pmflow.Flow(), pmflow.Flow(positive=False)):
        raw = flow.init(jax.random.key(0), jnp.zeros((1, 16)))["params"]["mu"]
        mu = jax.nn.softplus(raw) if flow.positive else raw
        np.testing.assert_allclose(mu, 0.5, rtol=1e-6)


@pytest.fixture(scope="module")
def exact():
    """Return where points are after time 1, by an independent solver."""

    def velocity(_, z):
        offset = z.reshape(-1, 1, 3) - CENTRES
        r = np.sqrt((offset**2).sum(-1) + 0.4**2)
        pull = -(MU / r**3)[..., None] * offset
        return (pull.sum(1) / (1 + (MU / r).sum(1))[:, None]).ravel()

    z = points(8)
    solved = scipy.integrate.solve_ivp(velocity, (0, 1), z.ravel(), rtol=1e-11, atol=1e-12)
    return z, solved.y[:, -1].reshape(z.shape)


def test_euler_converges_with_order_one_to_the_flow(exact):
    z, wanted = exact
    errors = []
    for steps in (20, 40, 80, 160):
        moved = in_float64(
            lambda z, c, mu, n=steps: pmflow.euler(lambda z: pmflow.log_index_gradient(z, c, mu, 0.4), z, n, 1 / n),
            z, CENTRES, MU,
        )  # fmt: skip
        errors.append(np.abs(moved - wanted).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(1.0, abs=0.08) and errors[-1] < 0.01


def test_the_flow_climbs_its_index():
    """With the default softening and the longest step, every point ends where the index is higher."""
    z = points(100).astype(np.float32)
    arrays = jnp.asarray(CENTRES, jnp.float32), jnp.asarray(MU, jnp.float32)
    index = [float(pmflow.log_index(z, *arrays, 0.4).mean())]
    for _ in range(5):
        before = pmflow.log_index(z, *arrays, 0.4)
        z = pmflow.euler(lambda z: pmflow.log_index_gradient(z, *arrays, 0.4), z, 1, 0.15)
        assert (pmflow.log_index(z, *arrays, 0.4) >= before).all()
        index.append(float(before.mean()))
    assert index[-1] > index[0]


def test_bound_and_displacement():
    z = jnp.array([[3.0, 4.0], [6.0, 8.0]])
    np.testing.assert_allclose(pmflow.euler(lambda z: z, z, 2, 1.0, bound=5.0), [[5.0, 5.0], [5.0, 5.0]])
    assert float(pmflow.displacement(z, 1.1 * z)) == pytest.approx(0.1, rel=1e-5)
    flow = pmflow.Flow()
    params = flow.init(jax.random.key(0), jnp.zeros((1, 16)))["params"]
    moved = [
        float(pmflow.displacement(z, flow.apply({"params": params}, z)))
        for z in (s * jax.random.normal(jax.random.key(1), (500, 16)) for s in (0.5, 3.0))
    ]
    # The flow is nearly the identity: about 2 % of a latent of scale 0.5, 0.03 % of one of scale 3.
    assert moved[0] == pytest.approx(0.02, rel=0.5) and moved[1] == pytest.approx(3e-4, rel=0.5)


def test_a_frozen_flow_has_no_gradient():
    z = jnp.ones((4, 16))
    for trained in (True, False):
        flow = pmflow.Flow(trained=trained)
        params = flow.init(jax.random.key(0), z)["params"]
        grads = jax.grad(lambda p, flow=flow: flow.apply({"params": p}, z).sum())(params)
        assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads)) == trained
