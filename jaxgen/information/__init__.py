"""Distributions with exact information content, classifiers beside their bounds, estimators of mutual information."""

from jaxgen.information.bounds import bayes_accuracy as bayes_accuracy
from jaxgen.information.bounds import bits as bits
from jaxgen.information.bounds import conditional_entropy as conditional_entropy
from jaxgen.information.bounds import fano_accuracy as fano_accuracy
from jaxgen.information.bounds import mutual_information as mutual_information
from jaxgen.information.bounds import naive_bayes as naive_bayes
from jaxgen.information.bounds import subset_bounds as subset_bounds
from jaxgen.information.cells import CellDistribution as CellDistribution
from jaxgen.information.cells import ten_labels as ten_labels
from jaxgen.information.config import InformationConfig as InformationConfig
from jaxgen.information.config import build_distribution as build_distribution
from jaxgen.information.evaluate import Evaluation as Evaluation
from jaxgen.information.evaluate import evaluate as evaluate
from jaxgen.information.mixture import GaussianMixture as GaussianMixture
from jaxgen.information.sampler import sample as sample
from jaxgen.information.table import load_table as load_table
from jaxgen.information.task import InformationTask as InformationTask
