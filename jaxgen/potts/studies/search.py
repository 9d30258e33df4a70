"""A search for good settings of contrastive divergence with Optuna: its settings, its space and its scores.

    trial              = a training of `steps` updates, identical to experiments.ebm_cd with the settings of the trial
    rung r = 0 .. R-2  : after min_updates eta^r updates a trial ends unless its score is among the best 1/eta of the
                         trials that reached this rung; min_updates = steps / eta^(R-1)
    likelihood         = mean over validation images of log p(x), log Z annealed (Neal 2001), in nats
    pseudo_likelihood  = mean over validation images of sum_i log p(x_i | rest)             (Besag 1975), in nats

The score is one of the last two. The pseudo-likelihood needs no chains and no partition function, but it is blind to
where long chains go: by it, trials whose chains start at the data (CD) win with poor samples. The energy gap between
data and samples is no score: it grows with the scale of the parameters and is largest where the chains lag behind.

Samplers and the pruner are Optuna's (Akiba et al. 2019): the tree-structured Parzen estimator (Bergstra et al. 2011),
independent draws, or a grid; asynchronous successive halving (Li et al. 2020). The step size of a trial follows one
cosine over all its updates, so at a rung a large step size looks worse than at the end; `rungs=1` ends no trial early.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxgen import data, gibbs
from jaxgen.errors import UserError
from jaxgen.potts.config import PottsConfig
from jaxgen.potts.model import COUPLINGS
from jaxgen.runs import option, seed_option
from jaxgen.runs.config import MOST_STEPS

CRITERIA = ("likelihood", "pseudo_likelihood")
SAMPLERS = ("tpe", "random", "grid")
_INITS = ("log_marginals", "zeros")


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """The settings of a search. Lists are separated by commas."""

    seed: int = seed_option("seed of the choice of trials, and of every training", group="search")
    sampler: str = option(
        "tpe", "how trials are chosen: tpe learns from earlier trials", group="search", choices=SAMPLERS
    )
    trials: int = option(27, "number of trials; a grid has as many as combinations", group="search", low=1, high=10_000)
    grid_rates: int = option(3, "step sizes of a grid, evenly spaced in the logarithm", group="search", low=1, high=100)
    eta: int = option(3, "the best 1/eta of the trials continue after a rung", group="search", low=2, high=100)
    rungs: int = option(
        3, "rungs, the last at the end of the training; 1 ends no trial early", group="search", low=1, high=20
    )
    steps: int = option(1800, "parameter updates of a whole training", group="search", low=1, high=MOST_STEPS)
    criterion: str = option("likelihood", "the score, on validation images", group="search", choices=CRITERIA)
    validation: int = option(
        2000, "validation images of the score, or all if fewer", group="search", low=1, high=60_000
    )
    quick: bool = option(False, "6 trials, 2 rungs and 60 updates, to check that everything runs", group="search")

    dataset: str = data.dataset_option()
    images: str = data.images_option()
    data_dir: str = data.data_dir_option()
    classes: str = option(
        "3", "classes to keep: 'all', or numbers such as '3' or '0,1,7'", group="data", former="digits"
    )
    levels: int = data.levels_option(4)

    learning_rate_low: float = option(1e-3, "smallest step size of Adam", group="searched", low=1e-8, high=10.0)
    learning_rate_high: float = option(
        1e-1, "largest step size; drawn evenly in the logarithm", group="searched", low=1e-8, high=10.0
    )
    l2: str = option("0,1e-5,1e-4", "weight decays of the couplings", group="searched")
    init: str = option("log_marginals,zeros", "starts of the biases", group="searched")
    cd_steps: str = option("1,5,20", "Gibbs sweeps per step", group="searched")
    persistent: str = option(
        "true,false", "persistent chains (PCD), or chains that start at the data (CD)", group="searched"
    )
    batch: str = option("64,256", "images per step, and number of chains", group="searched")
    neighbourhood: str = option("4,8", "pixels joined to each pixel", group="searched")
    coupling: str = option(
        "edge,tied", "edge: one coupling matrix per edge; tied: one strength per direction", group="searched"
    )


def effective(config: SearchConfig) -> SearchConfig:
    """Return the config with the overrides of `quick` applied if it is set. UserError naming a field out of range."""
    if config.learning_rate_high < config.learning_rate_low:
        raise UserError(
            f"learning_rate_high is {config.learning_rate_high}; allowed: a number, {config.learning_rate_low} or more"
        )
    lists(config)
    return dataclasses.replace(config, trials=6, rungs=2, steps=60) if config.quick else config


def lists(config: SearchConfig) -> dict[str, list]:
    """Return the lists of a config as values, by name. UserError naming an entry that is not allowed."""
    kinds = {
        "l2": (float, lambda value: 0 <= value < math.inf, "numbers, 0 or more"),
        "init": (str, _INITS.__contains__, ", ".join(_INITS)),
        "cd_steps": (int, lambda value: value >= 1, "integers, 1 or more"),
        "persistent": ({"true": True, "false": False}.__getitem__, lambda value: True, "true, false"),
        "batch": (int, lambda value: value >= 1, "integers, 1 or more"),
        "neighbourhood": (str, gibbs.NEIGHBOURHOODS.__contains__, ", ".join(gibbs.NEIGHBOURHOODS)),
        "coupling": (str, COUPLINGS.__contains__, ", ".join(COUPLINGS)),
    }
    read = {}
    for name, (convert, accepts, allowed) in kinds.items():
        text = getattr(config, name)
        try:
            values = [convert(word.strip()) for word in text.split(",")]
        except (ValueError, KeyError):
            values = []
        if not values or not all(accepts(value) for value in values) or len(set(values)) < len(values):
            raise UserError(f"{name} is {text!r}; allowed: a list of {allowed}, each once")
        read[name] = values
    return read


def rungs(config: SearchConfig) -> list[int]:
    """Return the updates after which trials are compared; the last entry is the end of the training."""
    first = max(1, config.steps // config.eta ** (config.rungs - 1))
    lengths = [first * config.eta**r for r in range(config.rungs - 1)]
    return [length for length in lengths if length < config.steps] + [config.steps]


def n_trials(config: SearchConfig) -> int:
    """Return the number of trials."""
    if config.sampler != "grid":
        return config.trials
    return config.grid_rates * math.prod(map(len, lists(config).values()))


def grid(config: SearchConfig) -> Iterator[dict[str, Any]]:
    """Yield every combination of the lists and of `grid_rates` step sizes, as parameters of a trial."""
    values = lists(config)
    rates = np.geomspace(config.learning_rate_low, config.learning_rate_high, config.grid_rates)
    # geomspace rounds: its ends can lie an ulp outside the range.
    values["learning_rate"] = [float(rate) for rate in rates.clip(config.learning_rate_low, config.learning_rate_high)]
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def suggest(trial: Any, config: SearchConfig) -> dict[str, Any]:
    """Return the parameters of an Optuna trial; those that it already has stay as they are."""
    rate = trial.suggest_float("learning_rate", config.learning_rate_low, config.learning_rate_high, log=True)
    chosen = {name: trial.suggest_categorical(name, values) for name, values in lists(config).items()}
    return {"learning_rate": rate} | chosen


def potts_config(config: SearchConfig, params: dict[str, Any]) -> PottsConfig:
    """Return the config of experiments.ebm_cd with the parameters of a trial."""
    settings = {name: value for name, value in params.items() if name != "batch"}
    names = ("seed", "dataset", "images", "data_dir", "classes", "levels", "steps")
    shared = {name: getattr(config, name) for name in names}
    return PottsConfig(**shared, **settings, batch_size=params["batch"], chains=params["batch"])


def verdict_of(pseudo_likelihood: float, at_start: float) -> str:
    """Return why a training counts as diverged; "" if it does not.

    Gradients of contrastive divergence are differences of frequencies, so too large a step seldom gives NaN: it gives
    parameters that predict the pixels worse than the initial ones.
    """
    if not math.isfinite(pseudo_likelihood):
        return f"log pseudo-likelihood is {pseudo_likelihood}"
    if pseudo_likelihood < at_start:
        return f"log pseudo-likelihood {pseudo_likelihood:.1f} is below {at_start:.1f}, that before the first update"
    return ""
