"""Samplers on Gaussian data, where everything is known; noise keyed by image; guidance; inpainting."""

import itertools

import diffusion_gaussian as gaussian
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from statistical import ALPHA

from jaxgen import diffusion
from jaxgen.diffusion import guidance, inpainting, samplers, schedules
from jaxgen.diffusion import process as forward
from jaxgen.diffusion.unet import UNet
from jaxgen.errors import UserError

KEY = jax.random.key(5)


def smooth_process(n):
    """The angle falls evenly from 1.2 to 0.3: no singular end, so that orders show."""
    return forward.from_alpha_bar(np.cos(np.linspace(0.3, 1.2, n + 1)) ** 2)


def draw(process, denoise, sampler, n_steps, start, key=KEY, grid="uniform", **more):
    times = jnp.asarray(samplers.time_grid(process, n_steps, grid))
    index = jnp.arange(len(start), dtype=jnp.uint32)
    run = jax.jit(lambda key, start: diffusion.sample(key, process, denoise, sampler, times, index, start, **more))
    return run(key, start)


@pytest.mark.parametrize(
    "name, order, error",
    [("ddim", 1, 0.0146), ("heun", 2, 0.001), ("dpm_solver", 2, 0.00137), ("unipc", 2, 0.00119)],
)
def test_order_of_convergence_and_limit(name, order, error):
    """Halving the step divides the error by 2 to the order; the limit is the exact flow; the error is the known one.

    The last, because a wrong weight of the memory of DPM-Solver++ leaves its order and only enlarges the error. UniPC
    has order 2 here, because this process ends at sigma > 0, where the last step, of first order, is not a short one.
    """
    process, start = smooth_process(32), jnp.array([-2.0, 2.0]).reshape(2, 1, 1, 1)
    exact, sampler = gaussian.flow(process, start), diffusion.make_sampler(name)
    drawn = [draw(process, gaussian.denoiser(process), sampler, n, start)[0] for n in (16, 32)]
    errors = [np.abs(np.asarray(x) - exact).max() for x in drawn]
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.1 and errors[1] < 1.1 * error, errors


def test_ancestral_with_the_exact_variance_draws_the_data():
    """The reverse step of Gaussian data is Gaussian; with its variance every step, long or short, is exact."""
    process, n = diffusion.make_process("cosine", 40), 20_000
    start = jax.random.normal(jax.random.key(1), (n, 1, 1, 1))
    denoise = gaussian.denoiser(process, exact_variance=True)
    x, states = draw(process, denoise, diffusion.make_sampler("ancestral"), 40, start)
    before = np.asarray(states[-2]).ravel()
    spread = np.sqrt(process.alpha[1] ** 2 * gaussian.SCALE**2 + process.sigma[1] ** 2)
    standard = (before - process.alpha[1] * gaussian.MEAN) / spread
    assert scipy.stats.kstest(standard, "norm").pvalue > ALPHA
    np.testing.assert_array_equal(states[-1], x)
    # The last step takes the mean: short of the data's variance by that of x_0 given x_1.
    left = gaussian.SCALE * process.alpha[1] * gaussian.SCALE / spread
    assert scipy.stats.kstest((np.asarray(x).ravel() - gaussian.MEAN) / left, "norm").pvalue > ALPHA


def test_ancestral_with_the_posterior_variance_follows_its_recursion():
    process, n = diffusion.make_process("linear", 30), 20_000
    start = jax.random.normal(jax.random.key(2), (n, 1, 1, 1))
    x, _ = draw(process, gaussian.denoiser(process), diffusion.make_sampler("ancestral"), 15, start)
    mean, variance, times = 0.0, 1.0, samplers.time_grid(process, 15)
    left = schedules.alpha_bar("linear", 30)
    for t, s in itertools.pairwise(times):
        gain = gaussian.SCALE**2 * np.sqrt(left[t]) / (left[t] * gaussian.SCALE**2 + 1 - left[t])
        beta = 1 - left[t] / left[s]
        of_x0 = np.sqrt(left[s]) * beta / (1 - left[t])
        of_x = np.sqrt(left[t] / left[s]) * (1 - left[s]) / (1 - left[t])
        slope = of_x0 * gain + of_x
        mean = slope * mean + of_x0 * gaussian.MEAN * (1 - gain * np.sqrt(left[t]))
        variance = slope**2 * variance + beta * (1 - left[s]) / (1 - left[t])
    standard = (np.asarray(x).ravel() - mean) / np.sqrt(variance)
    assert scipy.stats.kstest(standard, "norm").pvalue > ALPHA


