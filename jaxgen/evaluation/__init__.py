"""How good is a generator? Features, distances, likelihoods of exact baselines, one panel for all."""

from jaxgen.evaluation.baselines.chow_liu import ChowLiuTree as ChowLiuTree
from jaxgen.evaluation.baselines.chow_liu import PairCounts as PairCounts
from jaxgen.evaluation.baselines.chow_liu import choose_pseudo_count as choose_pseudo_count
from jaxgen.evaluation.baselines.independent_pixels import IndependentPixels as IndependentPixels
from jaxgen.evaluation.blind import blind_rows as blind_rows
from jaxgen.evaluation.blind import mixed as mixed
from jaxgen.evaluation.blind import read_answers as read_answers
from jaxgen.evaluation.blind import read_key as read_key
from jaxgen.evaluation.blind import write_sheet as write_sheet
from jaxgen.evaluation.classifier import accuracy as accuracy
from jaxgen.evaluation.figures import summary_figure as summary_figure
from jaxgen.evaluation.measures.classification_score import SCORE_STEPS as SCORE_STEPS
from jaxgen.evaluation.measures.classification_score import (
    classification_accuracy_score as classification_accuracy_score,
)
from jaxgen.evaluation.measures.classification_score import score_rows as score_rows
from jaxgen.evaluation.measures.conditional_accuracy import conditional_accuracy as conditional_accuracy
from jaxgen.evaluation.measures.copies import nearest_training as nearest_training
from jaxgen.evaluation.measures.diversity import class_diversity as class_diversity
from jaxgen.evaluation.measures.diversity import diversity_ratio as diversity_ratio
from jaxgen.evaluation.measures.frechet import Moments as Moments
from jaxgen.evaluation.measures.frechet import frechet_distance as frechet_distance
from jaxgen.evaluation.measures.frechet import moments as moments
from jaxgen.evaluation.measures.intervals import Interval as Interval
from jaxgen.evaluation.measures.intervals import wilson as wilson
from jaxgen.evaluation.measures.kid import kernel_distance as kernel_distance
from jaxgen.evaluation.measures.kid import squared_mmd as squared_mmd
from jaxgen.evaluation.measures.manifold import expected_coverage as expected_coverage
from jaxgen.evaluation.measures.manifold import manifold as manifold
from jaxgen.evaluation.measures.sliced_wasserstein import sliced_wasserstein as sliced_wasserstein
from jaxgen.evaluation.networks import apply_network as apply_network
from jaxgen.evaluation.own_reference import build_reference as build_reference
from jaxgen.evaluation.own_reference import open_reference as open_reference
from jaxgen.evaluation.own_reference import own_rules as own_rules
from jaxgen.evaluation.own_reference import reference_for as reference_for
from jaxgen.evaluation.panel import evaluate as evaluate
from jaxgen.evaluation.reference import Reference as Reference
from jaxgen.evaluation.reference import load_reference as load_reference
from jaxgen.evaluation.report import rows as rows
from jaxgen.evaluation.report import table as table
from jaxgen.evaluation.report import to_json as to_json
from jaxgen.evaluation.samples import MIN_SAMPLES as MIN_SAMPLES
from jaxgen.evaluation.samples import STANDARD as STANDARD
from jaxgen.evaluation.samples import Rules as Rules
from jaxgen.evaluation.samples import Samples as Samples
from jaxgen.evaluation.samples import check_samples as check_samples
from jaxgen.evaluation.samples import load_samples as load_samples
