"""The U-Net: parameter counts, PyTorch's numbers layer by layer, one training step, bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch_reference import diffusion as reference

from jaxgen import diffusion, training
from jaxgen.diffusion import guidance, objectives
from jaxgen.diffusion.blocks import FilmBlock, depth_to_space, space_to_depth
from jaxgen.diffusion.unet import UNet

BASE, LEVELS, SIDE, BATCH = 16, (1, 2), 8, 4
COUNTS = {"compact": 484_068, "tiny": 433_636, "small": 1_639_105, "medium": 9_872_897, "large": 40_499_201}


def tensor(x):
    return torch.tensor(np.asarray(x, np.float32).transpose(0, 3, 1, 2))


def torch_unet(params, blocks=1):
    return reference.load(reference.UNet(BASE, blocks, True, LEVELS), params)


def make_example(blocks):
    """A small U-Net with attention, its parameters made uneven, and one batch."""
    unet, rng = UNet(base=BASE, multipliers=LEVELS, blocks=blocks, attention=True), np.random.default_rng(0)
    x = rng.normal(size=(BATCH, SIDE, SIDE, 1)).astype(np.float32)
    t, label = np.array([1, 2, 150, 300]), np.array([0, 3, 9, 10])
    shapes = jax.eval_shape(unet.init, jax.random.key(0), x, t, label)["params"]
    params = jax.tree.map(lambda leaf: 0.2 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
    return unet, params, torch_unet(params, blocks), x, t, label


@pytest.fixture(scope="module")
def example():
    return make_example(1)


@pytest.mark.parametrize("size", list(COUNTS))
def test_parameter_counts(size):
    unet, one = diffusion.make_unet(size), jnp.ones(1, jnp.int32)
    shapes = jax.eval_shape(unet.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)), one, one)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == COUNTS[size]
    if size in reference.SIZES:
        assert sum(p.numel() for p in reference.make_unet(size).parameters()) == COUNTS[size]


def test_every_layer_agrees_with_pytorch():
    unet, params, model, x, t, label = make_example(2)
    seen = {}
    for name, module in model.parts.named_modules():
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.detach().numpy()}))
    theirs = model(tensor(x), torch.tensor(t) - 1, torch.tensor(label)).detach().numpy()
    run = jax.jit(lambda p, *inputs: unet.apply({"params": p}, *inputs, capture_intermediates=True))
    ours, kept = run(params, x, t, label)
    compared = 0
    for path, leaf in reference.flatten(kept["intermediates"]).items():
        name = path.removesuffix("__call__").removesuffix(".")
        if not name or name not in seen:
            continue
        output = np.asarray(leaf[0])
        want = seen[name].transpose(0, 2, 3, 1) if seen[name].ndim == 4 else seen[name]
        np.testing.assert_allclose(output, want, rtol=2e-3, atol=2e-4 * np.abs(want).max(), err_msg=name)
        compared += 1
    assert compared == len([name for name in seen if not name.endswith("shortcut") or name in _paths(params)])
    np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), rtol=1e-3, atol=2e-4 * np.abs(theirs).max())


def _paths(params):
    return {path.rpartition(".")[0] for path in reference.flatten(params)}


def test_a_training_step_agrees_with_pytorch(example):
    """Same parameters, images, times, labels and noise: loss, clipped gradient and Adam's update."""
    unet, params, model, x0, _, label = example
    process = diffusion.make_process("cosine", 300)
    draws = objectives.Draws(jnp.array([2, 40, 150, 290]), np.flip(x0, 1).copy(), label == 3)
    dropped = np.where(draws.dropped, 10, label)

    def loss_fn(params, key, batch):
        apply = guidance.network(unet, params)
        losses, _ = objectives.example_losses(apply, diffusion.Objective(), process, x0, label, draws)
        return losses.mean(), {}

    # With Adam's usual epsilon the first update is the gradient's sign: rounding noise where the gradient is none.
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3, eps=1e-3))
    state = training.create(jax.random.key(0), params, tx)
    after, metrics = jax.jit(training.make_train_step(training.from_loss(loss_fn), tx))(state, {})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-3, weight_decay=0.0)
    left = torch.cumprod(1 - reference.betas("cosine", 300), 0).float()
    times, labels = torch.tensor(np.asarray(draws.t)) - 1, torch.tensor(dropped)
    loss = reference.train_step(model, optimiser, tensor(x0), times, labels, tensor(draws.noise), left)
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-4)
    ours = torch_unet(after.params).state_dict()
    for name, value in model.state_dict().items():
        moved = value - before[name]
        assert (ours[name] - value).abs().max() < 0.01 * moved.abs().max() + 1e-7, name


