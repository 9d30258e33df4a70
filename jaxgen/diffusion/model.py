"""A diffusion model: network, process, prediction and shape of the images; images and bounds from it."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key, PyTree, UInt8, UInt32

from jaxgen.data import evaluation_slices
from jaxgen.diffusion.edm import EDM, edm_on_process
from jaxgen.diffusion.guidance import EVERYWHERE, Denoiser, Interval, make_denoiser, network
from jaxgen.diffusion.inpainting import Known
from jaxgen.diffusion.likelihood import Bound, best_variances, flow_bound, last_levels, variational_bound
from jaxgen.diffusion.objectives import to_unit
from jaxgen.diffusion.process import Images, Process
from jaxgen.diffusion.rectified_flow import FLOW, make_velocity, on_process
from jaxgen.diffusion.samplers.flow import FLOW_SAMPLERS, flow_sample
from jaxgen.diffusion.samplers.loop import SAMPLERS, keyed_noise, make_sampler, sample
from jaxgen.diffusion.samplers.time_grids import BEST, time_grid
from jaxgen.diffusion.unet import NO_LABEL, UNet
from jaxgen.errors import UserError


class Diffusion(NamedTuple):
    """A U-Net, the process it denoises, its prediction and the shape of its images.

    The prediction is "eps", "x0", "v", "flow" or "edm".
    """

    unet: UNet
    process: Process
    prediction: str
    shape: tuple[int, int, int] = (28, 28, 1)

    def denoiser(
        self,
        params: PyTree,
        label: Integer[Array, "batch"],
        w: float,
        clip_x0: bool,
        interval: Interval = EVERYWHERE,
        rescale: float = 0.0,
    ) -> Denoiser:
        """Return the denoiser of these parameters; see `make_denoiser`."""
        apply = network(self.unet, params)
        if (of_process := {FLOW: on_process, EDM: edm_on_process}.get(self.prediction)) is not None:
            apply = of_process(apply, self.process)
        return make_denoiser(apply, self.process, label, self.prediction, w, clip_x0, interval, rescale)


class Generation(NamedTuple):
    """How images are drawn.

    Attributes:
        sampler: one of SAMPLERS; for a flow also "euler" or "midpoint".
        steps: number of steps of the sampler, 1 to T; any positive number for "euler" and "midpoint".
        w: guidance, see `guided_output`.
        eta: the eta of DDIM, 0 to 1.
        clip_x0: see `make_denoiser`.
        grid: "best" for the best grid of the sampler, or one of GRIDS; even times for "euler" and "midpoint".
        interval: noise levels sigma / (alpha + sigma) between which there is guidance.
        rescale: phi of the guidance, 0 to 1, see `guided_output`.
    """

    sampler: str = "dpm_solver"
    steps: int = 30
    w: float = 3.0
    eta: float = 0.0
    clip_x0: bool = True
    grid: str = "best"
    interval: Interval = EVERYWHERE
    rescale: float = 0.0

    def times(self, process: Process) -> Int[np.ndarray, "{self.steps}+1"]:
        """Return the times of the sampler on a process.

        Raises:
            UserError: an unknown sampler or grid, or a number of steps out of range.
        """
        make_sampler(self.sampler)
        return time_grid(process, self.steps, BEST[self.sampler] if self.grid == "best" else self.grid)


class Generated(NamedTuple):
    """Images x_0, not clipped, and, if asked for, the intermediate states."""

    images: Float[np.ndarray, "n height width channels"]
    states: Float[np.ndarray, "steps n height width channels"] | None


def generate(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    label: Integer[np.ndarray, "n"],
    settings: Generation,
    *,
    batch: int = 128,
    known: Known | None = None,
    keep_states: bool = False,
) -> Iterator[Generated]:
    """Return images of the classes `label` in batches; image k depends on key and k, not on `batch`.

    Args:
        key: the key of the whole set of images.
        diffusion: the model.
        params: the parameters, usually their moving average.
        label: class of each image, or NO_LABEL.
        settings: sampler, steps and guidance.
        batch: number of images computed at a time.
        known: images (n, height, width, channels) and a mask of pixels to keep.
        keep_states: whether to return the state after every step.

    Raises:
        UserError: unknown sampler or grid, steps out of range, a label that is no class, known images of another shape.
    """
    check_sampler(settings.sampler, diffusion)
    straight = settings.sampler in FLOW_SAMPLERS
    if straight and known is not None:
        raise UserError(f"sampler is {settings.sampler!r}; allowed for inpainting: {', '.join(SAMPLERS)}")
    times = None if straight else settings.times(diffusion.process)
    classes = diffusion.unet.classes
    wrong = [k for k in np.unique(label).tolist() if k != NO_LABEL and not 0 <= k < classes]
    if wrong:
        raise UserError(f"label is {wrong[0]}; allowed: 0 to {classes - 1}, or {NO_LABEL} for no label")
    if known is not None and np.shape(known.images) != (len(label), *diffusion.shape):
        raise UserError(f"known images have shape {np.shape(known.images)}; allowed: {(len(label), *diffusion.shape)}")
    batch = min(batch, len(label))

    def pieces() -> Iterator[Generated]:
        for part in evaluation_slices(len(label), batch):
            # Whole batches only, so that one program serves any n.
            index = np.arange(part.start, part.start + batch)
            row = np.minimum(index, len(label) - 1)
            some = None if known is None else (jnp.asarray(known.images)[row], known.mask)
            arrays = (diffusion.process, params, jnp.asarray(label)[row], index.astype(np.uint32), times, some)
            static = (diffusion.unet, diffusion.prediction, diffusion.shape, settings, keep_states)
            x, states = _generate(key, *static, 1 if known is None else known.repeats, arrays)
            count = part.stop - part.start
            yield Generated(np.asarray(x)[:count], np.asarray(states)[:, :count] if keep_states else None)

    return pieces()


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4, 5, 6))
def _generate(key, unet, prediction, shape, settings, keep_states, repeats, arrays):
    process, params, label, index, times, known = arrays
    key_start, key_steps = jax.random.split(key)
    start = keyed_noise(key_start, index, process.n_steps, shape)
    if settings.sampler in FLOW_SAMPLERS:
        guidance = (settings.w, settings.clip_x0, settings.interval, settings.rescale)
        velocity = make_velocity(network(unet, params), label, *guidance)
        x, states = flow_sample(velocity, FLOW_SAMPLERS[settings.sampler], settings.steps, start)
        return x, states if keep_states else None
    model = Diffusion(unet, process, prediction)
    denoise = model.denoiser(params, label, settings.w, settings.clip_x0, settings.interval, settings.rescale)
    sampler = make_sampler(settings.sampler, settings.eta)
    known = None if known is None else Known(*known, repeats)
    x, states = sample(key_steps, process, denoise, sampler, times, index, start, known)
    return x, states if keep_states else None


def check_sampler(name: str, diffusion: Diffusion) -> None:
    """Check that a model can be sampled by this sampler.

    Raises:
        UserError: an unknown sampler, or a solver of a flow for a model of another objective.
    """
    if name not in FLOW_SAMPLERS:
        make_sampler(name)
    elif diffusion.prediction != FLOW:
        raise UserError(f"sampler is {name!r}; allowed unless objective is flow: {', '.join(SAMPLERS)}")


def bound_of_images(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    images: UInt8[Array, "n ..."],
    label: Integer[Array, "n"],
    index: UInt32[Array, "n"],
    variances: Float[Array, "T"] | None = None,
) -> Bound:
    """Return the variational bound of images given their class, or without a class where the label is NO_LABEL."""
    arrays = (diffusion.process, params, images, label, index, variances)
    return _of_images(key, diffusion.unet, diffusion.prediction, variational_bound, arrays)


def variances_of_images(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    images: UInt8[Array, "n ..."],
    label: Integer[Array, "n"],
    index: UInt32[Array, "n"],
) -> Float[Array, "T"]:
    """Return the best scalar variances of the reverse steps, measured on these images given their class."""
    arrays = (diffusion.process, params, images, label, index)
    return _of_images(key, diffusion.unet, diffusion.prediction, best_variances, arrays)


def last_levels_of_images(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    images: UInt8[Array, "n ..."],
    label: Int[Array, "n"],
    index: UInt32[Array, "n"],
) -> Int[Array, "n height width channels"]:
    """Return the grey levels at which the last reverse step is centred for these images; see `last_levels`."""
    arrays = (diffusion.process, params, images, label, index)
    return _of_images(key, diffusion.unet, diffusion.prediction, last_levels, arrays)


def flow_bound_of_images(
    key: Key[Array, ""],
    diffusion: Diffusion,
    params: PyTree,
    images: UInt8[Array, "n ..."],
    label: Integer[Array, "n"],
    index: UInt32[Array, "n"],
    steps: int = 50,
) -> Float[Array, "n"]:
    """Return the bound of images by the probability-flow ODE in bits per pixel; see `flow_bound`."""
    times = time_grid(diffusion.process, min(steps, diffusion.process.n_steps), "log_snr")
    arrays = (diffusion.process, params, images, label, index, times)
    return _of_images(key, diffusion.unet, diffusion.prediction, flow_bound, arrays)


def to_grey(x: Images | np.ndarray) -> UInt8[np.ndarray, "n height width"] | UInt8[np.ndarray, "n height width c"]:
    """Return images in [-1, 1], clipped to it, as uint8 0 to 255; a single channel loses its axis."""
    x = np.asarray(x)
    x = x[..., 0] if x.shape[-1] == 1 else x
    return np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _of_images(key, unet, prediction, measure, arrays):
    """Return `measure` of the images with the model's denoiser, their classes given."""
    process, params, images, label, index, *rest = arrays
    denoise = Diffusion(unet, process, prediction).denoiser(params, label, 1.0, True)
    return measure(key, process, denoise, to_unit(images), index, *rest)
