"""The Potts model in PyTorch, float64, with its own loops over sites and edges.

    E(x) = - sum_i b_i[x_i] - sum_(i,j) W_ij[x_i, x_j],   p(x) proportional to exp(-beta E(x))

params = {"bias": (H, W, L), "coupling": {"dy,dx": (h, w, L, L)} or (n_offsets,)}; the target of an edge is the source
moved by (dy, dx); edges of an offset are numbered in raster order of their sources.
"""

import numpy as np
import torch


def edges(height, width, offset, boundary):
    """[((y, x), (y', x')), ...], sources and targets."""
    dy, dx = offset
    pairs = []
    for y in range(height):
        for x in range(width):
            ty, tx = y + dy, x + dx
            if boundary == "periodic":
                pairs.append(((y, x), (ty % height, tx % width)))
            elif 0 <= ty < height and 0 <= tx < width:
                pairs.append(((y, x), (ty, tx)))
    return pairs


def tensors(params):
    """Return the same tree as float64 leaf tensors; tensors pass through unchanged."""
    if isinstance(params, dict):
        return {name: tensors(value) for name, value in params.items()}
    return params if isinstance(params, torch.Tensor) else torch.tensor(np.asarray(params, np.float64))


def edge_tables(params, offsets, k, n_edges):
    """W_ij of every edge of offset k: (n_edges, L, L)."""
    levels = params["bias"].shape[-1]
    if isinstance(params["coupling"], dict):
        return params["coupling"]["{},{}".format(*offsets[k])].reshape(n_edges, levels, levels)
    same = torch.eye(levels, dtype=torch.float64)
    return torch.stack([params["coupling"][k] * same] * n_edges)


def energy(params, x, offsets, boundary):
    """E(x), (n,), of images x (n, H, W)."""
    params, x = tensors(params), torch.as_tensor(np.asarray(x).astype(np.int64))
    height, width, _ = params["bias"].shape
    total = torch.zeros(len(x), dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            total = total - params["bias"][row, column][x[:, row, column]]
    for k, offset in enumerate(offsets):
        ends = edges(height, width, offset, boundary)
        tables = edge_tables(params, offsets, k, len(ends))
        for table, ((sy, sx), (ty, tx)) in zip(tables, ends, strict=True):
            total = total - table[x[:, sy, sx], x[:, ty, tx]]
    return total


def conditionals(params, x, offsets, boundary, beta=1.0):
    """p(x_i = l | the other sites), (n, H, W, L), from the energies of the L images that differ in site i."""
    x = np.asarray(x)
    height, width, levels = np.shape(params["bias"])
    result = torch.empty(len(x), height, width, levels, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            variants = np.repeat(x[None], levels, axis=0)
            variants[:, :, row, column] = np.arange(levels)[:, None]
            energies = energy(params, variants.reshape(-1, height, width), offsets, boundary).reshape(levels, len(x))
            result[:, row, column] = torch.softmax(-beta * energies, dim=0).T
    return result


def sequential_gibbs(generator, params, x, n_sweeps, offsets, boundary, beta=1.0, order=None):
    """Chains x (n, H, W) after n_sweeps; a sweep draws every site once, in raster order or in order, [(y, x), ...]."""
    params, x = tensors(params), torch.tensor(np.asarray(x).astype(np.int64))
    height, width, _ = params["bias"].shape
    joined = {(row, column): [] for row in range(height) for column in range(width)}
    for k, offset in enumerate(offsets):
        ends = edges(height, width, offset, boundary)
        tables = edge_tables(params, offsets, k, len(ends))
        for table, (source, target) in zip(tables, ends, strict=True):
            joined[source].append((target, table))
            joined[target].append((source, table.T))
    for _ in range(n_sweeps):
        for site in order or joined:
            logits = params["bias"][site].expand(len(x), -1)
            for (row, column), table in joined[site]:
                logits = logits + table[:, x[:, row, column]].T
            probabilities = torch.softmax(beta * logits, dim=1)
            x[:, site[0], site[1]] = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    return x.numpy().astype(np.uint8)


def cd_gradient(params, x_data, x_model, offsets, boundary):
    """d/d params of mean E(x_data) - mean E(x_model), a numpy tree: what an optimiser descends (times beta).

    E is linear in params, so this is <statistics>_model - <statistics>_data.
    """
    params = tensors(params)
    leaves = _leaves(params)
    for leaf in leaves:
        leaf.requires_grad_()
    data, model = (energy(params, x, offsets, boundary).mean() for x in (x_data, x_model))
    gradients = iter(torch.autograd.grad(data - model, leaves))
    return _map(lambda _: next(gradients).numpy(), params)


def adam_steps(params, gradients, lr):
    """params after one step of torch.optim.Adam (default betas and eps) for each tree in `gradients`; a numpy tree."""
    params = tensors(params)
    optimiser = torch.optim.Adam(_leaves(params), lr=lr)
    for tree in gradients:
        for leaf, gradient in zip(_leaves(params), _leaves(tensors(tree)), strict=True):
            leaf.grad = gradient
        optimiser.step()
    return _map(lambda leaf: leaf.numpy(), params)


def _leaves(tree):
    return [leaf for name in sorted(tree) for leaf in _leaves(tree[name])] if isinstance(tree, dict) else [tree]


def _map(function, tree):
    """function of every leaf, in the order of _leaves."""
    return {name: _map(function, tree[name]) for name in sorted(tree)} if isinstance(tree, dict) else function(tree)
