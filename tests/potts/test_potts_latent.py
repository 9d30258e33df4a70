"""The lattice Boltzmann machine against enumeration of visible and hidden sites."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import random_params

from jaxgen import potts
from jaxgen.potts.latent import draw_hidden, latent_init, pixels_on_grid, visible_part, visible_sites
from jaxgen.potts.oracles import enumeration

LATTICE = potts.latent_lattice(3, 2, "4")  # 3 x 4 sites, 6 of them visible
PARAMS = random_params(0, LATTICE, 2, scale=0.8)
BETA = 0.7
STATES = jnp.asarray(enumeration.all_states(LATTICE, 2))
IMAGES = np.asarray(visible_part(STATES))
PIXELS = jnp.asarray(np.unique(IMAGES, axis=0))  # all 64 images
NUMBER = (IMAGES.reshape(-1, 6) @ 2 ** np.arange(6)[::-1]).astype(int)  # of the image that a state shows


def visible_log_p(params):
    """log p(v) of all images, by summing enumerated probabilities over the hidden sites."""
    return jnp.log(jnp.zeros(64).at[NUMBER].add(enumeration.distribution(LATTICE, params, BETA)))


def test_pixels_and_sites_are_the_same_seen_twice():
    x = pixels_on_grid(PIXELS)
    np.testing.assert_array_equal(visible_part(x), PIXELS)
    seen = visible_sites(LATTICE)
    assert seen.sum() == 6 and x.shape == (64, 3, 4) and not np.any(np.asarray(x)[:, ~seen])
    one = np.zeros((1, 3, 2), np.uint8)
    one[0, 1, 0] = 1
    assert np.argwhere(np.asarray(pixels_on_grid(jnp.asarray(one)))[0]).tolist() == [[1, 1]]


@pytest.mark.parametrize("neighbourhood, height, width", [("4", 4, 3), ("G8", 6, 4), ("window", 9, 5)])
def test_no_edge_joins_two_visible_or_two_hidden_sites(neighbourhood, height, width):
    lattice = potts.latent_lattice(height, width, neighbourhood)
    seen = visible_sites(lattice).ravel()
    for offset in lattice.offsets:
        source, target = lattice.edges(offset)
        assert np.all(seen[source] != seen[target])
    assert lattice.n_colours == 2 and seen.sum() == height * width


def test_a_window_joins_a_hidden_site_to_the_pixels_around_it():
    lattice = potts.latent_lattice(28, 28, "window")
    degree = sum(2 for _ in lattice.offsets)
    inner = [(dy, dx) for dy in range(-4, 5) for dx in range(-8, 9) if (dy + dx) % 2]
    assert degree == len(inner) == 76


def test_likelihood_is_that_of_enumeration():
    log_z = float(enumeration.log_partition(LATTICE, PARAMS, BETA))
    log_p = potts.latent_log_likelihood(LATTICE, PARAMS, PIXELS, log_z, BETA)
    np.testing.assert_allclose(log_p, visible_log_p(PARAMS), atol=1e-5)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)


def test_hidden_sites_are_drawn_given_the_pixels():
    """Frequencies of h for one image against enumeration: 64 states, a 5 sigma band on each."""
    n, image = 20_000, PIXELS[37]
    x = draw_hidden(jax.random.key(0), LATTICE, PARAMS, jnp.broadcast_to(image, (n, 3, 2)), BETA)
    np.testing.assert_array_equal(visible_part(x), np.broadcast_to(image, (n, 3, 2)))
    p = np.asarray(enumeration.distribution(LATTICE, PARAMS, BETA), np.float64) * (NUMBER == 37)
    p /= p.sum()
    frequencies = np.bincount(enumeration.state_numbers(x, 2), minlength=len(p)) / n
    assert np.abs(frequencies - p).max() < 5 * np.sqrt(p.max() / n) and np.all(frequencies[p == 0] == 0)


def test_the_gradient_is_that_of_the_exact_likelihood():
    """CD-30 from the data repeated; every entry within 5.5 standard deviations, and 5 % off would show."""
    n = 40_000
    data = jnp.asarray(np.random.default_rng(1).choice(np.asarray(PIXELS), 8))
    expected = jax.grad(lambda p: -visible_log_p(p)[np.asarray(data).reshape(-1, 6) @ 2 ** np.arange(6)[::-1]].mean())(
        PARAMS
    )
    batch = {"image": jnp.tile(data, (n // 8, 1, 1)), "position": jnp.arange(n, dtype=jnp.uint32)}
    settings = potts.ContrastiveSettings(30, beta=BETA)
    model = potts.PottsEBM(LATTICE, 2)
    grad_fn = jax.jit(potts.latent_contrastive_divergence(model, settings))
    grads, _, _ = grad_fn(PARAMS, None, jax.random.key(2), batch)
    errors = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (grads, expected)), strict=True)]
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert max(errors) < 5.5 * BETA * np.sqrt(0.5 / n) < 0.15 * largest


def test_both_phases_draw_hidden_sites_with_noise_of_their_own():
    """Without parameters a hidden site is a coin: with one key for both phases every coin would fall alike."""
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    batch = {"image": PIXELS, "position": jnp.arange(64, dtype=jnp.uint32)}
    carry = {"chains": pixels_on_grid(PIXELS), "chain_id": jnp.arange(64, dtype=jnp.uint32)}
    grad_fn = potts.latent_contrastive_divergence(potts.PottsEBM(LATTICE, 2), potts.ContrastiveSettings(1, True))
    grads, _, _ = grad_fn(zero, carry, jax.random.key(5), batch)
    hidden = np.asarray(grads["bias"])[~visible_sites(LATTICE)]
    assert np.count_nonzero(hidden) > hidden.size // 2


def test_a_start_tells_hidden_sites_apart():
    model = potts.PottsEBM(LATTICE, 2)
    params = latent_init(jax.random.key(0), model, PIXELS[:5], 0.5)
    seen = visible_sites(LATTICE)
    share = np.asarray(PIXELS[:5]).mean(0)
    logits = np.asarray(visible_part(jnp.moveaxis(params["bias"], -1, 0)))
    np.testing.assert_allclose(np.exp(logits[1]), (5 * share + 1) / 7, rtol=1e-5)
    assert not np.any(np.asarray(params["bias"])[~seen])
    assert 0.4 < np.std(np.concatenate([np.ravel(w) for w in params["coupling"].values()])) < 0.6


def test_a_lattice_that_joins_visible_sites_is_refused():
    with pytest.raises(ValueError, match=r"neighbourhood: '8' has \(1, 1\), which joins two visible sites"):
        potts.latent_lattice(4, 4, "8")
    with pytest.raises(ValueError, match="neighbourhood is 'G9'"):
        potts.latent_lattice(4, 4, "G9")
