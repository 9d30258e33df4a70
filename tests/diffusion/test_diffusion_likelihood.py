"""The bound is exact for the exact reverse process; its parts by integration; the learned variance; the loss."""

import math

import diffusion_gaussian as gaussian
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxgen import diffusion
from jaxgen.diffusion import evaluate, guidance, likelihood, objectives, samplers
from jaxgen.diffusion import process as forward
from jaxgen.errors import UserError

KEY = jax.random.key(0)


def test_the_exact_reverse_process_has_the_exact_likelihood():
    process, n = diffusion.make_process("cosine", 40), 20_000
    levels = np.random.default_rng(0).integers(40, 216, n)
    x0 = (2 * levels / 255 - 1).astype(np.float32).reshape(n, 1, 1, 1)
    denoise, index = gaussian.denoiser(process, exact_variance=True), jnp.arange(n, dtype=jnp.uint32)
    bound = jax.jit(lambda x: diffusion.variational_bound(jax.random.key(0), process, denoise, x, index))(x0)
    law = scipy.stats.norm(gaussian.MEAN, gaussian.SCALE)
    x0 = x0.ravel().astype(np.float64)
    exact = -np.log2(law.cdf(x0 + 1 / 255) - law.cdf(x0 - 1 / 255))
    gap = evaluate.mean_of(np.asarray(bound.total) - exact)
    assert abs(gap.value) < 4 * gap.error and gap.error < 0.012
    assert bound.steps.shape == (n, 40)
    # A variance that is not the right one costs bits.
    plain = gaussian.denoiser(process)
    worse = jax.jit(lambda x: diffusion.variational_bound(jax.random.key(0), process, plain, x, index))(
        x0.astype(np.float32).reshape(n, 1, 1, 1)
    )
    assert evaluate.mean_of(np.asarray(worse.total) - exact).value > gap.value + 0.05


@pytest.mark.parametrize("mean, scale", [(-0.2, 0.05), (0.999, 0.01), (3.0, 0.02)])
def test_masses_of_the_grey_levels(mean, scale):
    levels = (2 * np.arange(256) / 255 - 1).astype(np.float32).reshape(256, 1, 1, 1)
    full = np.full_like(levels, mean)
    log = likelihood.discretised_log_mass(levels, full, np.full_like(levels, 2 * math.log(scale)))
    log = np.asarray(log, np.float64).ravel()
    assert np.exp(log).sum() == pytest.approx(1, abs=1e-4)
    edges = np.concatenate([[-np.inf], (2 * np.arange(255) + 1) / 255 - 1, [np.inf]])
    law = scipy.stats.norm(mean, scale)
    inner = [i for i in range(256) if law.cdf(edges[i + 1]) - law.cdf(edges[i]) > 1e-6]
    want = np.log(np.diff(law.cdf(edges))[inner])
    np.testing.assert_allclose(log[inner], want, rtol=2e-3, atol=2e-3)
    assert np.isfinite(log).all()


def test_kl_by_integration():
    from jaxgen.diffusion.likelihood import gaussian_kl

    p, q = scipy.stats.norm(0.3, 0.7), scipy.stats.norm(-0.2, 1.1)
    grid = np.linspace(-8, 8, 100_001)
    want = np.trapezoid(p.pdf(grid) * (p.logpdf(grid) - q.logpdf(grid)), grid)
    assert float(gaussian_kl(0.3, 2 * jnp.log(0.7), -0.2, 2 * jnp.log(1.1))) == pytest.approx(want, rel=1e-4)


