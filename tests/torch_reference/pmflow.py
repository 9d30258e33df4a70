"""The source's four classifiers in PyTorch: centres one by one in a Python loop, NCHW convolutions, weights copied in.

    n = 1 + sum_i mu_i / r_i,   z <- z + dt (sum_i - mu_i (z - c_i) / r_i^3) / n

Parameters are nested dicts of arrays as Flax has them: Dense kernels (inputs, outputs), convolution kernels
(height, width, inputs, outputs).
"""

import numpy as np
import torch
import torch.nn.functional as F


def tensors(tree, dtype=torch.float64):
    """Return the same tree with tensors as leaves."""
    if isinstance(tree, dict):
        return {name: tensors(branch, dtype) for name, branch in tree.items()}
    return torch.tensor(np.asarray(tree), dtype=dtype)


def flow_loop(z, centres, mu, steps, dt, radius, bound=None):
    """The flow, centre by centre; `radius` maps offsets (n, d) to r (n,)."""
    for _ in range(steps):
        n = torch.ones(len(z), dtype=z.dtype, device=z.device)
        pull = torch.zeros_like(z)
        for centre, strength in zip(centres, mu, strict=True):
            offset = z - centre
            r = radius(offset)
            n = n + strength / r
            pull = pull - strength * offset / r[:, None] ** 3
        z = z + dt * pull / n[:, None]
        z = z if bound is None else torch.clamp(z, -bound, bound)
    return z


def source_radius(offset):
    """|offset| + 1e-4, of the MLP and the CNN."""
    return torch.linalg.vector_norm(offset, dim=1) + 1e-4


def softened_radius(softening):
    """sqrt(|offset|^2 + softening^2)."""
    return lambda offset: torch.sqrt((offset * offset).sum(1) + softening**2)


def lateral(z, k_e=0.8, k_i=1.0, sigma_e=0.6, sigma_i=1.2):
    """K over the batch."""
    d2 = torch.cdist(z, z).pow(2)
    return k_e * torch.exp(-d2 / (2 * sigma_e**2)) - k_i * torch.exp(-d2 / (2 * sigma_i**2))


def linear(p, x):
    return x @ p["kernel"] + p["bias"]


def mlp(p, x):
    """784-256-16-10 with ReLU twice."""
    h = torch.relu(linear(p["layer_1"], x.flatten(1)))
    return linear(p["head"], torch.relu(linear(p["layer_2"], h)))


def pmflow_mlp(p, x, radius=source_radius):
    """784-256-16, flow of 3 steps of 0.1, 10."""
    z = linear(p["layer_2"], torch.relu(linear(p["layer_1"], x.flatten(1))))
    flow = p["transform"]
    return linear(p["head"], flow_loop(z, flow["centres"], flow["mu"], 3, 0.1, radius))


def pmflow_cnn(p, x, radius=source_radius):
    """Three convolutions, adaptive mean pool to 4 x 4, latent of 64, flow, 10."""

    def convolve(layer, h):
        return torch.relu(F.conv2d(h, layer["kernel"].permute(3, 2, 0, 1), layer["bias"], padding=1))

    h = convolve(p["conv_2"], convolve(p["conv_1"], x[:, None]))
    h = F.max_pool2d(convolve(p["conv_3"], F.max_pool2d(h, 2)), 2)
    h = F.adaptive_avg_pool2d(h, (4, 4))
    # Flax flattens height, width, channels; the kernel's rows are in that order.
    z = linear(p["latent"], h.permute(0, 2, 3, 1).flatten(1))
    flow = p["transform"]
    return linear(p["head"], flow_loop(z, flow["centres"], flow["mu"], 3, 0.1, radius))


def pmflow_bnn(p, x, couple=lateral, gain=0.05):
    """784-128 tanh-8, then five times: flow of 4 steps of 0.15 clipped to +-3, leak, lateral coupling; readout."""
    z = linear(p["layer_2"], torch.tanh(linear(p["layer_1"], x.flatten(1))))
    h = torch.zeros(len(x), 32, dtype=z.dtype)
    for _ in range(5):
        z = flow_loop(z, p["flow"]["centres"], p["flow"]["mu"], 4, 0.15, softened_radius(1e-2), bound=3.0)
        h = 0.9 * h + 0.1 * torch.tanh(linear(p["drive"], z))
        h = h + gain * couple(z) @ h
    return linear(p["readout"], h)


MODELS = {"mlp": mlp, "pmflow_mlp": pmflow_mlp, "pmflow_cnn": pmflow_cnn, "pmflow_bnn": pmflow_bnn}
