"""Deep Hopfield and predictive-coding energies and one update of equilibrium propagation in PyTorch, float64.

    clipped    E = sum_l 1/2 |s_l|^2 - <s_l, s_{l-1} W_l + b_l>
    sigmoid    E = sum_l sum [s log s + (1 - s) log(1 - s)] - <s_l, s_{l-1} W_l + b_l>
    coding     F = 1/2 sum_l |z_l - f_l(z_{l-1} W_l + b_l)|^2, f_l = tanh, the last one the identity

params = [(W, b), ...], first layer first; states s_1 ... s_L. Equilibria are found by Newton's method on all units at
once, gradients of parameters by autograd: nothing here knows a fixed-point equation.
"""

import numpy as np
import torch


def tensor(x):
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def energy(kind, params, x, states):
    """Return the energy of each example, (batch,)."""
    total, below = 0.0, x
    for number, ((weight, bias), s) in enumerate(zip(params, states, strict=True)):
        net = below @ weight + bias
        if kind == "coding":
            total = total + 0.5 * ((s - (net if number == len(params) - 1 else torch.tanh(net))) ** 2).sum(1)
        elif kind == "clipped":
            total = total + (0.5 * s**2 - s * net).sum(1)
        else:
            total = total + (torch.xlogy(s, s) + torch.xlogy(1 - s, 1 - s) - s * net).sum(1)
        below = s
    return total


def squared_error(output, y):
    return 0.5 * ((output - y) ** 2).sum(1)


def equilibrium(kind, params, x, y, beta, start, steps=12):
    """States at the stationary point of E + beta C near `start`, by Newton's method on all units of all examples."""
    shapes = [tensor(s).shape for s in start]
    flat = torch.cat([tensor(s).ravel() for s in start])

    def split(flat):
        pieces = torch.split(flat, [shape.numel() for shape in shapes])
        return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def total(flat):
        states = split(flat)
        return (energy(kind, params, x, states) + beta * squared_error(states[-1], y)).sum()

    for _ in range(steps):
        slope = torch.autograd.functional.jacobian(total, flat)
        step = torch.linalg.solve(torch.autograd.functional.hessian(total, flat, vectorize=True), slope)
        flat = flat - step if kind == "coding" else torch.clamp(flat - step, 1e-3, 1 - 1e-3)
    assert slope.abs().max() < 1e-9
    return split(flat)


def centred_update(kind, params, x, y, beta, start, rate):
    """Parameters after one step of gradient descent on the centred estimate, as numpy arrays."""
    x, y = tensor(x), tensor(y)
    layers = [tuple(tensor(leaf).requires_grad_(True) for leaf in layer) for layer in params]
    fixed = [tuple(leaf.detach() for leaf in layer) for layer in layers]
    free = equilibrium(kind, fixed, x, y, 0.0, start)
    total = 0.0
    for sign in (1.0, -1.0):
        states = equilibrium(kind, fixed, x, y, sign * beta, free)
        total = total + sign * energy(kind, layers, x, states).mean() / (2 * beta)
    total.backward()
    return [tuple((leaf - rate * leaf.grad).detach().numpy() for leaf in layer) for layer in layers]