def test_the_best_scalar_variances_tighten_the_bound_to_the_exact_likelihood():
    """On Gaussian data the best scalar variance is the exact one; that of the posterior costs 0.8 bits at T = 300."""
    process, n = diffusion.make_process("cosine", 300), 512
    rng = np.random.default_rng(1)
    law = scipy.stats.norm(gaussian.MEAN, gaussian.SCALE)
    levels = np.clip(np.rint((law.rvs(2 * n, random_state=rng) + 1) * 127.5), 1, 254)
    x0 = (2 * levels / 255 - 1).astype(np.float32).reshape(2, n, 1, 1, 1)
    denoise, index = gaussian.denoiser(process), jnp.arange(n, dtype=jnp.uint32)
    variances = jax.jit(lambda x: likelihood.best_variances(KEY, process, denoise, x, index))(x0[0])
    bound = jax.jit(lambda x, v: diffusion.variational_bound(KEY, process, denoise, x, index, v))(x0[1], variances)
    plain = jax.jit(lambda x: diffusion.variational_bound(KEY, process, denoise, x, index))(x0[1])
    wanted = x0[1].ravel().astype(np.float64)
    exact = -np.log2(law.cdf(wanted + 1 / 255) - law.cdf(wanted - 1 / 255))
    gap = evaluate.mean_of(np.asarray(bound.total) - exact)
    assert -4 * gap.error < gap.value < 0.02 + 4 * gap.error and gap.error < 0.07, gap
    assert evaluate.mean_of(np.asarray(plain.total) - exact).value > 0.5
    # The exact variances, but for t = 1, where the law of the grey level is no Gaussian.
    t = np.arange(2, 301)
    alpha, sigma = np.asarray(process.alpha)[t], np.asarray(process.sigma)[t]
    of_x0 = np.asarray(process.alpha[t - 1] * forward.step_beta(process, t, t - 1)) / sigma**2
    left = gaussian.SCALE**2 * sigma**2 / (alpha**2 * gaussian.SCALE**2 + sigma**2)
    wanted = np.asarray(forward.posterior_variance(process, t, t - 1)) + of_x0**2 * left
    ratio = np.asarray(variances)[1:] / wanted
    assert abs(ratio.mean() - 1) < 0.01 and np.abs(ratio - 1).max() < 0.3
    # Only near t = 1 is the part that comes from the images as large as the variance of the posterior.
    assert abs(ratio[:10].mean() - 1) < 0.02, ratio[:10]


def test_the_flow_has_the_exact_density_of_a_gaussian():
    """x_1 / alpha_1 of Gaussian data is Gaussian; a probe of +-1 measures the divergence of one pixel exactly."""
    process, n = diffusion.make_process("cosine", 300), 64
    x = np.linspace(-1.2, 1.6, n, dtype=np.float32).reshape(n, 1, 1, 1)
    times = samplers.time_grid(process, 100, "log_snr")
    denoise, index = gaussian.denoiser(process), jnp.arange(n, dtype=jnp.uint32)
    density = jax.jit(lambda x: likelihood.log_density(KEY, process, denoise, x, index, times))(x)
    scale = math.hypot(gaussian.SCALE, float(process.sigma[1] / process.alpha[1]))
    np.testing.assert_allclose(density, scipy.stats.norm.logpdf(x.ravel(), gaussian.MEAN, scale), atol=0.01)
    # One draw of u per image, averaged over images of one grey level, bounds the mass of that level.
    level = np.full((n, 1, 1, 1), 2 * 150 / 255 - 1, np.float32)
    bits = jax.jit(lambda x: likelihood.flow_bound(KEY, process, denoise, x, index, times))(level)
    law = scipy.stats.norm(gaussian.MEAN, scale)
    exact = -np.log2(law.cdf(level[0, 0, 0, 0] + 1 / 255) - law.cdf(level[0, 0, 0, 0] - 1 / 255))
    assert float(bits.mean()) == pytest.approx(exact, abs=0.01) and float(bits.std()) > 0


def test_the_estimated_divergence_is_unbiased_for_correlated_pixels():
    process, n = diffusion.make_process("cosine", 100), 4000
    covariance = np.array([[1.0, 0.9], [0.9, 1.0]])

    def denoise(x, t):
        t = jnp.max(jnp.asarray(t))
        alpha, sigma = process.alpha[t], process.sigma[t]
        gain = alpha * covariance @ jnp.linalg.inv(alpha**2 * covariance + sigma**2 * jnp.eye(2))
        x0 = jnp.einsum("ij,bkjc->bkic", gain, x)
        return guidance.Denoised(x0, (x - alpha * x0) / sigma)

    x, index = (
        np.tile(np.array([0.4, -0.3], np.float32).reshape(1, 1, 2, 1), (n, 1, 1, 1)),
        np.arange(n, dtype=np.uint32),
    )
    times = samplers.time_grid(process, 60, "log_snr")
    density = jax.jit(lambda x: likelihood.log_density(KEY, process, denoise, x, index, times))(x)
    total = covariance + (float(process.sigma[1] / process.alpha[1])) ** 2 * np.eye(2)
    exact = scipy.stats.multivariate_normal([0, 0], total).logpdf([0.4, -0.3])
    mean = evaluate.mean_of(density)
    assert mean.error > 0 and abs(mean.value - exact) < 4 * mean.error + 0.02, (mean, exact)


