"""The baseline: a variational autoencoder of binarised, level-coded or 8-bit images."""

from jaxgen.vae.bounds import elbo as elbo
from jaxgen.vae.bounds import elbo_loss as elbo_loss
from jaxgen.vae.bounds import importance_weighted_bound as importance_weighted_bound
from jaxgen.vae.bounds import kl_divergence as kl_divergence
from jaxgen.vae.bounds import log_weights as log_weights
from jaxgen.vae.config import VAEConfig as VAEConfig
from jaxgen.vae.config import build_model as build_model
from jaxgen.vae.evaluate import draw_samples as draw_samples
from jaxgen.vae.evaluate import generate as generate
from jaxgen.vae.evaluate import grey as grey
from jaxgen.vae.evaluate import measure_bounds as measure_bounds
from jaxgen.vae.likelihoods import Likelihood as Likelihood
from jaxgen.vae.likelihoods import likelihood as likelihood
from jaxgen.vae.model import VAE as VAE
from jaxgen.vae.model import Gaussian as Gaussian
from jaxgen.vae.report import save_samples as save_samples
from jaxgen.vae.task import VAETask as VAETask
from jaxgen.vae.task import initial_params as initial_params
from jaxgen.vae.task import restore_run as restore_run
