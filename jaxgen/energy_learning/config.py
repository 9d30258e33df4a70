"""Every setting of a network trained by a local learning scheme."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from jaxgen.energy_learning import hopfield
from jaxgen.energy_learning.cost import COSTS
from jaxgen.energy_learning.estimators import Model, Phases
from jaxgen.energy_learning.minimiser import Minimiser
from jaxgen.energy_learning.network import Network, dense_network
from jaxgen.energy_learning.predictive_coding import PredictiveCoding
from jaxgen.energy_learning.schemes import SCHEMES, Settings
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option

ENERGIES = ("clipped", "sigmoid", "predictive_coding")
ACTIVATIONS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "gelu": jax.nn.gelu}


@dataclasses.dataclass(frozen=True)
class EnergyLearningConfig:
    """The defaults learn XOR; `experiments/flags` holds them and the settings for MNIST."""

    seed: int = seed_option("seed of parameters and order of batches", group="run")
    seeds: int = option(10, "networks trained side by side, from different parameters", group="run", low=1, high=1000)
    faithful: bool = option(
        False, "run the source's four schemes as written on XOR and compare with the label-free truth", group="run"
    )

    dataset: str = option("xor", "what to learn", group="data", choices=("xor", "mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's IDX files, instead of the usual places", group="data")

    energy: str = option(
        "sigmoid",
        "Hopfield energy with clipped or sigmoid units, or predictive coding",
        group="model",
        choices=ENERGIES,
    )
    widths: str = option("8", "units of the hidden layers, separated by commas", group="model")
    activation: str = option(
        "tanh", "of hidden layers, for predictive coding", group="model", choices=tuple(ACTIVATIONS)
    )
    cost: str = option("squared_error", "of the output", group="model", choices=tuple(COSTS))
    weight_scale: float = option(1.0, "initial weights, in units of Glorot's", group="model", low=0.0, high=1000.0)
    bias_offset: float = option(0.0, "initial bias of hidden units", group="model", low=-100.0, high=100.0)

    scheme: str = option("ep_centred", "how gradients are estimated", group="scheme", choices=tuple(SCHEMES))
    beta: float = option(0.1, "weight of the cost in nudged phases", group="scheme", low=0.0, high=1e6)
    points: int = option(4, "nudged phases of ep_n_point", group="scheme", low=2, high=64)

    free_sweeps: int = option(20, "sweeps of the free phase, or their cap", group="relaxation", low=0, high=100_000)
    nudged_sweeps: int = option(
        20, "sweeps of each nudged phase, or their cap", group="relaxation", low=0, high=100_000
    )
    tolerance: float | None = option(
        None, "residual at which an example stops; none: all sweeps", group="relaxation", low=0.0, high=1.0
    )
    sweep: str = option(
        "asynchronous", "layer after layer, or all at once", group="relaxation", choices=("asynchronous", "synchronous")
    )
    step_size: float = option(0.5, "of inference in predictive coding", group="relaxation", low=0.0, high=100.0)
    continuation: int = option(
        1, "equal stages in which the nudge grows to beta", group="relaxation", low=1, high=10_000
    )
    persistent: bool = option(
        False, "start free phases from the last equilibrium; needs a batch of all examples", group="relaxation"
    )

    epochs: int = option(
        2000, "passes through the training examples", group="optimiser", low=1, high=1_000_000, grows=True
    )
    batch_size: int = option(4, "examples a step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(0.02, "Adam step size", group="optimiser", low=0.0, high=10.0)
    schedule: str = option("constant", "step size over the run", group="optimiser", choices=("constant", "cosine"))
    weight_decay: float = option(0.0, "decoupled, per unit of step size", group="optimiser", low=0.0, high=10.0)
    eval_every: int = option(1, "epochs between label-free evaluations", group="optimiser", low=1, high=2**31 - 1)


def hidden_widths(text: str) -> list[int]:
    """The integers that "256,256" names. ValueError if it does not name integers of 1 or more."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise UserError(f"widths is {text!r}; allowed: integers, each 1 or more, separated by commas")
    return [int(word) for word in words]


def build_model(config: EnergyLearningConfig, n_outputs: int) -> Model:
    """The energy of dense layers that a config describes. ValueError naming the field that does not fit."""
    network = dense_network([*hidden_widths(config.widths), n_outputs], config.weight_scale, config.bias_offset)
    return energy_of(config, network)


def energy_of(config: EnergyLearningConfig, network: Network) -> Model:
    """The energy that a config describes, of any network."""
    synchronous, cost = config.sweep == "synchronous", COSTS[config.cost]
    if config.energy == "predictive_coding":
        return PredictiveCoding(network, ACTIVATIONS[config.activation], cost, config.step_size, synchronous)
    return hopfield.Hopfield(network, getattr(hopfield, config.energy), cost, synchronous)


def build_settings(config: EnergyLearningConfig) -> Settings:
    """beta, points and phases; the free phase of predictive coding is the forward pass, an equilibrium already."""
    free = 0 if config.energy == "predictive_coding" else config.free_sweeps
    nudged = Minimiser(config.nudged_sweeps, config.tolerance)
    return Settings(config.beta, config.points, Phases(Minimiser(free, config.tolerance), nudged, config.continuation))


def build_optimiser(config: EnergyLearningConfig, steps: int) -> optax.GradientTransformation:
    """Adam, with decoupled weight decay, and a step size that is constant or falls to 0 along half a cosine."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(rate, steps)
    return optax.adamw(rate, weight_decay=config.weight_decay)
