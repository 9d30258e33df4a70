"""The denoising machine: noise, energy, gradient and conditional law against enumeration, trajectory, generation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistical import ALPHA, chi_square_p

from jaxgen import UserError, gibbs
from jaxgen.potts import denoising
from jaxgen.potts.denoising import noise
from jaxgen.potts.denoising.generate import Denoiser, Generation, generate, stages
from jaxgen.potts.denoising.task import DenoisingTask, level_frequencies

PIXELS, HIDDEN, STEPS, CLASSES = 4, 3, 2, 2  # a 2 x 2 image


def machine(levels: int) -> denoising.DenoisingMachine:
    return denoising.DenoisingMachine(PIXELS, levels, HIDDEN, STEPS, CLASSES, dtype=jnp.float32)


def random_model(levels: int, seed: int = 0, scale: float = 0.5):
    """A machine with random parameters, and the statistics of random marginals."""
    rng = np.random.default_rng(seed)
    marginals = rng.dirichlet(np.ones(levels), PIXELS).astype(np.float32)
    statistics = denoising.fit_statistics(marginals, STEPS)
    model = machine(levels)
    x, y = jnp.zeros((1, PIXELS), jnp.uint8), jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), statistics, x, x, y, y)["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32), shapes)
    return model, params, statistics


def all_states(levels: int) -> np.ndarray:
    return np.array(list(itertools.product(range(levels), repeat=PIXELS)), np.uint8)


def energies(params, statistics, levels, v, x, step, label) -> np.ndarray:
    """E(v, h) for every h in float64, term by term as the module docstring states it."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    mean, noisy = (np.asarray(array, np.float64) for array in statistics)
    alpha = float(noise.signal(STEPS)[step])
    scale = np.log((alpha + (1 - alpha) / levels) / ((1 - alpha) / levels))
    hot = np.eye(levels)
    u = scale * (hot[x][:, 1:] - hot[x][:, :1] - noisy[step])
    states = hot[v][:, 1:]
    result = []
    for h in itertools.product((0, 1), repeat=HIDDEN):
        h = np.array(h)
        e = -(states * (p["visible_bias"] + p["visible_label"][step, label])).sum()
        e -= h @ (p["hidden_bias"] + p["hidden_label"][step, label])
        e -= ((states - mean) * p["input_gain"] * u).sum()
        e -= (h - 0.5) @ np.einsum("vl,vlh->h", u, p["input_weight"])
        e -= np.einsum("vl,vlh,h->", states - mean, p["weight"], h - 0.5)
        result.append(e)
    return np.array(result)


@pytest.mark.parametrize("levels", [2, 3])
def test_the_free_energy_sums_the_hidden_states(levels):
    """Up to a constant that the machine leaves out, the same for all v, x, labels and levels of noise: none."""
    model, params, statistics = random_model(levels)
    v = all_states(levels)
    x = np.random.default_rng(1).integers(0, levels, v.shape).astype(np.uint8)
    step, label = np.arange(len(v)) % STEPS, np.arange(len(v)) % CLASSES
    free = jax.jit(model.apply)({"params": params}, statistics, v, x, step, label)
    rows = zip(v, x, step, label, strict=True)
    exact = [-np.log(np.exp(-energies(params, statistics, levels, *row)).sum()) for row in rows]
    np.testing.assert_allclose(free, exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("levels", [2, 3])
def test_the_logits_are_those_of_the_energy(levels):
    """The conditional p(v | x^t, y, t) that the sampler draws from is the enumerated one."""
    model, params, statistics = random_model(levels, seed=2)
    x, n, step, label = np.array([1, 0, levels - 1, 1], np.uint8), 20_000, 0, 1
    rows = jnp.tile(x, (n, 1)), jnp.full(n, step), jnp.full(n, label)
    logits = jax.jit(lambda params: model.apply({"params": params}, statistics, *rows, method="logits"))(params)
    v = gibbs.sample_bipartite(jax.random.key(0), *logits, rows[0], 20)
    states = all_states(levels)
    weights = [np.exp(-energies(params, statistics, levels, row, x, step, label)).sum() for row in states]
    numbers = np.asarray(v, int) @ levels ** np.arange(PIXELS)[::-1]
    counts = np.bincount(numbers, minlength=len(states))
    assert chi_square_p(counts, np.array(weights) / np.sum(weights)) > ALPHA


def test_the_gradient_is_that_of_the_denoising_likelihood():
    """grad log p(v | x^t) = - grad F(v) + E_p grad F, with the expectation enumerated."""
    model, params, statistics = random_model(2, seed=3)
    states, x = all_states(2), jnp.array([1, 0, 0, 1], jnp.uint8)
    rows = jnp.tile(x, (len(states), 1)), jnp.ones(len(states), jnp.int32), jnp.zeros(len(states), jnp.int32)

    def free(params):
        return model.apply({"params": params}, statistics, states, *rows)

    exact = jax.jit(jax.grad(lambda params: jax.nn.log_softmax(-free(params))[6]))(params)
    p = jax.nn.softmax(-jax.jit(free)(params))
    gap = jax.jit(jax.grad(lambda params: free(params)[6] - (p * free(params)).sum()))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, atol=1e-5), exact, gap)


