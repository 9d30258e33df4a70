"""The times at which a sampler evaluates the network: T = t_0 > t_1 > ... > t_n = 0.

    uniform    t falls evenly
    angle      phi_t = arctan(sigma_t / alpha_t) falls evenly
    log_snr    log(alpha_t / sigma_t) rises evenly up to t = 1, the last step goes from there to 0
    karras     (sigma_t / alpha_t)^(1/7) falls evenly down to t = 1, then to 0     (Karras et al. 2022, eq. 5)

Each is rounded to the times of training and kept strictly decreasing. The noise-to-signal ratio of a schedule changes
much faster than t at both ends, so a solver of second order shows its order only on a grid that follows the schedule.
The last two leave out the times whose noise-to-signal ratio exceeds 80, where x_t holds no information on the image.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxgen.diffusion.process import Process
from jaxgen.errors import UserError

GRIDS = ("uniform", "angle", "log_snr", "karras")

# The grid with the smallest error on a mixture with a known flow, see tests/diffusion/test_diffusion_orders.py.
BEST = {
    "ancestral": "uniform",
    "ddim": "angle",
    "heun": "log_snr",
    "dpm_solver": "log_snr",
    "dpm_solver_sde": "log_snr",
    "unipc": "log_snr",
}
_RHO, _LARGEST_RATIO = 7, 80.0


def time_grid(process: Process, n_steps: int, name: str = "uniform") -> Int[np.ndarray, "{n_steps}+1"]:
    """Return t_0 = T ... t_n = 0.

    Args:
        process: the process of training, which has T times.
        n_steps: steps of the sampler, 1 to T.
        name: one of GRIDS.

    Raises:
        UserError: another name, or steps out of range.
    """
    last = process.n_steps
    if name not in GRIDS:
        raise UserError(f"time_grid is {name!r}; allowed: {', '.join(GRIDS)}")
    if not 1 <= n_steps <= last:
        raise UserError(f"sample_steps is {n_steps}; allowed: 1 to {last}, the timesteps of training")
    if name == "uniform" or n_steps == 1:
        return np.rint(np.linspace(last, 0, n_steps + 1)).astype(np.int32)
    alpha, sigma = (np.asarray(values, np.float64) for values in (process.alpha, process.sigma))
    if name == "angle":
        times = _times_at(np.arctan2(sigma, alpha), np.linspace(1, 0, n_steps + 1))
    else:
        ratio = sigma[1:] / alpha[1:]
        values = np.log(ratio) if name == "log_snr" else ratio ** (1 / _RHO)
        values = values[: max(2, int(np.sum(ratio <= _LARGEST_RATIO)))] if last > 1 else values
        times = np.append(1 + _times_at(values, np.linspace(1, 0, n_steps)), 0)
        times[0] = last
    return _strictly_decreasing(np.rint(times).astype(np.int32), last)


def _times_at(values: Float[np.ndarray, "T"], shares: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return the fractional indices at which increasing values lie at these shares of their range."""
    wanted = values[0] + shares * (values[-1] - values[0])
    return np.interp(wanted, values, np.arange(len(values)))


def _strictly_decreasing(times: Int[np.ndarray, "n"], last: int) -> Int[np.ndarray, "n"]:
    """Move times apart by the least that makes them distinct, with the ends at `last` and 0."""
    n = len(times) - 1
    places = np.arange(n, -1, -1)  # the smallest time that each place can have
    times = np.maximum.accumulate((times - places)[::-1])[::-1] + places
    times = np.minimum(times, last - np.arange(n + 1))
    times[0], times[-1] = last, 0
    return times.astype(np.int32)