@pytest.mark.parametrize("name, order", [("ancestral", 1), ("dpm_solver_sde", 2)])
def test_weak_order_of_the_stochastic_samplers(name, order):
    """The error of the variance at the end of a smooth process, exactly: the samplers are linear for Gaussian data.

    Image k gets a unit of noise at step k alone, the last image none, and the one before it starts at 1.
    """

    def variance(n):
        process = smooth_process(n)
        sampler, denoise = diffusion.make_sampler(name), gaussian.denoiser(process)
        noise = jnp.eye(n, n + 2).reshape(n, n + 2, 1, 1, 1)
        start = jnp.zeros(n + 2).at[n].set(1.0).reshape(n + 2, 1, 1, 1)

        def body(state, step):
            t, z = step
            return sampler.step(denoise, process, *state, t, t - 1, z), None

        times = jnp.arange(n, 0, -1)
        (x, _), _ = jax.jit(lambda x: jax.lax.scan(body, (x, sampler.memory(x)), (times, noise)))(start)
        x = np.asarray(x, np.float64).ravel()
        spread = float(process.alpha[n] ** 2 * gaussian.SCALE**2 + process.sigma[n] ** 2)
        return np.sum((x[:n] - x[-1]) ** 2) + spread * (x[n] - x[-1]) ** 2

    process = smooth_process(16)
    exact = float(process.alpha[0] ** 2 * gaussian.SCALE**2 + process.sigma[0] ** 2)
    errors = [abs(variance(n) - exact) for n in (16, 32, 64)]
    assert abs(np.log2(errors[1] / errors[2]) - order) < 0.3, errors


def test_ddim_between_the_flow_and_ancestral_sampling():
    """eta = 1 gives ancestral's images from the same noise; eta = 0 draws nothing; both hold for long steps."""
    process = diffusion.make_process("cosine", 30)
    start, denoise = jax.random.normal(jax.random.key(3), (6, 2, 2, 1)), gaussian.denoiser(process)
    names = {"ancestral": "ancestral", 1.0: "ddim", 0.0: "ddim"}
    drawn = {}
    for eta, name in names.items():
        sampler = diffusion.make_sampler(name, 0.0 if eta == "ancestral" else eta)
        drawn[eta] = draw(process, denoise, sampler, 10, start)[0]
    np.testing.assert_allclose(drawn[1.0], drawn["ancestral"], atol=2e-5)
    assert np.abs(drawn[0.0] - drawn[1.0]).max() > 0.05
    other = draw(process, denoise, diffusion.make_sampler("ddim"), 10, start, key=jax.random.key(99))[0]
    np.testing.assert_array_equal(other, drawn[0.0])


def test_an_image_depends_on_its_number_alone():
    process, sampler = diffusion.make_process("cosine", 12), diffusion.make_sampler("ancestral")
    times, denoise = jnp.asarray(samplers.time_grid(process, 6)), gaussian.denoiser(process)

    def images(index):
        index = jnp.asarray(index, jnp.uint32)
        start = samplers.keyed_noise(jax.random.key(8), index, 12, (2, 2, 1))
        return diffusion.sample(KEY, process, denoise, sampler, times, index, start)[0]

    whole = jax.jit(images)(np.arange(6))
    np.testing.assert_allclose(jax.jit(images)([5, 2]), whole[np.array([5, 2])], atol=1e-6)
    assert np.abs(np.diff(whole, axis=0)).min() > 1e-4


def test_generation_does_not_depend_on_the_batch():
    unet = UNet(base=8, multipliers=(1,), patch=4)
    model = diffusion.Diffusion(unet, diffusion.make_process("cosine", 9), "v")
    params = diffusion.init_params(KEY, unet)
    label, settings = diffusion.classes_in_turn(5), diffusion.Generation("ancestral", 3, w=3.0)
    images = np.linspace(-1, 1, 5 * 784, dtype=np.float32).reshape(5, 28, 28, 1)
    known = diffusion.Known(images, diffusion.known_mask("bottom", 28, 28), 2)
    generated = []
    for batch in (5, 2):
        more = {"known": known, "keep_states": True, "batch": batch}
        pieces = list(diffusion.generate(KEY, model, params, label, settings, **more))
        assert [len(piece.images) for piece in pieces] == ([5] if batch == 5 else [2, 2, 1])
        generated.append(np.concatenate([piece.images for piece in pieces]))
        assert pieces[0].states.shape == (3, batch, 28, 28, 1)
    np.testing.assert_allclose(*generated, atol=1e-5)
    np.testing.assert_array_equal(generated[0][:, :14], known.images[:, :14])
    assert np.abs(generated[0][:, 14:] - known.images[:, 14:]).mean() > 0.1


