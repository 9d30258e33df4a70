"""From noise to images: one loop for all samplers.

    T = t_0 > t_1 > ... > t_n = 0,   t_i = round(T (1 - i / n));   x_(t_i) = step(x_(t_(i-1)))

The noise of image number k at time t comes from fold_in(fold_in(key, k), t): neither the size of a batch nor what else
is drawn changes an image.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, Key, UInt32

from jaxgen.diffusion.guidance import Denoiser
from jaxgen.diffusion.inpainting import Known, replace_known
from jaxgen.diffusion.process import Images, Process, Times
from jaxgen.diffusion.samplers.ancestral import ancestral_step
from jaxgen.diffusion.samplers.ddim import ddim_step
from jaxgen.diffusion.samplers.dpm_solver import dpm_solver_memory, dpm_solver_step
from jaxgen.diffusion.samplers.heun import heun_step
from jaxgen.errors import UserError

SAMPLERS = ("ancestral", "ddim", "heun", "dpm_solver")


class Sampler(NamedTuple):
    """`step(denoise, process, x, memory, t, s, noise) -> (x, memory)`, and what it remembers before the first step."""

    step: Callable[..., tuple[Images, Any]]
    memory: Callable[[Images], Any] = lambda x: None


def make_sampler(name: str, eta: float = 0.0) -> Sampler:
    """A sampler by name; `eta` is that of DDIM. ValueError on another name."""
    samplers = {
        "ancestral": Sampler(ancestral_step),
        "ddim": Sampler(functools.partial(ddim_step, eta=eta)),
        "heun": Sampler(heun_step),
        "dpm_solver": Sampler(dpm_solver_step, dpm_solver_memory),
    }
    if name not in samplers:
        raise UserError(f"sampler is {name!r}; allowed: {', '.join(SAMPLERS)}")
    return samplers[name]


def time_grid(n_times: int, n_steps: int) -> Int[np.ndarray, "n_steps+1"]:
    """t_0 = T = `n_times` ... t_n = 0. ValueError unless 1 <= n_steps <= T."""
    if not 1 <= n_steps <= n_times:
        raise UserError(f"sample_steps is {n_steps}; allowed: 1 to {n_times}, the timesteps of training")
    return np.rint(np.linspace(n_times, 0, n_steps + 1)).astype(np.int32)


def keyed_noise(key: Key[Array, ""], index: UInt32[Array, "batch"], t: Times, shape: tuple[int, ...]) -> Images:
    """Standard normal (batch, *shape) of images number `index` at time t."""
    return jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, k), t), shape))(index)


def sample(
    key: Key[Array, ""],
    process: Process,
    denoise: Denoiser,
    sampler: Sampler,
    times: Int[Array, "n_steps+1"],
    index: UInt32[Array, "batch"],
    start: Images,
    known: Known | None = None,
) -> tuple[Images, Images]:
    """Images x_0, not clipped, and the states after every step, (n_steps, batch, height, width, channels).

    To be jitted; states that are not used cost nothing then.

    Args:
        key: of the whole set of images.
        process: with T = times[0].
        denoise: `(x_t, t) -> Denoised`.
        sampler: of `make_sampler`.
        times: of `time_grid`.
        index: number of each image in the whole set.
        start: x_T.
        known: pixels to keep.
    """
    shape = start.shape[1:]
    key_steps, key_known = jax.random.split(key)

    def body(state, pair):
        x, memory = state
        t, s = pair
        x, memory = sampler.step(denoise, process, x, memory, t, s, keyed_noise(key_steps, index, t, shape))
        if known is not None:
            x = replace_known(process, known, x, s, keyed_noise(key_known, index, s, shape))
        return (x, memory), x

    (x, _), states = jax.lax.scan(body, (start, sampler.memory(start)), (times[:-1], times[1:]))
    return x, states
