"""Random or grid search over settings of contrastive divergence by successive halving (Jamieson and Talwalkar 2016).

    rung r = 0 .. R-1:  the best ceil(n / eta^r) of n trials, each trained anew for steps / eta^(R-1-r) updates
    likelihood         = mean over validation images of log p(x), log Z annealed (Neal 2001), in nats
    pseudo-likelihood  = mean over validation images of sum_i log p(x_i | rest)             (Besag 1975), in nats

The score is one of the two. The second needs no chains and no partition function, but does not see where long chains
go: trials whose chains start at the data (CD) win by it with samples that miss, as the record of a search tells. The
energy gap between data and samples is no score: it grows with the scale of the parameters, and it is largest where the
chains have lagged behind. The last rung's trials also show the pair error of samples from noise. Each training ends
with its own cosine, lest a small step size win because a larger one is still noisy.

A sampler, batch and lattice are shapes: trials that share them share one executable, for step size and decay are
numbers in the optimiser's state. Trials run one after another. Mapped over trials by vmap a step takes 1.7 times as
long on a CPU: chains fill its vectors already, and the choice between products and logarithms (`gibbs`) becomes both.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.config import PottsConfig
from jaxgen.potts.model import COUPLINGS
from jaxgen.runs import option, seed_option

_INITS = ("log_marginals", "zeros")
CRITERIA = ("likelihood", "pseudo_likelihood")


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What is searched. Lists are separated by commas."""

    seed: int = seed_option("seed of the choice of trials, and of every training", group="search")
    grid: bool = option(False, "every combination of the lists, not a random choice of them", group="search")
    trials: int = option(27, "trials of the first rung (without grid)", group="search", low=1, high=10_000)
    share: int = option(
        3, "trials that share sampler, batch and lattice, so one executable", group="search", low=1, high=1000
    )
    eta: int = option(
        3, "each rung keeps one in so many, and trains it so many times as long", group="search", low=2, high=100
    )
    rungs: int = option(3, "trainings that the winner has gone through", group="search", low=1, high=20)
    steps: int = option(1800, "parameter updates of the last rung", group="search", low=1, high=2**31 - 1)
    criterion: str = option("likelihood", "what decides, on validation images", group="search", choices=CRITERIA)
    validation: int = option(
        2000, "validation images of the score, or all if fewer", group="search", low=1, high=60_000
    )
    quick: bool = option(False, "6 trials, 2 rungs, 60 updates: shows that everything runs", group="search")

    dataset: str = option("mnist", "images to learn", group="data", choices=("mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's four IDX files instead of the built-in ones", group="data")
    digits: str = option("3", "classes to keep: 'all', or numbers such as '3' or '0,1,7'", group="data")
    levels: int = option(4, "grey levels a pixel", group="data", choices=(2, 4, 16))

    learning_rate_low: float = option(1e-3, "least step size of Adam", group="searched", low=1e-8, high=10.0)
    learning_rate_high: float = option(
        1e-1, "largest; between them drawn evenly in the logarithm", group="searched", low=1e-8, high=10.0
    )
    l2: str = option("0,1e-5,1e-4", "weight decays of the couplings", group="searched")
    init: str = option("log_marginals,zeros", "starts of the biases", group="searched")
    cd_steps: str = option("1,5,20", "Gibbs sweeps a step", group="searched")
    persistent: str = option("true,false", "PCD, CD", group="searched")
    batch: str = option("64,256", "images a step, and chains", group="searched")
    neighbourhood: str = option("4,8", "pixels joined to a pixel", group="searched")
    coupling: str = option("edge,tied", "a matrix an edge, one strength a direction", group="searched")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One training of one trial.

    Attributes:
        trial, rung: which.
        score: by the search's criterion, in nats an image, None if the training broke down.
        pseudo_likelihood: of the validation images, in nats an image.
        diverged: why the trial is out, "" if it is not.
        energy_gap: mean energy of the chains less that of the data, at the end.
        moment_error: mean |error| of P(x_i = a, x_j = b) of fresh samples, known of the last rung.
        seconds: wall time of the training, with compilation where it was needed.
    """

    trial: int
    rung: int
    score: float | None
    diverged: str = ""
    pseudo_likelihood: float | None = None
    energy_gap: float | None = None
    moment_error: float | None = None
    seconds: float = 0.0


def effective(config: SearchConfig) -> SearchConfig:
    """The config with what `quick` stands for put in. ValueError naming a step size or an entry that is not allowed."""
    if config.learning_rate_high < config.learning_rate_low:
        raise UserError(
            f"learning_rate_high is {config.learning_rate_high}; allowed: {config.learning_rate_low} or more"
        )
    lists(config)
    return dataclasses.replace(config, trials=6, share=2, rungs=2, steps=60) if config.quick else config


def lists(config: SearchConfig) -> dict[str, list]:
    """The lists of a config as values, by name. ValueError naming an entry that is not allowed."""
    kinds = {
        "l2": (float, lambda value: 0 <= value < math.inf, "numbers, 0 or more"),
        "init": (str, _INITS.__contains__, ", ".join(_INITS)),
        "cd_steps": (int, lambda value: value >= 1, "integers, 1 or more"),
        "persistent": ({"true": True, "false": False}.__getitem__, lambda value: True, "true, false"),
        "batch": (int, lambda value: value >= 1, "integers, 1 or more"),
        "neighbourhood": (str, gibbs.NEIGHBOURHOODS.__contains__, ", ".join(gibbs.NEIGHBOURHOODS)),
        "coupling": (str, COUPLINGS.__contains__, ", ".join(COUPLINGS)),
    }
    found = {}
    for name, (read, accepts, allowed) in kinds.items():
        text = getattr(config, name)
        try:
            values = [read(word.strip()) for word in text.split(",")]
        except (ValueError, KeyError):
            values = []
        if not values or not all(accepts(value) for value in values) or len(set(values)) < len(values):
            raise UserError(f"{name} is {text!r}; allowed: a list of {allowed}, each once")
        found[name] = values
    return found


SHAPES = ("cd_steps", "persistent", "batch", "neighbourhood", "coupling")
NUMBERS = ("l2", "init")


def trial_configs(config: SearchConfig) -> list[PottsConfig]:
    """The settings of every trial at the last rung's length; those that share shapes come one after another.

    Trial t is the same however many trials there are.
    """
    values = lists(config)
    low, high = config.learning_rate_low, config.learning_rate_high
    if config.grid:
        rates = np.geomspace(low, high, config.share)
        names = (*SHAPES, *NUMBERS)
        found = [
            dict(zip(names, combination, strict=True)) | {"learning_rate": float(rate)}
            for combination in itertools.product(*(values[name] for name in names))
            for rate in rates
        ]
        return [_potts(config, settings) for settings in found]
    found = []
    for trial in range(config.trials):
        shapes = np.random.default_rng((config.seed, 0, trial // config.share))
        numbers = np.random.default_rng((config.seed, 1, trial))
        settings = {name: values[name][shapes.integers(len(values[name]))] for name in SHAPES}
        settings |= {name: values[name][numbers.integers(len(values[name]))] for name in NUMBERS}
        settings["learning_rate"] = float(low * (high / low) ** numbers.random())
        found.append(_potts(config, settings))
    return found


def _potts(config: SearchConfig, settings: dict) -> PottsConfig:
    batch = settings.pop("batch")
    return PottsConfig(
        seed=config.seed,
        dataset=config.dataset,
        data_dir=config.data_dir,
        digits=config.digits,
        levels=config.levels,
        batch_size=batch,
        chains=batch,
        steps=config.steps,
        **settings,
    )


def rungs(config: SearchConfig, n_trials: int) -> list[tuple[int, int]]:
    """(trials, updates of each) of every rung."""
    last = config.rungs - 1
    return [
        (math.ceil(n_trials / config.eta**r), max(1, config.steps // config.eta ** (last - r))) for r in range(last + 1)
    ]


def promoted(outcomes: Sequence[Outcome], n: int) -> list[int]:
    """The n best trials of a rung in ascending order, fewer if the others diverged."""
    alive = [one for one in outcomes if not one.diverged]
    return sorted(one.trial for one in sorted(alive, key=lambda one: (-one.score, one.trial))[:n])


def standing(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Every trial's last outcome, best first: by the rung it reached, then by score, those that diverged last."""
    last = {one.trial: one for one in sorted(outcomes, key=lambda one: one.rung)}
    return sorted(
        last.values(),
        key=lambda one: (-one.rung, bool(one.diverged), math.inf if one.score is None else -one.score, one.trial),
    )


def verdict_of(pseudo_likelihood: float, at_start: float) -> str:
    """Why a training that ended counts as diverged; "" if it does not.

    Gradients of contrastive divergence are differences of frequencies, so too large a step seldom ends in a nan: it
    ends in parameters that predict the pixels worse than those it started from.
    """
    if not math.isfinite(pseudo_likelihood):
        return f"log pseudo-likelihood is {pseudo_likelihood}"
    if pseudo_likelihood < at_start:
        return f"log pseudo-likelihood {pseudo_likelihood:.1f} is below {at_start:.1f}, that before the first update"
    return ""


def adam_by_numbers(learning_rate: float, l2: float, steps: int) -> optax.GradientTransformation:
    """Adam on the gradient with l2 times the couplings added, the step size falling to 0 along half a cosine.

    The three numbers are in the state: one compiled step serves all their values.
    """

    @optax.inject_hyperparams
    def make(learning_rate, l2, steps):
        def rate(count):
            return -learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(count / steps, 1)))

        decay = optax.add_decayed_weights(l2, mask=lambda params: {name: name != "bias" for name in params})
        return optax.chain(decay, optax.scale_by_adam(), optax.scale_by_schedule(rate))

    return make(learning_rate=float(learning_rate), l2=float(l2), steps=float(steps))
