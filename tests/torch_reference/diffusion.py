"""A U-Net, a training step and ancestral sampling in PyTorch, NCHW, written from the architecture's description.

Times t count from 0 here: t is jaxgen's t - 1. `load` copies jaxgen's parameters; a name of a module is jaxgen's.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SIZES = {"small": (32, 1, False), "medium": (64, 2, False), "large": (128, 2, True)}


def betas(name, steps):
    """beta_1 ... beta_T in float64."""
    if name == "cosine":
        grid = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        left = torch.cos((grid + 0.008) / 1.008 * math.pi / 2).square()
        return (1 - left[1:] / left[:-1]).clamp(1e-4, 0.9999)
    scale = 1000 / steps if name == "linear" else 1
    return scale * torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)


class Residual(nn.Module):
    def __init__(self, before, after, width):
        super().__init__()
        self.conv_0, self.norm_0 = nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after)
        self.conv_1, self.norm_1 = nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(8, after)
        self.embedding = nn.Linear(width, after)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x, e):
        h = F.silu(self.norm_0(self.conv_0(x))) + self.embedding(e)[..., None, None]
        return F.silu(self.norm_1(self.conv_1(h)) + self.shortcut(x))


class Attention(nn.Module):
    def __init__(self, channels, heads=4):
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(8, channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        q, k, v = (part.unflatten(1, (self.heads, -1)).flatten(3) for part in self.qkv(self.norm(x)).chunk(3, 1))
        weight = torch.softmax(q.transpose(2, 3) @ k / math.sqrt(q.shape[2]), -1)
        return x + self.out((v @ weight.transpose(2, 3)).reshape(x.shape))


class UNet(nn.Module):
    """(n, 1, h, w), times (n,), labels (n,) with 10 for none -> (n, 1, h, w)."""

    def __init__(self, base, blocks, attention, multipliers=(1, 2, 4)):
        super().__init__()
        width, levels = 4 * base, [base * m for m in multipliers]
        self.width, self.blocks, self.levels = width, blocks, levels
        parts = {"time_0": nn.Linear(width, width), "time_1": nn.Linear(width, width), "label": nn.Embedding(11, width)}
        channels = 1
        for i, wide in enumerate(levels):
            for j in range(blocks):
                parts[f"down_{i}_{j}"] = Residual(channels, wide, width)
                channels = wide
            if i < len(levels) - 1:
                parts[f"down_{i}"] = nn.Conv2d(wide, wide, 3, 2, 1)
        parts["middle_0"], parts["middle_1"] = (Residual(channels, channels, width) for _ in range(2))
        if attention:
            parts["attention"] = Attention(channels)
        for i in reversed(range(len(levels))):
            if i < len(levels) - 1:
                parts[f"up_{i}"] = nn.ConvTranspose2d(channels, channels, 2, 2)
                channels += levels[i]
            for j in range(blocks):
                parts[f"up_{i}_{j}"] = Residual(channels, levels[i], width)
                channels = levels[i]
        parts["out_norm"], parts["out"] = nn.GroupNorm(8, channels), nn.Conv2d(channels, 1, 3, padding=1)
        self.parts = nn.ModuleDict(parts)

    def forward(self, x, t, label):
        part = self.parts
        half = self.width // 2
        rate = torch.exp(torch.arange(half, device=x.device) * (-math.log(10000) / (half - 1)))
        angle = t[:, None] * rate
        e = part["time_1"](F.silu(part["time_0"](torch.cat([angle.sin(), angle.cos()], 1)))) + part["label"](label)
        kept = []
        for i in range(len(self.levels)):
            for j in range(self.blocks):
                x = part[f"down_{i}_{j}"](x, e)
            kept.append(x)
            x = part[f"down_{i}"](x) if f"down_{i}" in part else x
        x = part["middle_0"](x, e)
        x = part["attention"](x) if "attention" in part else x
        x = part["middle_1"](x, e)
        for i in reversed(range(len(self.levels))):
            if f"up_{i}" in part:
                x = torch.cat([part[f"up_{i}"](x), kept[i]], 1)
            for j in range(self.blocks):
                x = part[f"up_{i}_{j}"](x, e)
        return part["out"](F.silu(part["out_norm"](x)))


def make_unet(size):
    """The U-Net of a named size."""
    return UNet(*SIZES[size])


def load(model, params):
    """Copy jaxgen's parameters into `model` and return it."""
    modules = dict(model.parts.named_modules())
    for path, value in flatten(params).items():
        owner, _, leaf = path.rpartition(".")
        module, value = modules[owner], torch.tensor(np.asarray(value, np.float32))
        if isinstance(module, nn.ConvTranspose2d) and leaf == "kernel":
            value = value.permute(0, 3, 1, 2)
        elif isinstance(module, nn.Conv2d) and leaf == "kernel":
            value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T[..., None, None]
        elif leaf == "kernel":
            value = value.T
        target = module.bias if leaf == "bias" else module.weight
        if target.shape != value.shape:
            raise ValueError(f"{path}: {tuple(value.shape)} for {tuple(target.shape)}")
        target.data.copy_(value)
    return model


def flatten(tree, prefix=""):
    """{"a.b.c": leaf} of nested dicts."""
    if not hasattr(tree, "items"):
        return {prefix[:-1]: tree}
    return {path: leaf for name, part in tree.items() for path, leaf in flatten(part, f"{prefix}{name}.").items()}


def train_step(model, optimiser, x0, t, label, noise, left, clip=1.0):
    """One update on mean squared error of the noise; `left` is alpha_bar_1 ... alpha_bar_T. Returns the loss."""
    share = left[t][:, None, None, None]
    loss = F.mse_loss(model(share.sqrt() * x0 + (1 - share).sqrt() * noise, t, label), noise)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimiser.step()
    return loss.detach()


@torch.no_grad()
def ancestral_step(model, x, t, label, w, beta, left, noise):
    """x_t -> x_(t-1), t counting from 0, with guidance u + w (c - u) in one batch and x_0 clipped."""
    n, none = len(x), torch.full_like(label, 10)
    times = torch.full((2 * n,), t, device=x.device)
    conditional, unconditional = model(torch.cat([x, x]), times, torch.cat([label, none])).chunk(2)
    eps = unconditional + w * (conditional - unconditional)
    before = left[t - 1] if t else torch.ones_like(left[0])
    x0 = ((x - (1 - left[t]).sqrt() * eps) / left[t].sqrt()).clamp(-1, 1)
    mean = (before.sqrt() * beta[t] * x0 + (1 - beta[t]).sqrt() * (1 - before) * x) / (1 - left[t])
    return mean + (beta[t] * (1 - before) / (1 - left[t])).sqrt() * noise if t else mean
