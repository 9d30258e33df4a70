"""Rectified flow: its loss, its exact velocity on Gaussian data, the order of its solvers, its use as a denoiser."""

import dataclasses

import diffusion_gaussian as gaussian
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from statistical import ALPHA
from test_diffusion_orders import START, exact_images

from jaxgen import diffusion
from jaxgen.diffusion import guidance, objectives, rectified_flow, samplers
from jaxgen.diffusion.studies.mixture import mixture_velocity
from jaxgen.errors import UserError

KEY = jax.random.key(3)
PROCESS = diffusion.make_process("cosine", 64)


def gaussian_network(x, time, label):
    """E[eps - x_0 | x_t] for data N(m, s^2) in every pixel, in the form of a network."""
    t = ((time - 1) / 1000).reshape(-1, 1, 1, 1)
    variance = (1 - t) ** 2 * gaussian.SCALE**2 + t**2
    return -gaussian.MEAN + (t - (1 - t) * gaussian.SCALE**2) / variance * (x - (1 - t) * gaussian.MEAN)


def solve(velocity, name, n_steps, start):
    return jax.jit(lambda x: samplers.flow_sample(velocity, samplers.FLOW_SAMPLERS[name], n_steps, x)[0])(start)


def test_the_exact_velocity_transports_noise_to_the_data():
    """The flow of a Gaussian keeps the number of standard deviations from the mean: x_0 = m + s x_1."""
    start = jnp.linspace(-3, 3, 16).reshape(16, 1, 1, 1)
    velocity = rectified_flow.make_velocity(gaussian_network, jnp.zeros(16, int), 1.0, clip_x0=False)
    exact = gaussian.MEAN + gaussian.SCALE * start
    np.testing.assert_allclose(solve(velocity, "midpoint", 128, start), exact, atol=2e-4)


@pytest.mark.parametrize("name, order", [("euler", 1), ("midpoint", 2)])
def test_order_of_convergence_on_a_mixture(name, order):
    start, exact = jnp.asarray(START, jnp.float32), exact_of_noise()
    errors = [np.sqrt(np.mean((solve(mixture_velocity, name, n, start) - exact) ** 2)) for n in (16, 64)]
    assert abs(np.log2(errors[0] / errors[1]) / 2 - order) < 0.25, errors


def exact_of_noise():
    """The images of the quantiles START of N(0, 1): the last x_T of a cosine schedule is noise up to 1e-4."""
    return exact_images(diffusion.make_process("cosine", 4096))


def test_the_loss_of_the_exact_velocity_is_the_conditional_variance():
    """E (eps - x_0 - v)^2 = Var(eps - x_0 | x_t) = s^2 / ((1 - t)^2 s^2 + t^2)."""
    t = jnp.array([0.1, 0.5, 0.9])
    keys = jax.random.split(KEY)
    x0 = gaussian.MEAN + gaussian.SCALE * jax.random.normal(keys[0], (3, 100, 100, 1))
    noise, kept = jax.random.normal(keys[1], x0.shape), jnp.zeros(3, bool)
    losses = rectified_flow.flow_losses(gaussian_network, x0, jnp.zeros(3, int), t, noise, kept)
    exact = gaussian.SCALE**2 / ((1 - t) ** 2 * gaussian.SCALE**2 + t**2)
    # The mean of 10^4 squares has a relative error of sqrt(2) / 100.
    np.testing.assert_allclose(losses, exact, rtol=4.5 * np.sqrt(2) / 100)


def test_a_flow_is_a_denoiser_of_any_process():
    """E[x_0 | x_t] of the process, from the velocity of the straight path."""
    model = diffusion.Diffusion(None, PROCESS, "flow")
    x = jax.random.normal(KEY, (4, 2, 2, 1))
    for t in (1, 20, 64):
        apply = rectified_flow.on_process(gaussian_network, PROCESS)
        denoise = guidance.make_denoiser(apply, model.process, jnp.zeros(4, int), "flow", clip_x0=False)
        ours, exact = denoise(x, t), gaussian.denoiser(PROCESS)(x, t)
        np.testing.assert_allclose(ours.x0, exact.x0, atol=2e-5)
        np.testing.assert_allclose(ours.eps, exact.eps, atol=1e-4 / float(PROCESS.sigma[t]))


