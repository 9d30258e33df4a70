"""Diffusion models: the forward process, the U-Net, samplers, guidance, likelihoods and inpainting.

The parts are imported from their modules: `process`, `schedules`, `objectives`, `rectified_flow`, `edm`, `guidance`,
`likelihood`, `inpainting`, `samplers`, `evaluate`, `studies`.
"""

from jaxgen.diffusion.config import DiffusionConfig as DiffusionConfig
from jaxgen.diffusion.config import build_diffusion as build_diffusion
from jaxgen.diffusion.config import with_images as with_images
from jaxgen.diffusion.evaluate import classes_in_turn as classes_in_turn
from jaxgen.diffusion.evaluate import draw_images as draw_images
from jaxgen.diffusion.inpainting import REGIONS as REGIONS
from jaxgen.diffusion.inpainting import Known as Known
from jaxgen.diffusion.inpainting import known_mask as known_mask
from jaxgen.diffusion.likelihood import variational_bound as variational_bound
from jaxgen.diffusion.model import Diffusion as Diffusion
from jaxgen.diffusion.model import Generation as Generation
from jaxgen.diffusion.model import generate as generate
from jaxgen.diffusion.model import to_grey as to_grey
from jaxgen.diffusion.objectives import Objective as Objective
from jaxgen.diffusion.objectives import to_unit as to_unit
from jaxgen.diffusion.pretrained import load_pretrained as load_pretrained
from jaxgen.diffusion.process import make_process as make_process
from jaxgen.diffusion.samplers import SAMPLERS as SAMPLERS
from jaxgen.diffusion.samplers import make_sampler as make_sampler
from jaxgen.diffusion.samplers import sample as sample
from jaxgen.diffusion.task import DiffusionTask as DiffusionTask
from jaxgen.diffusion.task import load as load
from jaxgen.diffusion.task import restore_run as restore_run
from jaxgen.diffusion.unet import NO_LABEL as NO_LABEL
from jaxgen.diffusion.unet import init_params as init_params
from jaxgen.diffusion.unet import make_unet as make_unet