def test_a_table_of_the_last_step_by_hand():
    """Two pixels of mean 5 with levels 5 and 6, one of mean 7 and level 7: differences 0, 1 and 0."""
    table = likelihood.last_step_table(np.array([5, 5, 7]), np.array([5, 6, 7], np.uint8))
    np.testing.assert_allclose(table.sum(1), 1)
    total = 3 + 256 * 0.01  # of the counts by difference that mean 5 allows
    assert table[5, 6] == pytest.approx((1 + 16 * 1.01 / total) / 18)
    assert table[5, 9] == pytest.approx(16 * 0.01 / total / 18)
    assert table[200, 200] == pytest.approx(2.01 / total)
    bits = likelihood.last_step_bits(table, np.array([[5, 200]]), np.array([[6, 200]], np.uint8))
    np.testing.assert_allclose(bits, [-np.log2(table[5, 6] * table[200, 200]) / 2])


def test_the_table_of_the_last_step_approaches_the_exact_law_of_the_levels():
    """Levels with a known law, a denoiser that only divides by alpha: p(k | m) follows from Bayes' rule."""
    process, rng = diffusion.make_process("cosine", 300), np.random.default_rng(0)
    prior = np.where(np.arange(256) % 5 == 0, rng.uniform(0.1, 1, 256), 0)
    prior[0] = 4 * prior[1:].sum()
    prior /= prior.sum()
    levels = rng.choice(256, (2, 300, 28, 28, 1), p=prior).astype(np.uint8)

    def denoise(x, t):
        return guidance.Denoised(x / process.alpha[t], jnp.zeros_like(x))

    means = []
    for key, images in zip(jax.random.split(KEY), levels, strict=True):
        index = jnp.arange(300, dtype=jnp.uint32)
        means.append(np.asarray(likelihood.last_levels(key, process, denoise, objectives.to_unit(images), index)))
    table = likelihood.last_step_table(means[0], levels[0])
    spread = float(process.sigma[1] / process.alpha[1]) * 127.5
    edges = np.concatenate([[-np.inf], np.arange(255) + 0.5, [np.inf]])
    of_mean = np.diff(scipy.stats.norm.cdf(edges[:, None], np.arange(256), spread), axis=0)  # P(m | k)
    exact = of_mean * prior / np.maximum((of_mean * prior).sum(1, keepdims=True), 1e-300)
    bits = likelihood.last_step_bits(table, means[1], levels[1])
    best = -np.log2(exact[means[1], levels[1]]).reshape(300, -1).mean(1)
    assert bits.shape == (300,) and 0.1 < best.mean() < 1
    assert 0 < (bits - best).mean() < 0.05, (bits.mean(), best.mean())


def test_images_and_noise_of_another_shape_are_refused():
    """Otherwise (4, 32, 32, 3) would broadcast silently."""
    process, x0 = diffusion.make_process("cosine", 5), jnp.zeros((4, 8, 8, 1))
    draws = objectives.Draws(jnp.ones(4, int), jnp.zeros((4, 8, 8, 3)), jnp.zeros(4, bool))
    arguments = (diffusion.Objective(), process, x0, jnp.zeros(4, int))
    with pytest.raises(UserError, match=r"noise has shape \(4, 8, 8, 3\) for images of shape \(4, 8, 8, 1\)"):
        objectives.example_losses(lambda x, t, label: x, *arguments, draws)
    draws = draws._replace(noise=x0)
    with pytest.raises(UserError, match=r"the prediction has shape \(4, 8, 1, 1\)"):
        objectives.example_losses(lambda x, t, label: x[:, :, :1], *arguments, draws)


