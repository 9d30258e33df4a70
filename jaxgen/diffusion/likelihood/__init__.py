"""Bounds of the negative log-likelihood: the variational bound, and that of the probability-flow ODE."""

from jaxgen.diffusion.likelihood.last_step import last_levels as last_levels
from jaxgen.diffusion.likelihood.last_step import last_step_bits as last_step_bits
from jaxgen.diffusion.likelihood.last_step import last_step_table as last_step_table
from jaxgen.diffusion.likelihood.probability_flow import flow_bound as flow_bound
from jaxgen.diffusion.likelihood.probability_flow import log_density as log_density
from jaxgen.diffusion.likelihood.variational import Bound as Bound
from jaxgen.diffusion.likelihood.variational import best_variances as best_variances
from jaxgen.diffusion.likelihood.variational import discretised_log_mass as discretised_log_mass
from jaxgen.diffusion.likelihood.variational import gaussian_kl as gaussian_kl
from jaxgen.diffusion.likelihood.variational import prior_term as prior_term
from jaxgen.diffusion.likelihood.variational import step_term as step_term
from jaxgen.diffusion.likelihood.variational import variational_bound as variational_bound
