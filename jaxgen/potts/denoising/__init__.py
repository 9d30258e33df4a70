"""Denoising machines: bipartite Potts machines that turn noise into images level by level."""

from jaxgen.potts.denoising.config import DenoisingConfig as DenoisingConfig
from jaxgen.potts.denoising.contrastive import denoising_divergence as denoising_divergence
from jaxgen.potts.denoising.contrastive import recovery as recovery
from jaxgen.potts.denoising.contrastive import trajectory as trajectory
from jaxgen.potts.denoising.generate import Denoiser as Denoiser
from jaxgen.potts.denoising.generate import Generation as Generation
from jaxgen.potts.denoising.generate import generate as generate
from jaxgen.potts.denoising.generate import stages as stages
from jaxgen.potts.denoising.machine import DenoisingMachine as DenoisingMachine
from jaxgen.potts.denoising.machine import Statistics as Statistics
from jaxgen.potts.denoising.machine import fit_statistics as fit_statistics
from jaxgen.potts.denoising.task import DenoisingTask as DenoisingTask
from jaxgen.potts.denoising.task import restore_denoiser as restore_denoiser
