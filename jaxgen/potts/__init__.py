"""Potts energy-based models: the energy, contrastive gradients, likelihoods."""

from jaxgen.potts.config import PottsConfig as PottsConfig
from jaxgen.potts.config import build_model as build_model
from jaxgen.potts.contrastive import ContrastiveSettings as ContrastiveSettings
from jaxgen.potts.contrastive import contrastive_divergence as contrastive_divergence
from jaxgen.potts.contrastive import persistent_chains as persistent_chains
from jaxgen.potts.evaluate import noise as noise
from jaxgen.potts.latent import latent_contrastive_divergence as latent_contrastive_divergence
from jaxgen.potts.latent import latent_lattice as latent_lattice
from jaxgen.potts.latent import latent_log_likelihood as latent_log_likelihood
from jaxgen.potts.latent import visible_sites as visible_sites
from jaxgen.potts.likelihood.annealed_importance import class_params as class_params
from jaxgen.potts.likelihood.log_likelihood import base_biases as base_biases
from jaxgen.potts.likelihood.log_likelihood import bits_per_pixel as bits_per_pixel
from jaxgen.potts.likelihood.log_likelihood import log_likelihood as log_likelihood
from jaxgen.potts.likelihood.partition import bracket as bracket
from jaxgen.potts.likelihood.partition import log_partition as log_partition
from jaxgen.potts.likelihood.tempering import parallel_tempering as parallel_tempering
from jaxgen.potts.model import COUPLINGS as COUPLINGS
from jaxgen.potts.model import PottsEBM as PottsEBM
from jaxgen.potts.model import label_field as label_field
from jaxgen.potts.model import log_marginal_init as log_marginal_init
from jaxgen.potts.sampling import fresh_samples as fresh_samples
from jaxgen.potts.statistics import mean_statistics as mean_statistics
from jaxgen.potts.statistics import moment_errors as moment_errors
from jaxgen.potts.task import PottsTask as PottsTask
from jaxgen.potts.task import restore_run as restore_run
