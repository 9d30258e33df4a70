"""The two networks of the evaluation panel in PyTorch; parameters are the Flax trees."""

import numpy as np
import torch
import torch.nn.functional as F


def feature_network(params, images):
    """Logits and features of uint8 images (n, 28, 28)."""
    x = torch.tensor(np.asarray(images, np.float32) / 255)[:, None]
    for number, stride in enumerate((2, 1, 2, 1, 2)):
        kernel = tensor(params[f"Conv_{number}"]["kernel"]).permute(3, 2, 0, 1)
        size = kernel.shape[-1]
        # "SAME": the output has ceil(input / stride) pixels, and an odd pixel of padding goes below and to the right.
        total = max((-(-x.shape[-1] // stride) - 1) * stride + size - x.shape[-1], 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, kernel, tensor(params[f"Conv_{number}"]["bias"]), stride).relu()
    features = dense(params["Dense_0"], x.permute(0, 2, 3, 1).flatten(1)).relu()
    return dense(params["Dense_1"], features).numpy(), features.numpy()


def accuracy_network(params, images):
    """Logits and penultimate activations of uint8 images (n, 28, 28)."""
    x = torch.tensor(np.asarray(images, np.float32) / 255)[:, None]
    kernel = tensor(params["Dense_0"]["kernel"]).reshape(12, 12, -1).permute(2, 0, 1)[:, None]
    x = F.conv2d(x, kernel, tensor(params["Dense_0"]["bias"]), 4).relu()
    x = dense(params["Dense_1"], x.permute(0, 2, 3, 1).flatten(1))
    x = normalise(x + dense(params["Dense_2"], dense(params["Dense_3"], normalise(x)).relu()))
    return dense(params["Dense_4"], x).numpy(), x.numpy()


def dense(params, x):
    return x @ tensor(params["kernel"]) + tensor(params["bias"])


def normalise(x):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def tensor(array):
    return torch.tensor(np.asarray(array, np.float32))


NETWORKS = {"features": feature_network, "accuracy": accuracy_network}