def test_bfloat16_is_close_and_parameters_stay_float32(example):
    unet, params, _, x, t, label = example
    half = UNet(base=BASE, multipliers=LEVELS, attention=True, dtype=jnp.bfloat16)
    small = jax.tree.map(lambda leaf: leaf / 2, params)
    exact, rough = (jax.jit(u.apply)({"params": small}, x, t, label) for u in (unet, half))
    assert rough.dtype == jnp.float32
    error = jnp.sqrt(jnp.mean((rough - exact) ** 2) / jnp.mean(exact**2))
    assert 1e-5 < float(error) < 0.1
    shapes = jax.eval_shape(half.init, jax.random.key(0), x, t, label)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))


def test_start_values():
    params = reference.flatten(diffusion.init_params(jax.random.key(0), diffusion.make_unet("tiny")))
    for path, leaf in params.items():
        kind = path.rpartition(".")[2]
        if kind == "kernel":
            reach = np.prod(leaf.shape[:-1]) ** -0.5
            assert 0.8 * reach < np.abs(leaf).max() <= reach and abs(float(leaf.std()) * 3**0.5 / reach - 1) < 0.15, (
                path
            )
        elif kind == "embedding":
            assert leaf.shape == (11, 128) and abs(float(leaf.std()) - 1) < 0.1 and abs(float(leaf.mean())) < 0.1
        else:
            assert (leaf == (kind == "scale")).all()
    drawn = [np.ravel(leaf)[:8].tobytes() for leaf in params.values() if leaf.std() > 0]
    assert len(drawn) == len(set(drawn))


def test_compact_blocks_start_as_the_identity_and_the_output_at_zero():
    unet = diffusion.make_unet("compact")
    params = diffusion.init_params(jax.random.key(0), unet)
    paths = [path for path in reference.flatten(params) if "zero" in path]
    assert len([path for path in paths if path.endswith("kernel")]) == 7  # six blocks and the output
    assert all(not np.any(reference.flatten(params)[path]) for path in paths)
    x, t = jax.random.normal(jax.random.key(1), (2, 4, 4, 1)), jnp.array([1, 7])
    small = UNet(base=8, multipliers=(1,), film=True)
    assert not np.any(jax.jit(small.apply)({"params": diffusion.init_params(jax.random.key(0), small)}, x, t, t))
    block = FilmBlock(8)
    h, e = jax.random.normal(jax.random.key(2), (2, 4, 4, 8)), jnp.ones((2, 5))
    variables = block.init(jax.random.key(3), h, e)
    zero = jax.tree.map(jnp.zeros_like, variables["params"]["conv_zero"])
    changed = {"params": variables["params"] | {"conv_zero": zero}}
    np.testing.assert_array_equal(block.apply(changed, h, e), h)
    assert np.abs(block.apply(variables, h, e) - block.apply(variables, h, 2 * e)).max() > 1e-3


def test_a_fractional_time_and_no_label():
    unet = UNet(base=8, multipliers=(1,), classes=3)
    params = diffusion.init_params(jax.random.key(0), unet)
    x = jnp.ones((2, 4, 4, 1))
    apply = jax.jit(lambda t, label: unet.apply({"params": params}, x, t, label))
    none = apply(jnp.array([2, 2]), jnp.array([diffusion.NO_LABEL, 3]))
    np.testing.assert_array_equal(none[0], none[1])  # the last row of the embedding
    assert np.abs(apply(jnp.array([2.0, 2.5]), jnp.array([0, 0])) - none).max() > 1e-4


def test_patches_there_and_back():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 3))
    patches = space_to_depth(x, 2)
    np.testing.assert_array_equal(patches[1, 2, 1, 3:6], x[1, 4, 3])
    np.testing.assert_array_equal(depth_to_space(patches, 2), x)


def test_refusals():
    with pytest.raises(ValueError, match="size is 'huge'; allowed: tiny, small, medium, large, compact"):
        diffusion.make_unet("huge")
    unet, one = diffusion.make_unet("small"), jnp.ones(1, jnp.int32)
    message = r"x has shape \(1, 30, 28, 1\); allowed: \(batch, height, width, 1\) with .* a multiple of 4"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(unet.init, jax.random.key(0), jnp.zeros((1, 30, 28, 1)), one, one)
