"""Potts energy-based models: energy, contrastive gradients, exact oracles."""

from jaxgen.potts import exact as exact
from jaxgen.potts import transfer as transfer
from jaxgen.potts.annealed import PartitionEstimate as PartitionEstimate
from jaxgen.potts.annealed import bound_log_partition as bound_log_partition
from jaxgen.potts.annealed import class_params as class_params
from jaxgen.potts.annealed import estimate_log_partition as estimate_log_partition
from jaxgen.potts.config import BEST as BEST
from jaxgen.potts.config import SIDE as SIDE
from jaxgen.potts.config import PottsConfig as PottsConfig
from jaxgen.potts.config import build_model as build_model
from jaxgen.potts.config import classes as classes
from jaxgen.potts.contrastive import ContrastiveSettings as ContrastiveSettings
from jaxgen.potts.contrastive import centred as centred
from jaxgen.potts.contrastive import contrastive_divergence as contrastive_divergence
from jaxgen.potts.contrastive import persistent_chains as persistent_chains
from jaxgen.potts.evaluate import evaluation_hook as evaluation_hook
from jaxgen.potts.evaluate import final_rows as final_rows
from jaxgen.potts.evaluate import fresh_samples as fresh_samples
from jaxgen.potts.evaluate import noise as noise
from jaxgen.potts.model import COUPLINGS as COUPLINGS
from jaxgen.potts.model import PottsEBM as PottsEBM
from jaxgen.potts.model import label_field as label_field
from jaxgen.potts.model import log_marginal_init as log_marginal_init
from jaxgen.potts.statistics import mean_statistics as mean_statistics
from jaxgen.potts.statistics import moment_errors as moment_errors
from jaxgen.potts.task import PottsTask as PottsTask
