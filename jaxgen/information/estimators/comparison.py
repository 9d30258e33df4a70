"""Estimators of mutual information beside the exact value: every problem, sample size and seed.

Every estimator sees the same samples, with coordinates standardised and labels one-hot where it needs numbers.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jaxgen import runs
from jaxgen.errors import UserError
from jaxgen.information.estimators import objectives
from jaxgen.information.estimators.canonical import gaussian_estimate
from jaxgen.information.estimators.limited import limited_information
from jaxgen.information.estimators.neighbours import ksg, ross
from jaxgen.information.estimators.networks import NetworkOptions, network_estimates
from jaxgen.information.estimators.problems import Problem

NEIGHBOURS, CANONICAL = "nearest neighbours (KSG; Ross for labels)", "canonical correlations (Gaussian)"
INFO_NCE, DONSKER_VARADHAN = "InfoNCE", "Donsker-Varadhan (MINE)"
CLASSIFIER, LIMITED = "classifier bound", "linear classifiers (V-information)"
_FEWEST = 300  # pairs of a sample: enough for every label to occur in both halves
ESTIMATORS = (NEIGHBOURS, CANONICAL, INFO_NCE, DONSKER_VARADHAN, CLASSIFIER, LIMITED)


class Estimate(NamedTuple):
    """One estimate.

    Attributes:
        problem: name of the problem.
        estimator: one of ESTIMATORS.
        n: number of pairs in the sample.
        sample: number of the sample of this size, from 0.
        value: the estimate in nats.
        exact: the mutual information in nats.
        labelled: whether Y is a label.
    """

    problem: str
    estimator: str
    n: int
    sample: int
    value: float
    exact: float
    labelled: bool


class Sampled(NamedTuple):
    """A sample as estimators see it: standardised x, y as numbers, and the labels, None for continuous Y."""

    x: Float[np.ndarray, "n d_x"]
    y: Float[np.ndarray, "n d_y"]
    labels: np.ndarray | None


def check_sizes(sizes: Sequence[int]) -> None:
    """Raise the UserError if there are no sample sizes, or one is below 100."""
    if not len(sizes) or min(sizes) < _FEWEST:
        raise UserError(f"sizes are {tuple(sizes)}; allowed: one or more, each {_FEWEST} or more")


def compare(
    key: Key[Array, ""], problems: Sequence[Problem], sizes: Sequence[int], samples: int, options: NetworkOptions
) -> list[Estimate]:
    """Return the estimates of all estimators on all problems, from `samples` samples of every size."""
    check_sizes(sizes)
    from tqdm import tqdm  # here, so that the library does without it

    results = []
    for number, problem in enumerate(tqdm(problems, desc="problems")):
        results += estimates(jax.random.fold_in(key, number), problem, sizes, samples, options)
    return results


def estimates(
    key: Key[Array, ""], problem: Problem, sizes: Sequence[int], samples: int, options: NetworkOptions
) -> list[Estimate]:
    """Return the estimates of all estimators that apply to a problem, from `samples` samples of every size."""
    key_data, key_networks = jax.random.split(key)
    places = [(n, number) for n in sizes for number in range(samples)]
    keys = jax.random.split(key_data, len(places))
    drawn = [_sampled(problem, sample_key, n) for sample_key, (n, _) in zip(keys, places, strict=True)]
    values = {name: [estimator(sample) for sample in drawn] for name, estimator in _direct(problem).items()}
    pairs = [(sample.x, sample.y) for sample in drawn]
    for number, (name, objective) in enumerate(_objectives(problem).items()):
        values[name] = network_estimates(jax.random.fold_in(key_networks, number), pairs, objective, options)
    return [
        Estimate(problem.name, name, n, number, value, problem.information, problem.n_labels > 0)
        for name in values
        for (n, number), value in zip(places, values[name], strict=True)
    ]


def standardised(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Return the coordinates with mean 0 and standard deviation 1, in float64. UserError if one is constant."""
    x = np.asarray(x, np.float64)
    scale = x.std(0)
    if not (scale > 0).all():
        raise UserError(f"coordinate {int(np.argmin(scale))} is constant; allowed: coordinates that vary")
    return (x - x.mean(0)) / scale


def rows(results: Sequence[Estimate]) -> list[runs.Row]:
    """Return the rows of the record: per problem and estimator the mean at the largest size; mean errors by size."""
    sizes = sorted({estimate.n for estimate in results})
    result = []
    for problem in dict.fromkeys(estimate.problem for estimate in results):
        of_problem = [estimate for estimate in results if estimate.problem == problem]
        for name in dict.fromkeys(estimate.estimator for estimate in of_problem):
            own = [estimate for estimate in of_problem if estimate.estimator == name]
            last = [estimate.value for estimate in own if estimate.n == sizes[-1]]
            first = statistics.fmean(estimate.value - estimate.exact for estimate in own if estimate.n == sizes[0])
            exact = own[0].exact
            note = f"error {statistics.fmean(last) - exact:+.3f}, {first:+.3f} with {sizes[0]:,} pairs"
            note += f"; range of {len(last)} samples {min(last):.3f} to {max(last):.3f}"
            result.append(runs.Row(f"{problem}: {name}", statistics.fmean(last), "nats", f"exact {exact:.4f}", note))
    for (kind, name), errors in mean_errors(results).items():
        note = "; ".join(f"{error:.3f} with {n:,} pairs" for n, error in errors.items())
        result.append(runs.Row(f"mean absolute error, {kind}: {name}", errors[sizes[-1]], "nats", "", note))
    return result


def mean_errors(results: Sequence[Estimate]) -> Mapping[tuple[str, str], Mapping[int, float]]:
    """Return the mean of |estimate - exact| in nats over problems of one kind and all their samples, by sample size.

    The keys are (kind, estimator), the kinds "continuous Y" and "labels".
    """
    groups: dict[tuple[str, str], dict[int, list[float]]] = {}
    for estimate in results:
        kind = "labels" if estimate.labelled else "continuous Y"
        by_size = groups.setdefault((kind, estimate.estimator), {})
        by_size.setdefault(estimate.n, []).append(abs(estimate.value - estimate.exact))
    return {key: {n: statistics.fmean(by_size[n]) for n in sorted(by_size)} for key, by_size in groups.items()}


def _direct(problem: Problem) -> dict[str, Callable[[Sampled], float]]:
    """Return the estimators without a network."""
    if problem.n_labels:
        return {
            NEIGHBOURS: lambda sample: ross(sample.x, sample.labels),
            CANONICAL: lambda sample: gaussian_estimate(sample.x, sample.y),
            LIMITED: lambda sample: limited_information(sample.x, sample.labels),
        }
    return {
        NEIGHBOURS: lambda sample: ksg(sample.x, sample.y),
        CANONICAL: lambda sample: gaussian_estimate(sample.x, sample.y),
    }


def _objectives(problem: Problem) -> dict[str, objectives.Objective]:
    results = {INFO_NCE: objectives.info_nce(), DONSKER_VARADHAN: objectives.donsker_varadhan()}
    return results | ({CLASSIFIER: objectives.classifier(problem.n_labels)} if problem.n_labels else {})


def _sampled(problem: Problem, key: Key[Array, ""], n: int) -> Sampled:
    x, y = map(np.asarray, problem.draw(key, n))
    if problem.n_labels:
        return Sampled(standardised(x), np.eye(problem.n_labels)[y], y)
    return Sampled(standardised(x), standardised(y), None)