@pytest.mark.parametrize("levels, updates", [(2, 0), (3, 0), (3, 1)])
def test_the_training_gradient_is_that_of_the_free_energies(levels, updates):
    """Autodiff of mean F(data) - mean F(chains) with the very chains of the step: recovery first, then trajectories."""
    n, sweeps = 6, 2
    model, params, statistics = random_model(levels, seed=4)
    image = np.random.default_rng(0).integers(0, levels, (n, PIXELS)).astype(np.uint8)
    batch = {"image": image, "label": np.arange(n) % CLASSES, "position": jnp.arange(n, dtype=jnp.uint32)}
    encode = lambda key, image, ids: jnp.asarray(image)  # noqa: E731
    key, carry = jax.random.key(9), jnp.full(n, updates)
    grad_fn = denoising.denoising_divergence(model, statistics, sweeps, 1, encode)
    grads, carry, metrics = jax.jit(grad_fn)(params, carry, key, batch)
    _, key_noise, key_chains = jax.random.split(key, 3)
    ids, label = batch["position"], jnp.asarray(batch["label"])
    alpha = noise.signal(STEPS)
    corrupt = jax.jit(noise.corrupt, static_argnums=4)
    noisy = [corrupt(jax.random.fold_in(key_noise, t), ids, image, alpha[t], levels) for t in range(STEPS)]
    if updates == 0:
        pairs = jax.jit(lambda: denoising.recovery(key_chains, model, params, statistics, noisy, label, ids, sweeps))()
    else:
        pairs = jax.jit(lambda: denoising.trajectory(key_chains, model, params, statistics, label, ids, sweeps))()[::-1]

    def gap(params):
        total = 0.0
        for t in range(STEPS):
            for (v, x), sign in (((image, noisy[t]), 1), (pairs[t], -1)):
                free = model.apply({"params": params}, statistics, v, x, jnp.full(n, t), label)
                total += sign * free.mean() / STEPS
        return total

    expected = jax.jit(jax.grad(gap))(params)
    assert expected.keys() == grads.keys() and all(np.abs(leaf).max() > 0.01 for leaf in expected.values())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), grads, expected)
    assert (carry == updates + 1).all() and 0 <= metrics["level_error"] < 1


def test_recovery_starts_at_the_noisy_images():
    """With parameters that tie v to x^t, the chains stay there."""
    model, params, statistics = random_model(2, seed=5, scale=0.0)
    params = params | {"input_gain": params["input_gain"] + 30.0}
    noisy = [jnp.asarray(all_states(2)), jnp.asarray(all_states(2)[::-1])]
    label, ids = jnp.zeros(16, jnp.int32), jnp.arange(16, dtype=jnp.uint32)
    pairs = denoising.recovery(jax.random.key(0), model, params, statistics, noisy[:1], label, ids, 1)
    np.testing.assert_array_equal(pairs[0][0], noisy[0])
    np.testing.assert_array_equal(pairs[0][1], noisy[0])


def test_hidden_units_start_with_preferences_for_classes():
    """Their spread is that of the class's log-odds, the same at every noise level; a machine of one class has none."""
    _, _, statistics = random_model(2)
    empty = jnp.zeros((1, PIXELS), jnp.uint8), jnp.zeros((1, PIXELS), jnp.uint8), jnp.zeros(1, int), jnp.zeros(1, int)
    wide = denoising.DenoisingMachine(PIXELS, 2, 4000, STEPS, CLASSES)
    start = jax.jit(wide.init)(jax.random.key(0), statistics, *empty)["params"]["hidden_label"]
    np.testing.assert_array_equal(start[0], start[1])
    np.testing.assert_allclose(np.std(start), 3.0, rtol=0.05)
    alone = denoising.DenoisingMachine(PIXELS, 2, HIDDEN, STEPS)
    assert not alone.init(jax.random.key(0), statistics, *empty)["params"]["hidden_label"].any()


