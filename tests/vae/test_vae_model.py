"""Shapes, classes, and that a short training learns what a label means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import training, vae
from jaxgen.errors import UserError
from jaxgen.vae.networks import depth_to_space

X = np.zeros((3, 28, 28), np.uint8)
LABEL = np.array([0, 4, 9], np.uint8)


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("levels, channels", [(2, 1), (256, 9)])
def test_both_networks_give_outputs_for_every_pixel(network, levels, channels):
    config = vae.VAEConfig(network=network, levels=levels, width=8, features=2, latent=5)
    model, _ = vae.build_model(config)
    shape = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), X)[0]).shape
    assert shape == (3, 28, 28, channels)


def test_depth_to_space_puts_channels_side_by_side():
    h = jnp.arange(2 * 3 * 8).reshape(1, 2, 3, 8)
    out = depth_to_space(h)
    assert out.shape == (1, 4, 6, 2)
    for y, x, dy, dx, c in np.ndindex(2, 3, 2, 2, 2):
        assert out[0, 2 * y + dy, 2 * x + dx, c] == h[0, y, x, 4 * dy + 2 * dx + c]


def test_encoder_decoder_and_prior_are_told_the_class():
    """Tested on perceptrons; the PyTorch reference tests convolutions."""
    model, _ = vae.build_model(vae.VAEConfig(conditional=True, width=8, latent=5))
    params = vae.initial_params(model, jax.random.key(0))
    assert not params["class_prior"]["embedding"].any()  # every class starts from N(0, I)
    embedding = jax.random.normal(jax.random.key(1), (10, 10))
    variables = {"params": params | {"class_prior": {"embedding": embedding}}}

    @jax.jit
    def both(label):
        posterior = model.apply(variables, X, label, method=vae.VAE.encode)
        prior = model.apply(variables, 3, label, method=vae.VAE.prior)
        return posterior.mean, model.apply(variables, jnp.ones((3, 5)), label, method=vae.VAE.decode), prior.log_var

    for first, second in zip(both(LABEL), both(LABEL[::-1]), strict=True):
        assert np.abs(first - second)[0].max() > 1e-3 and np.abs(first - second)[1].max() == 0
        np.testing.assert_allclose(first, second[::-1], atol=1e-6)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_images_of_another_size_and_other_classes(network):
    config = vae.VAEConfig(network=network, conditional=True, width=8, features=2, latent=5)
    model, _ = vae.build_model(config, (8, 12), n_classes=3)
    params = vae.initial_params(model, jax.random.key(0), (8, 12))
    assert params["class_prior"]["embedding"].shape == (3, 10)
    x = np.zeros((2, 8, 12), np.uint8)
    assert jax.eval_shape(model.apply, {"params": params}, x, LABEL[:2]).shape == (2, 8, 12, 1)
    if network == "conv":
        with pytest.raises(UserError, match=r"shape is \(8, 10\); allowed with network='conv': .* multiples of 4"):
            vae.build_model(config, (8, 10))


@pytest.mark.parametrize("conditional, label", [(True, None), (False, LABEL)])
def test_labels_come_exactly_if_the_model_has_classes(conditional, label):
    model, _ = vae.build_model(vae.VAEConfig(conditional=conditional, width=8))
    with pytest.raises(ValueError, match=r"label is .*; allowed: labels exactly if the model has classes"):
        model.init(jax.random.key(0), X, label)


@pytest.mark.parametrize("label", [[0, 1, 10], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_a_label_that_is_no_class_is_refused(label):
    """Not wrapped to the last class, and not taken for no class at all."""
    model, _ = vae.build_model(vae.VAEConfig(conditional=True, width=8, latent=5))
    variables = {"params": vae.initial_params(model, jax.random.key(0))}
    with pytest.raises(UserError, match=r"label is .*; allowed: (integers|0 to 9)"):
        model.apply(variables, X, jnp.asarray(label))


@pytest.mark.slow
def test_a_short_training_draws_the_class_that_was_asked_for():
    config = vae.VAEConfig(conditional=True, levels=4, width=64, latent=8, steps=200, learning_rate=5e-3, samples=100)
    task = vae.VAETask.load(config)
    state, tx = task.initial_state()
    step = jax.jit(training.make_train_step(task.grad_fn(), tx))
    order, losses = task.order(), []
    for k in range(config.steps):
        index = order.indices(k)
        batch = {name: array[index] for name, array in task.arrays().items()}
        state, metrics = step(state, batch | {"position": np.arange(len(index), dtype=np.uint32)})
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-20:]) < 0.5 * losses[0]
    drawn = vae.draw_samples(task, state.params)
    classes = np.stack([task.train[task.train_label == digit].mean(0) for digit in range(10)]).reshape(10, -1)
    averages = drawn.means.reshape(10, 10, -1).mean(0)  # of ten images per class
    assert drawn.labels.tolist() == list(range(10)) * 10
    right = ((averages[:, None] - classes) ** 2).sum(-1).argmin(1) == np.arange(10)
    assert right.sum() >= 7  # without labels: one
    assert drawn.states.max() <= 3 and drawn.flops > 64 * 64 and drawn.per_second > 0
