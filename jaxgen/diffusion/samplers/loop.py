"""From noise to images: the loop that all samplers share.

    x_(t_i) = step(x_(t_(i-1))),   T = t_0 > t_1 > ... > t_n = 0 of `time_grids`

With known pixels (inpainting) each step is followed by their replacement, and step and replacement are repeated
`known.repeats` times, from x_t drawn again from q(x_t | x_s); see `inpainting`.

The noise of image number k at time t comes from fold_in(fold_in(key, k), t): an image does not depend on the batch in
which it is drawn.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxgen.diffusion.guidance import Denoiser
from jaxgen.diffusion.inpainting import Known, replace_known
from jaxgen.diffusion.process import Images, Process, Times, q_step
from jaxgen.diffusion.samplers.ancestral import ancestral_step
from jaxgen.diffusion.samplers.ddim import ddim_step
from jaxgen.diffusion.samplers.dpm_solver import dpm_solver_memory, dpm_solver_sde_step, dpm_solver_step
from jaxgen.diffusion.samplers.heun import heun_step
from jaxgen.diffusion.samplers.unipc import unipc_memory, unipc_step
from jaxgen.errors import UserError

SAMPLERS = ("ancestral", "ddim", "heun", "dpm_solver", "dpm_solver_sde", "unipc")
_REPEATS = 2**31  # image numbers stay below


class Sampler(NamedTuple):
    """`step(denoise, process, x, memory, t, s, noise) -> (x, memory)`, and the memory before the first step."""

    step: Callable[..., tuple[Images, Any]]
    memory: Callable[[Images], Any] = lambda x: None


def make_sampler(name: str, eta: float = 0.0) -> Sampler:
    """Return a sampler by name; `eta` is that of DDIM.

    Raises:
        UserError: an unknown name.
    """
    samplers = {
        "ancestral": Sampler(ancestral_step),
        "ddim": Sampler(functools.partial(ddim_step, eta=eta)),
        "heun": Sampler(heun_step),
        "dpm_solver": Sampler(dpm_solver_step, dpm_solver_memory),
        "dpm_solver_sde": Sampler(dpm_solver_sde_step, dpm_solver_memory),
        "unipc": Sampler(unipc_step, unipc_memory),
    }
    if name not in samplers:
        raise UserError(f"sampler is {name!r}; allowed: {', '.join(SAMPLERS)}")
    return samplers[name]


def keyed_noise(key: Key[Array, ""], index: UInt32[Array, "batch"], t: Times, shape: tuple[int, ...]) -> Images:
    """Return standard normal noise (batch, *shape) of images number `index` at time t."""
    return jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, k), t), shape))(index)


def sample(
    key: Key[Array, ""],
    process: Process,
    denoise: Denoiser,
    sampler: Sampler,
    times: Int[Array, "times"],
    index: UInt32[Array, "batch"],
    start: Images,
    known: Known | None = None,
) -> tuple[Images, Float[Array, "n_steps batch height width channels"]]:
    """Return images x_0, not clipped, and the states after every step, (n_steps, batch, height, width, channels).

    Call it under `jax.jit`, where unused states cost nothing.

    Args:
        key: the key of the whole set of images.
        process: the process whose T is times[0].
        denoise: `(x_t, t) -> Denoised`.
        sampler: the result of `make_sampler`.
        times: the times of `time_grid`.
        index: number of each image in the whole set.
        start: x_T.
        known: pixels to keep, for inpainting.
    """
    shape = start.shape[1:]
    key_steps, key_known = jax.random.split(key)
    key_repeats = jax.random.fold_in(key_known, _REPEATS)

    def step_and_replace(x, memory, t, s, keys):
        x, memory = sampler.step(denoise, process, x, memory, t, s, keyed_noise(keys[0], index, t, shape))
        if known is not None:
            x = replace_known(process, known, x, s, keyed_noise(keys[1], index, s, shape))
        return x, memory

    def again(repeat, x, t, s):
        """Return to x_t by the forward process and repeat the step."""
        keys = jax.random.split(jax.random.fold_in(key_repeats, repeat), 3)
        x = q_step(process, x, s, t, keyed_noise(keys[2], index, t, shape))
        return step_and_replace(x, sampler.memory(x), t, s, keys)[0]

    def body(state, pair):
        (x, memory), (t, s) = state, pair
        if known is None or known.repeats == 1:
            x, memory = step_and_replace(x, memory, t, s, (key_steps, key_known))
        else:
            # A multistep method would extrapolate between images that the repetitions made independent, and diverge.
            x, _ = step_and_replace(x, sampler.memory(x), t, s, (key_steps, key_known))
            x = jax.lax.fori_loop(1, known.repeats, lambda repeat, x: again(repeat, x, t, s), x)
        return (x, memory), x

    (x, _), states = jax.lax.scan(body, (start, sampler.memory(start)), (times[:-1], times[1:]))
    return x, states