def test_chains_of_a_trajectory_follow_one_another():
    """x^(t-1) is the noised result of level t, and the first level starts from uniform noise."""
    model, params, statistics = random_model(2, seed=5)
    params = params | {"visible_bias": params["visible_bias"] + 30.0}  # every level then draws white
    n = 4000
    ids = jnp.arange(n, dtype=jnp.uint32)
    (v1, x1), (v0, x0) = denoising.trajectory(
        jax.random.key(0), model, params, statistics, jnp.zeros(n, jnp.int32), ids, 1
    )
    alpha = noise.signal(STEPS)[0]
    assert (np.asarray(v1) == 1).all() and (np.asarray(v0) == 1).all()
    np.testing.assert_allclose(np.mean(x1), 0.5, atol=0.02)
    np.testing.assert_allclose(np.mean(x0), alpha + (1 - alpha) / 2, atol=0.02)


@pytest.mark.parametrize("levels", [2, 4])
def test_the_noise_has_its_law(levels):
    n, alpha = 40_000, 0.35
    x = jnp.full((n, 1), 1, jnp.uint8)
    noisy = np.asarray(noise.corrupt(jax.random.key(0), jnp.arange(n, dtype=jnp.uint32), x, alpha, levels))[:, 0]
    p = np.full(levels, (1 - alpha) / levels)
    p[1] += alpha
    assert chi_square_p(np.bincount(noisy, minlength=levels), p) > ALPHA


def test_log_odds_and_posterior_are_those_of_bayes():
    levels, alpha = 3, 0.6
    prior = jnp.full((levels, levels), 1 / levels)
    posterior = np.asarray(noise.posterior(prior, jnp.arange(levels, dtype=jnp.uint8), alpha, levels))
    scale = noise.log_odds_scale(np.array([alpha], np.float32), levels)[0]
    np.testing.assert_allclose(posterior.sum(1), 1, rtol=1e-6)
    for seen in range(levels):
        u = scale * ((np.arange(levels) == seen).astype(float) - (seen == 0))
        np.testing.assert_allclose(np.log(posterior[seen] / posterior[seen, 0]), u, atol=1e-5)


def test_guidance_scales_what_the_label_adds():
    model, params, statistics = random_model(2, seed=6)
    x, step = jnp.zeros((CLASSES, PIXELS), jnp.uint8), jnp.zeros(CLASSES, jnp.int32)
    label = jnp.arange(CLASSES)

    def visible(guidance):
        return model.apply({"params": params}, statistics, x, step, label, guidance, method="logits")[1]

    without, with_label, three = (np.asarray(jax.jit(visible)(guidance)) for guidance in (0.0, 1.0, 3.0))
    np.testing.assert_allclose(without[0], without[1], atol=1e-6)
    np.testing.assert_allclose(three - without, 3 * (with_label - without), atol=1e-5)


def test_level_frequencies_are_never_0_and_count_classes_apart():
    rows = np.array([[0, 255], [0, 255], [255, 255]], np.uint8)
    by_class = level_frequencies(rows, np.array([0, 0, 1], np.uint8), 2, 2)
    assert (by_class > 0).all() and by_class.shape == (2, 2, 2)
    np.testing.assert_allclose(by_class.sum(-1), 1, rtol=1e-6)
    assert by_class[1, 0, 1] > by_class[0, 0, 1]


def small_denoiser() -> Denoiser:
    model, params, statistics = random_model(3, seed=7)
    return Denoiser(model, params, statistics, np.array([0, 2, 3, 5]), (2, 3))


def test_an_image_depends_on_its_number_alone_and_left_out_pixels_are_0():
    denoiser, label = small_denoiser(), np.arange(30) % CLASSES
    images = generate(jax.random.key(0), denoiser, label, Generation(sweeps=2))
    assert images.shape == (30, 2, 3) and images[:, 0, 1].max() == 0 and images.max() == 2
    np.testing.assert_array_equal(generate(jax.random.key(0), denoiser, label[:7], Generation(sweeps=2)), images[:7])
    *_, (step, last, _) = stages(jax.random.key(0), denoiser, label, Generation(sweeps=2))
    assert step == 1
    np.testing.assert_array_equal(last, images)


def test_known_pixels_stay_and_the_others_change():
    denoiser, n = small_denoiser(), 40
    label = np.zeros(n, int)
    known = np.full((n, 2, 3), 2, np.uint8)
    mask = np.zeros((n, 2, 3), bool)
    mask[:, 0, 0] = True
    images = generate(jax.random.key(1), denoiser, label, Generation(sweeps=3), (known, mask))
    assert (images[:, 0, 0] == 2).all() and len(np.unique(images[:, 1, 2])) > 1


