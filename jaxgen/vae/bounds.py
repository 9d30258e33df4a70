"""Lower bounds of log p(x), in nats.

    ELBO(x) = E_q [log p(x | z)] - KL(q(z | x) || p(z))                    (Kingma and Welling 2014, equation 3)
    KL      = 1/2 sum_d (delta_d^2 + exp ratio_d - 1 - ratio_d)            (appendix B of it, for p = N(0, I))
    L_K(x)  = E log 1/K sum_k p(x | z_k) p(z_k) / q(z_k | x),  z_k ~ q     (Burda et al. 2016, equation 8)

with delta = (mean_q - mean_p) / sigma_p and ratio = log_var_q - log_var_p; all given the class where there is one.
ELBO = L_1 <= L_K <= L_K+1 <= log p(x). Each has an unbiased estimate from draws z = mean + exp(log_var / 2) noise; the
noise of an image comes from fold_in(key, its index).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key, PyTree, UInt8

from jaxgen import training
from jaxgen.vae.likelihoods import Likelihood
from jaxgen.vae.model import VAE, Gaussian


def kl_divergence(q: Gaussian, p: Gaussian) -> Float[Array, "n"]:
    """Return KL(q || p) of diagonal Gaussians in nats, 0 or more."""
    ratio = q.log_var - p.log_var
    delta = (q.mean - p.mean) * jnp.exp(-0.5 * p.log_var)
    return 0.5 * (delta**2 + jnp.exp(ratio) - 1.0 - ratio).sum(-1)


def elbo(
    model: VAE,
    likelihood: Likelihood,
    params: PyTree,
    key: Key[Array, ""],
    x: UInt8[Array, "n H W"],
    label: Integer[Array, "n"] | None,
    index: Integer[Array, "n"],
) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """Return the ELBO of every image from one draw of z, and the KL divergence in it, both in nats.

    Args:
        model: the autoencoder.
        likelihood: the law that the outputs of the decoder stand for.
        params: the parameters of the model.
        key: a key.
        x: the states of the pixels.
        label: the classes, or None for a model without classes.
        index: one number per image; with `key` it determines the noise of that image.
    """
    variables = {"params": params}
    posterior = model.apply(variables, x, label, method=VAE.encode)
    prior = model.apply(variables, len(x), label, method=VAE.prior)
    noise = _noise(key, index, (model.latent,))
    z = posterior.mean + jnp.exp(0.5 * posterior.log_var) * noise
    log_likelihood = likelihood.log_prob(model.apply(variables, z, label, method=VAE.decode), x)
    kl = kl_divergence(posterior, prior)
    return log_likelihood - kl, kl


def log_weights(
    model: VAE,
    likelihood: Likelihood,
    params: PyTree,
    key: Key[Array, ""],
    x: UInt8[Array, "n H W"],
    label: Integer[Array, "n"] | None,
    index: Integer[Array, "n"],
    samples: int,
) -> Float[Array, "samples n"]:
    """Return log p(x | z_k) p(z_k) / q(z_k | x) of every image for `samples` draws of z; arguments as for `elbo`.

    Their mean over draws estimates the ELBO, `importance_weighted_bound` of them L_K.
    """
    variables = {"params": params}
    posterior = model.apply(variables, x, label, method=VAE.encode)
    prior = model.apply(variables, len(x), label, method=VAE.prior)
    noise = jnp.moveaxis(_noise(key, index, (samples, model.latent)), 0, 1)
    z = posterior.mean + jnp.exp(0.5 * posterior.log_var) * noise
    labels = None if label is None else jnp.tile(label, samples)
    outputs = model.apply(variables, z.reshape(-1, model.latent), labels, method=VAE.decode)
    outputs = outputs.reshape(samples, len(x), *outputs.shape[1:])
    # log p(z) - log q(z | x): the factors 2 pi cancel
    standard = (z - prior.mean) * jnp.exp(-0.5 * prior.log_var)
    log_ratio = 0.5 * (noise**2 + posterior.log_var - standard**2 - prior.log_var).sum(-1)
    return likelihood.log_prob(outputs, x) + log_ratio


def importance_weighted_bound(log_weights: Float[Array, "samples n"]) -> Float[Array, "n"]:
    """Return log 1/K sum_k w_k of every image, an unbiased estimate of L_K."""
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(len(log_weights))


def elbo_loss(model: VAE, likelihood: Likelihood) -> training.step.LossFn:
    """Return loss = - mean ELBO of a batch {"image": grey uint8, "position", maybe "label"}; metrics: elbo, kl."""

    def loss(params: PyTree, key: Key[Array, ""], batch: training.step.Batch):
        key_code, key_latent = jax.random.split(key)
        x = likelihood.code(key_code, batch["image"], batch["position"])
        bound, kl = elbo(model, likelihood, params, key_latent, x, batch.get("label"), batch["position"])
        return -bound.mean(), {"kl": kl.mean()}

    return loss


def _noise(key: Key[Array, ""], index: Integer[Array, "n"], shape: tuple[int, ...]) -> Float[Array, "n ..."]:
    return jax.vmap(lambda number: jax.random.normal(jax.random.fold_in(key, number), shape))(index)