def test_time_grids():
    process = diffusion.make_process("cosine", 300)
    assert samplers.time_grid(process, 300).tolist() == list(range(300, -1, -1))
    assert samplers.time_grid(process, 4).tolist() == [300, 225, 150, 75, 0]
    ratio = np.asarray(process.sigma, np.float64) / np.asarray(process.alpha, np.float64)
    for name in samplers.GRIDS:
        for steps in (1, 2, 7, 77, 299, 300):
            times = samplers.time_grid(process, steps, name)
            assert (len(times), times[0], times[-1]) == (steps + 1, 300, 0) and (np.diff(times) < 0).all(), (
                name,
                steps,
            )
    angles = np.arctan(ratio[samplers.time_grid(process, 10, "angle")])
    np.testing.assert_allclose(np.diff(angles), -np.pi / 20, atol=0.004)
    rises = np.diff(-np.log(ratio[samplers.time_grid(process, 10, "log_snr")[1:-1]]))
    np.testing.assert_allclose(rises, rises.mean(), rtol=0.25)
    roots = np.diff(ratio[samplers.time_grid(process, 10, "karras")[1:-1]] ** (1 / 7))
    np.testing.assert_allclose(roots, roots.mean(), rtol=0.25)


def test_refusals():
    process = diffusion.make_process("cosine", 300)
    for steps in (0, 301):
        with pytest.raises(UserError, match=f"sample_steps is {steps}; allowed: 1 to 300"):
            samplers.time_grid(process, steps)
    with pytest.raises(UserError, match="time_grid is 'even'; allowed: uniform, angle, log_snr, karras"):
        samplers.time_grid(process, 10, "even")
    with pytest.raises(UserError, match="sampler is 'euler'; allowed: ancestral, ddim, heun, dpm_solver"):
        diffusion.make_sampler("euler")


def fake_network(outputs, calls):
    """An answer that shows which label and time it was asked for."""

    def apply(x, t, label):
        calls.append(len(x))
        answer = x * (1 + label)[:, None, None, None] + t[:, None, None, None]
        return answer if outputs == 1 else jnp.concatenate([answer, answer / 7], axis=-1)

    return apply


@pytest.mark.parametrize("outputs", [1, 2])
def test_guidance(outputs):
    x, t, label = jnp.ones((2, 1, 1, 1)) * 0.5, jnp.array([3, 4]), jnp.array([1, 6])
    without, with_label = np.array([3.0, 4.0]), 0.5 * np.array([2, 7]) + np.array([3, 4])
    for w in (0.0, 1.0, 3.0, 0.5):
        calls = []
        mixed = guidance.guided_output(fake_network(outputs, calls), x, t, label, w)
        np.testing.assert_allclose(mixed[:, 0, 0, 0], without + w * (with_label - without), rtol=1e-6)
        assert calls == ([2] if w in (0, 1) else [4])
        if outputs == 2:
            np.testing.assert_allclose(mixed[:, 0, 0, 1], (without if w == 0 else with_label) / 7, rtol=1e-6)
    paper = 3.0 - 1
    guided = guidance.guided_output(fake_network(1, []), x, t, label, 3.0)[:, 0, 0, 0]
    np.testing.assert_allclose(guided, (1 + paper) * with_label - paper * without, rtol=1e-6)


@pytest.mark.parametrize("kind", forward.PREDICTIONS)
def test_guidance_means_the_same_for_every_prediction(kind):
    """Guiding the answer is guiding the image it stands for."""
    process, t = diffusion.make_process("cosine", 20), 7
    x = jnp.linspace(-1, 1, 4).reshape(4, 1, 1, 1)
    label = jnp.array([0, 2, 5, 9])

    def images(w):
        return guidance.make_denoiser(fake_network(1, []), process, label, kind, w, clip_x0=False)(x, t)

    zero, one, three = (images(w) for w in (0.0, 1.0, 3.0))
    np.testing.assert_allclose(three.x0, zero.x0 + 3 * (one.x0 - zero.x0), rtol=1e-4, atol=1e-4)
    for denoised in (zero, three):
        back = forward.q_sample(process, denoised.x0, t, denoised.eps)
        np.testing.assert_allclose(back, x, atol=2e-4)
    clipped = guidance.make_denoiser(fake_network(1, []), process, label, kind, 3.0)(x, t)
    assert np.abs(clipped.x0).max() == 1
    np.testing.assert_allclose(forward.q_sample(process, clipped.x0, t, clipped.eps), x, atol=1e-5)