def test_noisy_images_are_cleaned_by_bayes_rule():
    """With one noise level the law is sum_h exp(-beta E(v, h)) q(z | v); a pixel that is not seen says nothing."""
    _, params, statistics = random_model(3, seed=7)
    label_terms = {name: params[name][1:] for name in ("visible_label", "hidden_label")}
    one = denoising.DenoisingMachine(PIXELS, 3, HIDDEN, 1, CLASSES, dtype=jnp.float32)
    pixels, n, r, beta = np.array([0, 2, 3, 5]), 4000, 0.4, 0.7
    statistics_of_one = statistics._replace(noisy_mean=statistics.noisy_mean[1:])
    denoiser = Denoiser(one, params | label_terms, statistics_of_one, pixels, (2, 3))
    z, seen = np.array([2, 0, 1, 2], np.uint8), np.array([True, True, True, False])
    whole, mask = np.zeros((n, 6), np.uint8), np.zeros((n, 6), bool)
    whole[:, pixels], mask[:, pixels] = z, seen
    known = (whole.reshape(n, 2, 3), mask.reshape(n, 2, 3))
    images = generate(jax.random.key(2), denoiser, np.ones(n, int), Generation(30, 1.0, beta), known, noise=r)
    weights = []
    for v in all_states(3):
        e = energies(params, statistics, 3, v, np.zeros(PIXELS, int), 1, 1)
        weights.append(np.exp(-beta * e).sum() * np.where(v == z, 1 - r + r / 3, r / 3)[seen].prod())
    code = images.reshape(n, -1)[:, pixels] @ [27, 9, 3, 1]
    p = chi_square_p(np.bincount(code, minlength=81), np.array(weights) / np.sum(weights))
    assert p > ALPHA
    with pytest.raises(UserError, match=r"noise is 1.5; allowed: 0 to 1"):
        generate(jax.random.key(2), denoiser, np.ones(n, int), Generation(), known, noise=1.5)


def test_bad_input_is_refused_by_name():
    denoiser = small_denoiser()
    with pytest.raises(UserError, match="sweeps is 0; allowed: an integer, 1 or more"):
        Generation(sweeps=0)
    with pytest.raises(UserError, match="last_beta is 0; allowed: a finite number above 0"):
        Generation(last_beta=0)
    with pytest.raises(UserError, match=r"known has images of shape \(2, 2, 3\)"):
        generate(jax.random.key(0), denoiser, np.zeros(3, int), Generation(), (np.zeros((2, 2, 3), np.uint8),) * 2)
    with pytest.raises(UserError, match="known has the level 7; allowed: 0 to 2"):
        bad = np.full((1, 2, 3), 7, np.uint8), np.ones((1, 2, 3), bool)
        generate(jax.random.key(0), denoiser, np.zeros(1, int), Generation(), bad)
    for label in ([0, 9], [-1, 0], [0.5], [], 0, [[0]], [True]):
        with pytest.raises(UserError, match=r"label (has|is) .*; allowed: "):
            generate(jax.random.key(0), denoiser, np.array(label), Generation())
        with pytest.raises(UserError, match=r"label (has|is) .*; allowed: "):
            next(stages(jax.random.key(0), denoiser, np.array(label), Generation()))
    with pytest.raises(UserError, match="known has images of int64; allowed: uint8"):
        bad = np.full((1, 2, 3), -1), np.ones((1, 2, 3), bool)
        generate(jax.random.key(0), denoiser, np.zeros(1, int), Generation(), bad)
    for how in ({"guidance": np.nan}, {"guidance": np.inf}, {"last_beta": np.inf}, {"sweeps": 1.5}):
        with pytest.raises(UserError, match=r"is (nan|inf|1.5); allowed: "):
            Generation(**how)
    with pytest.raises(UserError, match="noise_steps is 7; allowed: 1, 2, 3"):
        noise.signal(7)


def test_images_without_any_pixel_to_draw_are_refused(tmp_path):
    np.savez(tmp_path / "black.npz", images=np.zeros((40, 5, 5), np.uint8), levels=2)
    config = denoising.DenoisingConfig(images=str(tmp_path / "black.npz"))
    with pytest.raises(UserError, match=r"crop is 0\.003, and no pixel of the training images is brighter than that"):
        DenoisingTask.load(config)
