"""A multilayer perceptron and SGD with momentum in PyTorch, float64.

    h <- max(0, h W + b) for every layer but the last,   loss = - mean_i log softmax(h_i W + b)[y_i]
    v <- momentum v + gradient,   theta <- theta - rate v

params = [(W, b), ...], W of shape (inputs, outputs), first layer first.
"""

import numpy as np
import torch


def tensors(params):
    """Return the same layers as float64 leaf tensors."""
    return [tuple(torch.tensor(np.asarray(leaf, np.float64), requires_grad=True) for leaf in layer) for layer in params]


def log_probabilities(params, x):
    """log q(y | x), (n, K)."""
    h = torch.as_tensor(np.asarray(x, np.float64))
    for number, (weight, bias) in enumerate(params):
        h = h @ weight + bias
        if number < len(params) - 1:
            h = torch.clamp(h, min=0.0)
    return h - torch.logsumexp(h, dim=1, keepdim=True)


def loss(params, x, y):
    """Mean cross-entropy in nats."""
    rows = log_probabilities(params, x)
    return torch.nn.functional.nll_loss(rows, torch.as_tensor(np.asarray(y, np.int64)))


def sgd(params, batches, rate, momentum):
    """Return the layers after one step per batch, [(x, y), ...]."""
    layers = tensors(params)
    optimiser = torch.optim.SGD([leaf for layer in layers for leaf in layer], lr=rate, momentum=momentum)
    for x, y in batches:
        optimiser.zero_grad()
        loss(layers, x, y).backward()
        optimiser.step()
    return [tuple(leaf.detach().numpy() for leaf in layer) for layer in layers]
