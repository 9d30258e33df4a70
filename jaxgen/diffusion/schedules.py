"""Noise schedules: the share of the image that is left after t of T steps.

    alpha_bar_t = prod_(s <= t) (1 - beta_s),   alpha_bar_0 = 1

    linear_unscaled   beta_t = 1e-4 ... 0.02, evenly spaced, for every T
    linear            the same, multiplied by 1000 / T
    cosine            alpha_bar_t = f(t) / f(0), f(t) = cos^2((t / T + s) / (1 + s) pi / 2), s = 0.008, beta <= 0.9999

Ho et al. (2020), section 4, chose the linear betas for T = 1000. With T = 300 and the same betas alpha_bar_T is 0.048:
x_T still shows the image, while sampling starts from pure noise. `linear` ends where T = 1000 does. The cosine schedule
is eq. 17 of Nichol and Dhariwal (2021).
"""

import math

import numpy as np
from jaxtyping import Float64

from jaxgen.errors import UserError

SCHEDULES = ("linear_unscaled", "linear", "cosine")

_FIRST, _LAST, _STEPS = 1e-4, 0.02, 1000
_OFFSET, _LARGEST = 0.008, 0.9999


def alpha_bar(name: str, n_steps: int) -> Float64[np.ndarray, "{n_steps}+1"]:
    """Return alpha_bar_0 ... alpha_bar_T, which decrease from 1; T = `n_steps`.

    Raises:
        UserError: an unknown name, or so few steps that beta_T would reach 1.
    """
    if name not in SCHEDULES:
        raise UserError(f"schedule is {name!r}; allowed: {', '.join(SCHEDULES)}")
    least = 1 if name != "linear" else math.floor(_LAST * _STEPS) + 1
    if n_steps < least:
        raise UserError(f"timesteps is {n_steps}; allowed with schedule={name!r}: {least} or more")
    if name == "cosine":
        angle = (np.arange(n_steps + 1) / n_steps + _OFFSET) / (1 + _OFFSET) * np.pi / 2
        curve = np.cos(angle) ** 2
        betas = np.minimum(1 - curve[1:] / curve[:-1], _LARGEST)
    else:
        scale = _STEPS / n_steps if name == "linear" else 1.0
        betas = scale * np.linspace(_FIRST, _LAST, n_steps)
    return np.concatenate([[1.0], np.cumprod(1 - betas)])