def test_euler_is_ddim():
    """On the process, a step of DDIM between two times is a step of Euler on the straight path between theirs."""

    def network(x, time, label):
        return jnp.sin(3 * x + time[:, None, None, None] / 300)

    x, t, s = jax.random.normal(KEY, (2, 2, 2, 1)), 40, 25
    label, total = jnp.zeros(2, int), PROCESS.alpha + PROCESS.sigma
    apply = rectified_flow.on_process(network, PROCESS)
    for clip in (False, True):
        denoise = guidance.make_denoiser(apply, PROCESS, label, "flow", clip_x0=clip)
        by_ddim, _ = samplers.ddim_step(denoise, PROCESS, x, None, t, s, jnp.zeros_like(x))
        velocity = rectified_flow.make_velocity(network, label, clip_x0=clip)
        times = (PROCESS.sigma / total)[jnp.array([t, s])]
        by_euler = samplers.euler_step(velocity, x / total[t], *times)
        np.testing.assert_allclose(by_euler, by_ddim / total[s], rtol=1e-4, atol=1e-5)


def test_ancestral_is_euler_ancestral():
    """A step of k-diffusion in x / alpha and sigma / alpha: down to sigma_down by Euler, then noise sigma_up."""
    process, t, s = diffusion.make_process("cosine", 64), 40, 25
    x, noise = jax.random.normal(KEY, (2, 3, 2, 2, 1))
    denoise = gaussian.denoiser(process)
    ours, _ = samplers.ancestral_step(denoise, process, x, None, t, s, noise)
    before, after = (process.sigma[k] / process.alpha[k] for k in (t, s))
    up = jnp.sqrt(after**2 * (before**2 - after**2) / before**2)
    down = jnp.sqrt(after**2 - up**2)
    y = x / process.alpha[t]
    y = y + (down - before) * (y - denoise(x, t).x0) / before + up * noise
    np.testing.assert_allclose(ours / process.alpha[s], y, rtol=1e-4, atol=1e-5)


def test_guidance_is_limited_to_an_interval():
    def network(x, time, label):
        return x * (1 + label[:, None, None, None])

    x, label = jax.random.normal(KEY, (2, 2, 2, 1)), jnp.array([0, 3])
    makers = {w: rectified_flow.make_velocity(network, label, w, False) for w in (1.0, 3.0)}
    limited = rectified_flow.make_velocity(network, label, 3.0, False, (0.2, 0.6))
    level = PROCESS.sigma / (PROCESS.alpha + PROCESS.sigma)
    apply = rectified_flow.on_process(network, PROCESS)
    denoise = {w: guidance.make_denoiser(apply, PROCESS, label, "flow", w, False) for w in (1.0, 3.0)}
    part = guidance.make_denoiser(apply, PROCESS, label, "flow", 3.0, False, (0.2, 0.6))
    for t in (5, 30, 60):
        w = 3.0 if 0.2 <= float(level[t]) <= 0.6 else 1.0
        np.testing.assert_allclose(limited(x, level[t]), makers[w](x, level[t]), rtol=1e-5)
        np.testing.assert_allclose(part(x, t).x0, denoise[w](x, t).x0, rtol=1e-5, atol=1e-5)


def test_draws_are_logit_normal_and_keyed_by_example():
    position = jnp.arange(4000, dtype=jnp.uint32)
    t, noise, dropped = rectified_flow.draw(KEY, position, (1, 1, 1), 0.25)
    assert scipy.stats.kstest(scipy.special.logit(np.asarray(t, np.float64)), "norm").pvalue > ALPHA
    assert scipy.stats.kstest(np.ravel(noise), "norm").pvalue > ALPHA
    assert scipy.stats.binomtest(int(dropped.sum()), 4000, 0.25).pvalue > ALPHA
    again = rectified_flow.draw(KEY, position[7:9], (1, 1, 1), 0.25)
    np.testing.assert_array_equal(again[0], t[7:9])
    np.testing.assert_array_equal(again[1], noise[7:9])