def test_inpainting_keeps_what_is_known():
    process, n = diffusion.make_process("cosine", 20), 4000
    mask = diffusion.known_mask("left", 2, 2)
    known = diffusion.Known(jnp.full((n, 2, 2, 1), 0.9), mask)
    start = jax.random.normal(jax.random.key(4), (n, 2, 2, 1))
    sampler = diffusion.make_sampler("ancestral")
    x, states = draw(process, gaussian.denoiser(process), sampler, 10, start, known=known)
    np.testing.assert_array_equal(x[:, :, 1], np.float32(0.9))
    assert np.asarray(x[:, :, 0]).std() > 0.3
    # On the way the known pixels are the forward process of the known image.
    t = samplers.time_grid(process, 10)[5]
    standard = (np.asarray(states[4][:, 0, 1, 0]) - process.alpha[t] * 0.9) / process.sigma[t]
    assert scipy.stats.kstest(standard, "norm").pvalue > ALPHA


def correlated(process, correlation):
    """The exact denoiser of pairs of pixels with mean 0, variance 1 and this correlation."""
    covariance = jnp.array([[1.0, correlation], [correlation, 1.0]])

    def denoise(x, t):
        t = jnp.max(jnp.asarray(t))
        alpha, sigma = process.alpha[t], process.sigma[t]
        gain = alpha * covariance @ jnp.linalg.inv(alpha**2 * covariance + sigma**2 * jnp.eye(2))
        x0 = jnp.einsum("ij,bkjc->bkic", gain, x)
        return guidance.Denoised(x0, (x - alpha * x0) / sigma)

    return denoise


@pytest.mark.parametrize("name, spread", [("ancestral", 0.09), ("dpm_solver", 0.03)])
def test_inpainting_has_the_conditional_mean_of_two_pixels(name, spread):
    """With correlation 0.9 and one pixel known to be 0.5 the other has mean 0.45 and standard deviation 0.436.

    One replacement per step gives a mean near 0.23; the repetitions of RePaint close the gap. The steps of `ancestral`
    with the variance of the posterior draw too little noise, with or without known pixels.
    """
    process, n = diffusion.make_process("cosine", 300), 2000
    known = diffusion.Known(jnp.full((n, 1, 2, 1), 0.5), jnp.array([True, False]).reshape(1, 2, 1), 1)
    start = jax.random.normal(jax.random.key(4), (n, 1, 2, 1))
    more = {"grid": samplers.BEST[name]}
    second_pixel = {}
    for repeats in (1, inpainting.REPEATS):
        again = known._replace(repeats=repeats)
        x = draw(process, correlated(process, 0.9), diffusion.make_sampler(name), 30, start, known=again, **more)[0]
        np.testing.assert_array_equal(x[:, 0, 0], np.float32(0.5))
        second_pixel[repeats] = np.asarray(x[:, 0, 1, 0])
    assert second_pixel[1].mean() < 0.35
    many = second_pixel[inpainting.REPEATS]
    assert abs(many.mean() - 0.45) < 0.04 and abs(many.std() - 0.436) < spread, (many.mean(), many.std())


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_another_shape(channels):
    """A model of 12 x 12 images, grey or in colour, with three classes, draws such images and refuses others."""
    unet = UNet(base=8, multipliers=(1,), patch=4, channels=channels, classes=3)
    model = diffusion.Diffusion(unet, diffusion.make_process("cosine", 9), "v", (12, 12, channels))
    params, settings = diffusion.init_params(KEY, unet), diffusion.Generation("ddim", 2)
    (piece,) = diffusion.generate(KEY, model, params, np.array([0, 2, diffusion.NO_LABEL]), settings)
    assert piece.images.shape == (3, 12, 12, channels)
    assert diffusion.to_grey(piece.images).shape == ((3, 12, 12) if channels == 1 else (3, 12, 12, 3))
    with pytest.raises(UserError, match="label is 3; allowed: 0 to 2, or -1 for no label"):
        diffusion.generate(KEY, model, params, np.array([3]), settings)
    known = diffusion.Known(np.zeros((1, 28, 28, 1)), diffusion.known_mask("top", 28, 28))
    with pytest.raises(UserError, match=r"known images have shape \(1, 28, 28, 1\); allowed: \(1, 12, 12"):
        diffusion.generate(KEY, model, params, np.array([1]), settings, known=known)


def test_regions():
    for region, known in {"top": 14 * 28, "bottom": 14 * 28, "left": 14 * 28, "right": 14 * 28, "centre": 588}.items():
        assert int(diffusion.known_mask(region, 28, 28).sum()) == known
    assert not diffusion.known_mask("top", 28, 28)[0].any() and not diffusion.known_mask("right", 28, 28)[:, 20].any()
    assert not diffusion.known_mask("centre", 28, 28)[7:21, 7:21].any()
    with pytest.raises(ValueError, match="inpaint is 'middle'; allowed: top, bottom, left, right, centre"):
        diffusion.known_mask("middle", 28, 28)
