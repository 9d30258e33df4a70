"""Restricted Potts machines: one layer of binary hidden units, trained by contrastive divergence."""

from jaxgen.potts.restricted.contrastive import restricted_divergence as restricted_divergence
from jaxgen.potts.restricted.contrastive import sweep_machine as sweep_machine
from jaxgen.potts.restricted.likelihood import LikelihoodBracket as LikelihoodBracket
from jaxgen.potts.restricted.likelihood import likelihood_bracket as likelihood_bracket
from jaxgen.potts.restricted.machine import RestrictedPotts as RestrictedPotts
