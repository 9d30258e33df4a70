"""Estimators of mutual information from samples, and pairs of variables whose mutual information is known exactly."""

from jaxgen.information.estimators.canonical import canonical_correlations as canonical_correlations
from jaxgen.information.estimators.canonical import gaussian_estimate as gaussian_estimate
from jaxgen.information.estimators.limited import limited_information as limited_information
from jaxgen.information.estimators.neighbours import ksg as ksg
from jaxgen.information.estimators.neighbours import ross as ross
from jaxgen.information.estimators.networks import NetworkOptions as NetworkOptions
from jaxgen.information.estimators.networks import network_estimates as network_estimates
from jaxgen.information.estimators.objectives import classifier as classifier
from jaxgen.information.estimators.objectives import donsker_varadhan as donsker_varadhan
from jaxgen.information.estimators.objectives import info_nce as info_nce
from jaxgen.information.estimators.problems import Problem as Problem
from jaxgen.information.estimators.problems import all_problems as all_problems
from jaxgen.information.estimators.problems import gaussian_information as gaussian_information
from jaxgen.information.estimators.problems import student_correction as student_correction