def test_learned_variance_lies_between_its_ends():
    process = diffusion.make_process("cosine", 30)
    for t, s in ((30, 29), (12, 4), (1, 0)):
        low, half, high = guidance.log_variance(process, jnp.array([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1), t, s)[
            0, :, 0, 0
        ]
        least = forward.posterior_variance(process, t, s) if s else forward.posterior_variance(process, 2, 1)
        assert float(low) == pytest.approx(float(jnp.log(least)), rel=1e-5)
        assert float(high) == pytest.approx(float(jnp.log(forward.step_beta(process, t, s))), rel=1e-5)
        assert float(half) == pytest.approx((float(low) + float(high)) / 2, rel=1e-5)
        assert float(guidance.log_variance(process, None, t, s)) == pytest.approx(float(low), rel=1e-6)


def test_min_snr_weights_by_hand():
    process = forward.from_alpha_bar(np.array([1.0, 0.9, 0.5, 0.1]))  # SNR 9, 1, 1 / 9
    t = jnp.array([1, 2, 3])
    want = {"eps": [5 / 9, 1, 1], "x0": [5, 1, 1 / 9], "v": [5 / 10, 1 / 2, (1 / 9) / (10 / 9)]}
    for kind, values in want.items():
        weights = objectives.loss_weight(diffusion.Objective(kind, 5.0), process, t)
        np.testing.assert_allclose(weights, values, rtol=1e-5)
        np.testing.assert_array_equal(objectives.loss_weight(diffusion.Objective(kind), process, t), 1)


@pytest.mark.parametrize("kind", forward.PREDICTIONS)
def test_the_loss_of_one_example(kind):
    """Weight times mean squared error of the target; the variance's part moves the second output alone."""
    process = diffusion.make_process("cosine", 20)
    rng = np.random.default_rng(0)
    x0, noise, answer = (rng.normal(size=(3, 2, 2, 1)).astype(np.float32) * 0.5 for _ in range(3))
    draws = objectives.Draws(jnp.array([1, 6, 15]), noise, np.array([False, True, False]))
    objective = diffusion.Objective(kind, 5.0)

    def total(first, second):
        def network(x, t, label):
            nonlocal asked
            asked = (x, t, label)
            return first if second is None else jnp.concatenate([first, second], axis=-1)

        losses, parts = objectives.example_losses(network, objective, process, x0, jnp.array([4, 5, 6]), draws)
        return losses.sum(), (losses, parts, asked)

    asked = None
    plain, (losses, parts, (x, t, label)) = jax.jit(jax.grad(lambda a: total(a, None), has_aux=True))(answer)
    np.testing.assert_array_equal(label, [4, diffusion.NO_LABEL, 6])
    np.testing.assert_allclose(x, forward.q_sample(process, x0, t, noise), rtol=1e-5, atol=1e-6)
    target = forward.prediction_target(kind, process, x0, noise, draws.t)
    mse = np.mean((answer - np.asarray(target)) ** 2, axis=(1, 2, 3))
    weight = objectives.loss_weight(objective, process, draws.t)
    np.testing.assert_allclose(losses, weight * mse, rtol=1e-5)
    assert set(parts) == {"mse"}
    both = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    (of_first, of_second), (losses, parts, _) = both(answer, 0.3 * np.ones_like(answer))
    np.testing.assert_allclose(of_first, plain, rtol=1e-4, atol=1e-6)
    assert np.abs(of_second).min() > 0
    # T L_t / 1000, with the mean that the first output stands for.
    image = forward.to_x0(kind, process, answer, x, t)
    denoised = guidance.Denoised(image, None, jnp.full_like(image, 0.65))
    np.testing.assert_allclose(parts["vlb"], 20 * likelihood.step_term(process, x0, x, denoised, t), rtol=1e-3)
    np.testing.assert_allclose(losses, weight * mse + 1e-3 * parts["vlb"], rtol=1e-4)


def test_what_is_drawn_for_an_example():
    n, key = 20_000, jax.random.key(3)
    draws = jax.jit(lambda k, p: objectives.draw(k, p, 7, (1, 1, 1), 0.25))(key, jnp.arange(n, dtype=jnp.uint32))
    counts = np.bincount(draws.t, minlength=8)
    assert counts[0] == 0 and scipy.stats.chisquare(counts[1:]).pvalue > 1e-4
    assert scipy.stats.binomtest(int(draws.dropped.sum()), n, 0.25).pvalue > 1e-4
    assert scipy.stats.kstest(np.asarray(draws.noise).ravel(), "norm").pvalue > 1e-4
    some = objectives.draw(key, jnp.array([17, 4], jnp.uint32), 7, (1, 1, 1), 0.25)
    np.testing.assert_allclose(some.noise, draws.noise[np.array([17, 4])], atol=1e-6)
    np.testing.assert_array_equal(some.t, draws.t[np.array([17, 4])])


def test_images_to_the_unit_interval_and_back():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    x = diffusion.to_unit(grey)
    assert x.shape == (1, 16, 16, 1) and float(x.min()) == -1 and float(x.max()) == 1
    np.testing.assert_array_equal(diffusion.to_grey(x), grey)
    np.testing.assert_array_equal(diffusion.to_grey(np.full((1, 1, 1, 1), 1.7)), 255)