def test_a_dropped_label_is_no_label_and_shapes_are_checked():
    def network(x, time, label):
        return jnp.zeros_like(x) + label[:, None, None, None]

    images, label = jnp.zeros((2, 2, 2, 1)), jnp.array([3, 3])
    t, dropped = jnp.full(2, 0.5), jnp.array([False, True])
    losses = rectified_flow.flow_losses(network, images, label, t, jnp.zeros_like(images), dropped)
    np.testing.assert_allclose(losses, [9.0, 1.0])
    with pytest.raises(UserError, match=r"noise has shape \(2, 1, 1, 1\) for images of shape"):
        rectified_flow.flow_losses(network, images, label, t, jnp.zeros((2, 1, 1, 1)), dropped)
    objective = diffusion.Objective("flow", None, 0.0)
    rows = (KEY, images, label, jnp.arange(2, dtype=jnp.uint32))
    losses, parts = objectives.drawn_losses(network, objective, PROCESS, *rows)
    _, noise, _ = rectified_flow.draw(KEY, rows[-1], (2, 2, 1), 0.0)
    np.testing.assert_allclose(losses, jnp.mean((3 - noise) ** 2, axis=(1, 2, 3)), rtol=1e-5)
    assert parts["mse"] is losses


@pytest.fixture(scope="module")
def small_flow():
    unet = diffusion.make_unet("compact", base=8, multipliers=(1,), patch=4)
    params = diffusion.init_params(KEY, unet)
    # The last convolution of each block starts at zero, which would hide the label.
    params = jax.tree.map(lambda p: p + 0.3 * np.random.default_rng(0).normal(size=p.shape).astype(np.float32), params)
    return diffusion.Diffusion(unet, PROCESS, "flow", (8, 8, 1)), params


def test_images_do_not_depend_on_the_batch(small_flow):
    label, settings = np.array([1, 2, 3]), diffusion.Generation("midpoint", 2, 2.0)
    whole = next(diffusion.generate(KEY, *small_flow, label, settings, batch=3, keep_states=True))
    pieces = list(diffusion.generate(KEY, *small_flow, label, settings, batch=2, keep_states=True))
    np.testing.assert_allclose(np.concatenate([piece.images for piece in pieces]), whole.images, atol=1e-5)
    np.testing.assert_array_equal(whole.states[-1], whole.images)
    other = next(diffusion.generate(KEY, *small_flow, np.array([2, 2, 3]), settings, keep_states=True)).images
    assert np.abs(other[0] - whole.images[0]).max() > 1e-3
    np.testing.assert_allclose(other[1:], whole.images[1:], atol=1e-5)


def test_refusals(small_flow):
    model, params = small_flow
    label = np.array([1])
    with pytest.raises(UserError, match="sampler is 'euler'; allowed unless objective is flow: ancestral, ddim"):
        diffusion.generate(KEY, model._replace(prediction="v"), params, label, diffusion.Generation("euler", 2))
    known = diffusion.Known(np.zeros((1, 8, 8, 1)), diffusion.known_mask("top", 8, 8))
    with pytest.raises(UserError, match="sampler is 'midpoint'; allowed for inpainting: ancestral, ddim"):
        diffusion.generate(KEY, model, params, label, diffusion.Generation("midpoint", 2), known=known)
    config = diffusion.DiffusionConfig(objective="flow")
    for changes in ({"min_snr": 5.0}, {"learned_variance": True}):
        with pytest.raises(UserError, match="with objective='flow'; allowed: leave it out"):
            diffusion.build_diffusion(dataclasses.replace(config, **changes))
    with pytest.raises(UserError, match="sampler is 'midpoint'; allowed unless objective is flow"):
        diffusion.build_diffusion(diffusion.DiffusionConfig(sampler="midpoint"))
