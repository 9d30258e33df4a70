"""The negative ELBO of a variational autoencoder in PyTorch, float64, for given noise.

params is the Flax tree of numpy arrays: kernels (inputs, outputs), convolutions (height, width, inputs, outputs).

    h = relu(encoder),  mean, log_var = two halves,  z = mean + exp(log_var / 2) noise
    loss = mean over images of binary cross-entropy(decoder(z), x) + KL(q || p(z | class)), p = N(0, I) without classes
"""

import numpy as np
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional


def tensors(tree):
    """Return the same tree with float64 leaf tensors."""
    if isinstance(tree, dict):
        return {name: tensors(branch) for name, branch in tree.items()}
    return torch.tensor(np.asarray(tree, np.float64), requires_grad=True)


def dense(layer, h):
    return h @ layer["kernel"] + layer["bias"]


def convolution(layer, h, stride, padding):
    """NHWC in and out."""
    kernel = layer["kernel"].permute(3, 2, 0, 1)
    return functional.conv2d(h.permute(0, 3, 1, 2), kernel, layer["bias"], stride, padding).permute(0, 2, 3, 1)


def up(layer, h):
    """A dense layer whose outputs fill squares of 2 x 2 pixels: a transposed convolution of kernel 2 and stride 2."""
    inputs, outputs = layer["kernel"].shape
    kernel = layer["kernel"].reshape(inputs, 2, 2, outputs // 4).permute(0, 3, 1, 2)
    enlarged = functional.conv_transpose2d(h.permute(0, 3, 1, 2), kernel, stride=2).permute(0, 2, 3, 1)
    bias = layer["bias"].reshape(2, 2, outputs // 4)
    return enlarged + bias.repeat(h.shape[1], h.shape[2], 1)


def encode(params, x, y, conv):
    h = x[..., None]
    if conv:
        for name in ("Conv_0", "Conv_1"):
            h = torch.relu(convolution(params[name], h, 2, 1))
    h = torch.cat([h.reshape(len(x), -1), y], 1)
    layers = ["Dense_0"] if conv else ["Dense_0", "Dense_1"]
    for name in layers:
        h = torch.relu(dense(params[name], h))
    return dense(params[f"Dense_{len(layers)}"], h).chunk(2, 1)


def decode(params, z, y, conv):
    h = torch.cat([z, y], 1)
    for name in ("Dense_0", "Dense_1"):
        h = torch.relu(dense(params[name], h))
    if not conv:
        return dense(params["Dense_2"], h).reshape(len(z), 28, 28)
    h = torch.relu(up(params["Dense_2"], h.reshape(len(z), 7, 7, -1)))
    h = torch.relu(convolution(params["Conv_0"], h, 1, 1))
    return up(params["Dense_3"], h)[..., 0]


def loss(params, x, y, noise, conv):
    """Mean negative ELBO in nats of binary images x (n, 28, 28) with one-hot classes y (n, K)."""
    x, y, noise = (torch.as_tensor(np.asarray(array, np.float64)) for array in (x, y, noise))
    mean, log_var = encode(params["encoder"], x, y, conv)
    z = mean + torch.exp(log_var / 2) * noise
    cross_entropy = functional.binary_cross_entropy_with_logits(
        decode(params["decoder"], z, y, conv), x, reduction="none"
    )
    q = Independent(Normal(mean, torch.exp(log_var / 2)), 1)
    prior = y @ params["class_prior"]["embedding"] if y.shape[1] else torch.zeros(len(x), 2 * mean.shape[1])
    prior_mean, prior_log_var = prior.chunk(2, 1)
    p = Independent(Normal(prior_mean, torch.exp(prior_log_var / 2)), 1)
    return (cross_entropy.sum((1, 2)) + kl_divergence(q, p)).mean()
