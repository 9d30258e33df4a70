"""A diffusion model: network, process and what the network answers; and images drawn from it."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8, UInt32

from jaxgen.data import evaluation_slices
from jaxgen.diffusion.guidance import Denoiser, make_denoiser, network
from jaxgen.diffusion.inpainting import Known
from jaxgen.diffusion.likelihood import Bound, variational_bound
from jaxgen.diffusion.objectives import to_unit
from jaxgen.diffusion.process import Images, Process
from jaxgen.diffusion.samplers.loop import keyed_noise, make_sampler, sample, time_grid
from jaxgen.diffusion.unet import UNet

SIDE = 28


class Diffusion(NamedTuple):
    """A U-Net, the process it denoises, and its prediction, "eps", "x0" or "v"."""

    unet: UNet
    process: Process
    prediction: str

    def denoiser(self, params: PyTree, label: Int[Array, "batch"], w: float, clip_x0: bool) -> Denoiser:
        """See `make_denoiser`."""
        return make_denoiser(network(self.unet, params), self.process, label, self.prediction, w, clip_x0)


class Generation(NamedTuple):
    """How images are drawn.

    Attributes:
        sampler: "ancestral", "ddim", "heun" or "dpm_solver".
        steps: of the sampler, 1 to T.
        w: guidance, see `guided_output`.
        eta: of DDIM.
        clip_x0: see `make_denoiser`.
    """

    sampler: str = "dpm_solver"
    steps: int = 30
    w: float = 3.0
    eta: float = 0.0
    clip_x0: bool = True


class Generated(NamedTuple):
    """Images x_0, not clipped, and, if kept, the states on the way."""

    images: Float[np.ndarray, "n height width 1"]
    states: Float[np.ndarray, "steps n height width 1"] | None


def generate(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    label: Int[np.ndarray, "n"],
    settings: Generation,
    *,
    batch: int = 128,
    known: Known | None = None,
    keep_states: bool = False,
) -> Iterator[Generated]:
    """Images of the classes `label`, 28 x 28, in batches; image k depends on key and k, not on `batch`.

    Args:
        key: of the whole set.
        diffusion: the model.
        params: its parameters, usually the moving average.
        label: class of each image, or NO_LABEL.
        settings: sampler, steps, guidance.
        batch: images at a time.
        known: images (n, 28, 28, 1) and a mask of pixels to keep.
        keep_states: also the state after every step.

    Raises:
        ValueError: another sampler, or steps out of range.
    """
    times = time_grid(diffusion.process.n_steps, settings.steps)
    make_sampler(settings.sampler)
    batch = min(batch, len(label))

    def pieces() -> Iterator[Generated]:
        for part in evaluation_slices(len(label), batch):
            # Whole batches only, so that one program serves any n.
            index = np.arange(part.start, part.start + batch)
            row = np.minimum(index, len(label) - 1)
            some = None if known is None else Known(jnp.asarray(known.images)[row], known.mask)
            arrays = (diffusion.process, params, jnp.asarray(label)[row], index.astype(np.uint32), times, some)
            x, states = _generate(key, diffusion.unet, diffusion.prediction, settings, keep_states, arrays)
            count = part.stop - part.start
            yield Generated(np.asarray(x)[:count], np.asarray(states)[:, :count] if keep_states else None)

    return pieces()


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _generate(key, unet, prediction, settings, keep_states, arrays):
    process, params, label, index, times, known = arrays
    denoise = Diffusion(unet, process, prediction).denoiser(params, label, settings.w, settings.clip_x0)
    key_start, key_steps = jax.random.split(key)
    start = keyed_noise(key_start, index, process.n_steps, (SIDE, SIDE, 1))
    sampler = make_sampler(settings.sampler, settings.eta)
    x, states = sample(key_steps, process, denoise, sampler, times, index, start, known)
    return x, states if keep_states else None


def bound_of_images(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    images: UInt8[Array, "n 28 28"],
    label: Int[Array, "n"],
    index: UInt32[Array, "n"],
) -> Bound:
    """The likelihood bound of grey images given their class, or without one where the label is NO_LABEL."""
    return _bound(key, diffusion.unet, diffusion.prediction, (diffusion.process, params, images, label, index))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _bound(key, unet, prediction, arrays):
    process, params, images, label, index = arrays
    denoise = Diffusion(unet, process, prediction).denoiser(params, label, 1.0, True)
    return variational_bound(key, process, denoise, to_unit(images), index)


def to_grey(x: Images | np.ndarray) -> UInt8[np.ndarray, "n height width"]:
    """Images in [-1, 1], clipped to it, as grey 0 to 255."""
    return np.rint((np.clip(np.asarray(x)[..., 0], -1, 1) + 1) * 127.5).astype(np.uint8)
