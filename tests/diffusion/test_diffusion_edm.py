"""EDM: the preconditioning against its table, its loss, its use on a process; guidance rescale; UniPC's memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from statistical import ALPHA

from jaxgen import diffusion
from jaxgen.diffusion import edm, guidance, objectives, rectified_flow
from jaxgen.diffusion import process as forward
from jaxgen.errors import UserError

KEY = jax.random.key(11)
PROCESS = diffusion.make_process("cosine", 64)
SCALE = 0.5  # sigma_data of Karras et al. (2022)
MEAN, SPREAD = 0.3, 0.3


def table(level):
    """c_skip, c_out, c_in and c_noise of table 1."""
    square = level**2 + SCALE**2
    return SCALE**2 / square, level * SCALE / np.sqrt(square), 1 / np.sqrt(square), np.log(level) / 4


def gaussian_network(x, time, label):
    """F of the exact denoiser for data N(m, s^2) in every pixel; for s = 0.5 it would not depend on x."""
    level = np.exp(4 * (np.asarray(time, np.float64) - 1) / 100).reshape(-1, 1, 1, 1)
    skip, out, into, _ = table(level)
    y = np.asarray(x, np.float64) / into
    exact = MEAN + SPREAD**2 / (SPREAD**2 + level**2) * (y - MEAN)
    return jnp.asarray((exact - skip * y) / out, jnp.float32)


@pytest.mark.parametrize("t", [1, 20, 60])
def test_the_preconditioned_network_is_a_denoiser_of_any_process(t):
    x = jax.random.normal(KEY, (4, 2, 2, 1))
    apply = edm.edm_on_process(gaussian_network, PROCESS)
    ours = guidance.make_denoiser(apply, PROCESS, jnp.zeros(4, int), "edm", clip_x0=False)(x, t)
    alpha, sigma = float(PROCESS.alpha[t]), float(PROCESS.sigma[t])
    exact = MEAN + SPREAD**2 * alpha / (alpha**2 * SPREAD**2 + sigma**2) * (x - alpha * MEAN)
    np.testing.assert_allclose(ours.x0, exact, atol=1e-4)
    np.testing.assert_allclose(ours.eps, (x - alpha * exact) / sigma, atol=2e-4 / sigma)


def test_the_loss_is_that_of_the_paper():
    """c_out^-2 (D(x_0 + r eps) - x_0)^2, eq. 8 before the mean; the network gets c_in y and 1 + 100 c_noise."""
    level = np.array([0.01, 0.3, 20.0])
    x0, noise = jax.random.normal(KEY, (2, 3, 4, 4, 1))
    seen = []

    def network(x, time, label):
        seen.append((x, time, label))
        return jnp.cos(3 * x)

    dropped = jnp.array([False, True, False])
    losses = edm.edm_losses(network, x0, jnp.array([1, 2, 3]), jnp.asarray(level), noise, dropped)
    skip, out, into, time = (value.reshape(-1, 1, 1, 1) for value in table(level))
    y = np.asarray(x0, np.float64) + level.reshape(-1, 1, 1, 1) * np.asarray(noise, np.float64)
    denoised = skip * y + out * np.cos(3 * into * y)
    np.testing.assert_allclose(losses, ((denoised - x0) ** 2 / out**2).mean((1, 2, 3)), rtol=1e-3)
    np.testing.assert_allclose(seen[0][0], into * y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[0][1], 1 + 100 * time.ravel(), rtol=1e-5)
    np.testing.assert_array_equal(seen[0][2], [1, diffusion.NO_LABEL, 3])
    # Levels beyond those of the paper, such as the first of a process, are given to the network as 80.
    np.testing.assert_allclose(
        edm.network_time(jnp.array([5.0, 80.0, 1e4])), 1 + 25 * np.log([5.0, 80.0, 80.0]), rtol=1e-5
    )
    with pytest.raises(UserError, match=r"noise has shape \(3, 1, 1, 1\) for images of shape"):
        edm.edm_losses(network, x0, jnp.zeros(3, int), jnp.asarray(level), noise[:, :1, :1], dropped)


def test_input_and_target_have_variance_one_at_every_level():
    x0, noise = jax.random.normal(KEY, (2, 1, 200, 200, 1))
    x0 = SCALE * x0
    seen = []

    def network(x, time, label):
        seen.append(x)
        return jnp.zeros_like(x)

    for level in (0.02, 0.5, 30.0):
        loss = edm.edm_losses(network, x0, jnp.zeros(1, int), jnp.array([level]), noise, jnp.zeros(1, bool))
        # The mean of 40,000 squares has a relative error of sqrt(2) / 200.
        np.testing.assert_allclose([loss[0], jnp.mean(seen[-1] ** 2)], 1.0, atol=4.5 * np.sqrt(2) / 200)


def test_target_and_image_are_inverse_on_a_process():
    x0, noise = jax.random.normal(KEY, (2, 3, 2, 2, 1))
    t = jnp.array([1, 30, 63])
    x = forward.q_sample(PROCESS, x0, t, noise)
    target = forward.prediction_target("edm", PROCESS, x0, noise, t)
    np.testing.assert_allclose(forward.to_x0("edm", PROCESS, target, x, t), x0, atol=1e-5)
    level = np.asarray(PROCESS.sigma / PROCESS.alpha, np.float64)[np.asarray(t)].reshape(-1, 1, 1, 1)
    skip, out, _, _ = table(level)
    y = np.asarray(x0, np.float64) + level * np.asarray(noise, np.float64)
    np.testing.assert_allclose(target, (x0 - skip * y) / out, rtol=2e-3, atol=2e-3)


def test_levels_are_log_normal_and_keyed_by_example():
    position = jnp.arange(20_000, dtype=jnp.uint32)
    level, noise, dropped = edm.edm_draw(KEY, position, (1, 1, 1), 0.25)
    assert scipy.stats.kstest((np.log(np.asarray(level, np.float64)) + 1.2) / 1.2, "norm").pvalue > ALPHA
    assert scipy.stats.kstest(np.ravel(noise), "norm").pvalue > ALPHA
    assert scipy.stats.binomtest(int(dropped.sum()), 20_000, 0.25).pvalue > ALPHA
    np.testing.assert_array_equal(edm.edm_draw(KEY, position[7:9], (1, 1, 1), 0.25)[0], level[7:9])
    images, label = jnp.zeros((2, 1, 1, 1)), jnp.zeros(2, int)
    objective = diffusion.Objective("edm", None, 0.0)
    rows = (KEY, images, label, position[:2])
    losses, parts = objectives.drawn_losses(lambda x, t, y: jnp.zeros_like(x), objective, PROCESS, *rows)
    expected = SCALE**2 * np.ravel(noise[:2]) ** 2 / (np.asarray(level[:2]) ** 2 + SCALE**2)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert parts["mse"] is losses


def test_an_edm_model_draws_images_and_refuses_what_it_does_not_have():
    unet = diffusion.make_unet("compact", base=8, multipliers=(1,), patch=4)
    model = diffusion.Diffusion(unet, PROCESS, "edm", (8, 8, 1))
    params, settings = diffusion.init_params(KEY, unet), diffusion.Generation("unipc", 3, 2.0, rescale=0.5)
    (piece,) = diffusion.generate(KEY, model, params, np.array([1, 2]), settings)
    assert piece.images.shape == (2, 8, 8, 1) and np.isfinite(piece.images).all()
    with pytest.raises(UserError, match=r"min_snr is 5\.0 with objective='edm'; allowed: leave it out"):
        diffusion.build_diffusion(dataclasses.replace(diffusion.DiffusionConfig(), objective="edm", min_snr=5.0))
    with pytest.raises(UserError, match="sampler is 'euler'; allowed unless objective is flow"):
        diffusion.build_diffusion(diffusion.DiffusionConfig(objective="edm", sampler="euler"))


@pytest.mark.parametrize("outputs", [1, 2])
def test_guidance_rescale_restores_the_deviation_of_the_conditional_prediction(outputs):
    """phi = 1 has the standard deviation of c and the direction of u + w (c - u); phi = 0 is plain guidance."""

    def network(x, t, label):
        first = jnp.sin(x * (2 + label)[:, None, None, None]) + 0.1 * label[:, None, None, None]
        return jnp.concatenate([first] * outputs, axis=-1)

    x, t, label = jax.random.normal(KEY, (2, 5, 5, 1)), jnp.array([3, 4]), jnp.array([1, 6])
    conditional = network(x, t, label)[..., :1]
    plain = guidance.guided_output(network, x, t, label, 3.0)
    found = {phi: guidance.guided_output(network, x, t, label, 3.0, phi) for phi in (0.0, 0.7, 1.0)}
    np.testing.assert_array_equal(found[0.0], plain)
    whole, half = found[1.0][..., :1], found[0.7][..., :1]
    deviation = np.asarray(conditional).std((1, 2, 3))
    np.testing.assert_allclose(np.asarray(whole).std((1, 2, 3)), deviation, rtol=1e-5)
    assert (np.asarray(plain[..., :1]).std((1, 2, 3)) > 1.1 * deviation).all()
    np.testing.assert_allclose(half, 0.7 * whole + 0.3 * plain[..., :1], rtol=1e-4, atol=1e-5)
    ratio = np.asarray(whole / plain[..., :1])
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape), rtol=1e-4)  # one factor per image
    if outputs == 2:
        np.testing.assert_array_equal(found[1.0][..., 1:], plain[..., 1:])


def test_guidance_rescale_reaches_the_denoiser_and_the_velocity():
    def network(x, time, label):
        return jnp.sin(x * (2 + label)[:, None, None, None])

    x, label = jax.random.normal(KEY, (2, 4, 4, 1)), jnp.array([1, 4])
    for phi in (0.0, 1.0):
        guided = guidance.guided_output(network, x, jnp.array([7, 7]), label, 3.0, phi)
        denoise = guidance.make_denoiser(network, PROCESS, label, "x0", 3.0, False, rescale=phi)
        np.testing.assert_allclose(denoise(x, 7).x0, guided, rtol=1e-5)
        velocity = rectified_flow.make_velocity(network, label, 3.0, False, rescale=phi)
        np.testing.assert_allclose(velocity(x, 0.2), guided, rtol=1e-5)
