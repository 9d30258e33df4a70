"""One file per algorithm, the time grids, and the loop that all samplers share."""

from jaxgen.diffusion.samplers.ancestral import ancestral_step as ancestral_step
from jaxgen.diffusion.samplers.ddim import ddim_step as ddim_step
from jaxgen.diffusion.samplers.dpm_solver import dpm_solver_sde_step as dpm_solver_sde_step
from jaxgen.diffusion.samplers.dpm_solver import dpm_solver_step as dpm_solver_step
from jaxgen.diffusion.samplers.flow import FLOW_SAMPLERS as FLOW_SAMPLERS
from jaxgen.diffusion.samplers.flow import euler_step as euler_step
from jaxgen.diffusion.samplers.flow import flow_sample as flow_sample
from jaxgen.diffusion.samplers.flow import midpoint_step as midpoint_step
from jaxgen.diffusion.samplers.heun import heun_step as heun_step
from jaxgen.diffusion.samplers.loop import SAMPLERS as SAMPLERS
from jaxgen.diffusion.samplers.loop import Sampler as Sampler
from jaxgen.diffusion.samplers.loop import keyed_noise as keyed_noise
from jaxgen.diffusion.samplers.loop import make_sampler as make_sampler
from jaxgen.diffusion.samplers.loop import sample as sample
from jaxgen.diffusion.samplers.time_grids import BEST as BEST
from jaxgen.diffusion.samplers.time_grids import GRIDS as GRIDS
from jaxgen.diffusion.samplers.time_grids import time_grid as time_grid
from jaxgen.diffusion.samplers.unipc import unipc_step as unipc_step
