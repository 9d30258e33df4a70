"""Bounds given a class against the exact log-likelihood, which a latent of one dimension gives by quadrature."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgen import vae

# All 16 images as class 0, then as class 1.
X = np.array(2 * list(itertools.product((0, 1), repeat=4)), np.uint8).reshape(32, 2, 2)
LABEL = np.repeat([0, 1], 16)
KEY = jax.random.key(5)


class Encoder(nn.Module):
    """Linear in the pixels."""

    @nn.compact
    def __call__(self, x, y):
        return nn.Dense(2)(jnp.concatenate([x.reshape(len(x), -1), y], -1))


class Decoder(nn.Module):
    """Images of 2 x 2."""

    @nn.compact
    def __call__(self, z, y):
        h = nn.tanh(nn.Dense(5)(jnp.concatenate([z, y], -1)))
        return nn.Dense(4)(h).reshape(-1, 2, 2, 1)


MODEL, LAW = vae.VAE(Encoder(), Decoder(), latent=1, levels=2, n_classes=2), vae.likelihood(2)


@pytest.fixture(scope="module")
def params():
    """A posterior off the true one, so that the bound has a gap, and wide enough for importance weights to be tame."""
    start = MODEL.init(jax.random.key(0), X[:1], LABEL[:1])["params"]
    moved = jax.tree.map(lambda x: x + 0.4 * jax.random.normal(jax.random.key(x.size), x.shape), start)
    moved["encoder"]["Dense_0"]["bias"] += jnp.array([0.0, 1.8])
    return moved


@jax.jit
def decoder_log_prob(params, z):
    """log p(x | z, y), (len(z), 32)."""
    return jnp.concatenate([_log_prob_of_class(params, z, label) for label in (0, 1)], axis=1)


def _log_prob_of_class(params, z, label):
    labels = jnp.full(len(z), label)
    outputs = MODEL.apply({"params": params}, z[:, None], labels, method=vae.VAE.decode)
    return LAW.log_prob(outputs[:, None], X[None, :16])


elbo = jax.jit(lambda params, x, label, index: vae.elbo(MODEL, LAW, params, KEY, x, label, index))
log_weights = jax.jit(
    lambda params, x, label, index, samples: vae.log_weights(MODEL, LAW, params, KEY, x, label, index, samples),
    static_argnums=4,
)


@pytest.fixture(scope="module")
def exact(params):
    """log p(x) and the ELBO of every image, by quadrature."""
    z = np.linspace(-25, 25, 8001)
    log_prior = log_normal(z, MODEL.apply({"params": params}, 32, LABEL, method=vae.VAE.prior))
    step, log_prob = z[1] - z[0], np.asarray(decoder_log_prob(params, z.astype(np.float32)), np.float64)
    log_p = np.log(np.sum(np.exp(log_prob + log_prior) * step, 0))
    log_q = log_normal(z, MODEL.apply({"params": params}, X, LABEL, method=vae.VAE.encode))
    bound = np.sum(np.exp(log_q) * (log_prob + log_prior - log_q) * step, 0)
    return log_p, bound


def log_normal(z, gaussian):
    """(len(z), 32)."""
    mean, log_var = (np.asarray(part, np.float64)[:, 0] for part in gaussian)
    return -0.5 * (z[:, None] - mean) ** 2 / np.exp(log_var) - 0.5 * (log_var + np.log(2 * np.pi))


@pytest.fixture(scope="module")
def weights(params):
    """log weights of 20,000 draws for every image."""
    return np.asarray(log_weights(params, X, LABEL, jnp.arange(32), 20_000), np.float64)


def test_the_exact_law_is_one(exact):
    np.testing.assert_allclose(np.exp(exact[0]).reshape(2, 16).sum(1), 1.0, atol=1e-5)
    assert np.abs(exact[0][:16] - exact[0][16:]).max() > 0.1
    assert (exact[1] < exact[0]).all() and (exact[0] - exact[1]).max() > 0.1


def test_the_mean_log_weight_is_the_elbo(weights, exact):
    error = weights.std(0) / np.sqrt(len(weights))
    assert (np.abs(weights.mean(0) - exact[1]) < 4.5 * error + 1e-5).all()


def test_the_analytic_elbo_has_the_same_mean_and_its_own_kl(params, exact):
    copies = 4000
    x, label, index = np.tile(X, (copies, 1, 1)), np.tile(LABEL, copies), jnp.arange(32 * copies)
    values, kl = elbo(params, x, label, index)
    values = np.asarray(values, np.float64).reshape(copies, 32)
    error = values.std(0) / np.sqrt(copies)
    assert (np.abs(values.mean(0) - exact[1]) < 4.5 * error + 1e-5).all()
    assert np.ptp(np.asarray(kl).reshape(copies, 32), axis=0).max() < 1e-5


def test_more_draws_never_loosen_the_bound_and_close_it_in_the_limit(weights, exact):
    """In groups of K out of 20,000 draws, the mean bound rises with K from the ELBO to log p."""
    means = []
    for k in (1, 4, 16, 256):
        groups = weights[:19_968].reshape(-1, k, 32).swapaxes(0, 1).reshape(k, -1)
        means.append(np.asarray(vae.importance_weighted_bound(jnp.asarray(groups))).reshape(-1, 32).mean(0))
    gaps = exact[0] - np.stack(means)
    assert (gaps[:-1] - gaps[1:] > -5e-3).all() and (gaps[0] > gaps[-1]).all()
    assert np.abs(gaps[-1]).max() < 0.02 and gaps[0].max() > 0.1
    np.testing.assert_allclose(vae.importance_weighted_bound(jnp.asarray(weights)), exact[0], atol=0.03)


def test_with_the_prior_as_posterior_the_estimates_of_all_images_sum_to_one(params):
    """1/K sum_k p(x | z_k) over all x is 1 for any draws, if all images of a class share them and KL is 0."""
    encoder = jax.tree.map(jnp.zeros_like, params["encoder"])
    encoder["Dense_0"]["kernel"] = encoder["Dense_0"]["kernel"].at[-2:].set(params["class_prior"]["embedding"])
    params = params | {"encoder": encoder}
    same = jnp.zeros(32, jnp.int32)
    log_p = vae.importance_weighted_bound(log_weights(params, X, LABEL, same, 7))
    sums = np.exp(np.asarray(log_p, np.float64)).reshape(2, 16).sum(1)
    np.testing.assert_allclose(sums, 1.0, atol=1e-5)
    assert np.abs(elbo(params, X, LABEL, same)[1]).max() == 0


def test_kl_is_that_of_monte_carlo():
    q = vae.Gaussian(jnp.array([[0.5, -2.0, 0.0]]), jnp.array([[-1.0, 0.7, 2.0]]))
    p = vae.Gaussian(jnp.array([[0.0, -1.0, 1.0]]), jnp.array([[0.0, 1.0, 0.5]]))
    (mean, log_var), (mean_p, log_var_p) = (np.asarray(gaussian, np.float64) for gaussian in (q, p))
    noise = np.random.default_rng(0).standard_normal((200_000, 3))
    z = mean + np.exp(log_var / 2) * noise
    ratio = 0.5 * ((z - mean_p) ** 2 / np.exp(log_var_p) + log_var_p - noise**2 - log_var).sum(1)
    error = ratio.std() / np.sqrt(len(ratio))
    assert float(vae.kl_divergence(q, p)[0]) == pytest.approx(ratio.mean(), abs=4.5 * error)
    assert float(vae.kl_divergence(q, q)[0]) == 0


def test_noise_belongs_to_the_number_of_an_image_not_to_its_batch(params):
    index = jnp.arange(32)
    whole = elbo(params, X, LABEL, index)[0]
    back = elbo(params, X[::-1], LABEL[::-1], index[::-1])[0]
    np.testing.assert_allclose(whole, back[::-1], rtol=1e-5)
    many = log_weights(params, X, LABEL, index, 7)
    few = log_weights(params, X[8:], LABEL[8:], index[8:], 7)
    np.testing.assert_allclose(many[:, 8:], few, rtol=1e-5)
    other = elbo(params, X, LABEL, index + 1)[0]
    assert np.abs(np.asarray(whole - other)).max() > 1e-3
