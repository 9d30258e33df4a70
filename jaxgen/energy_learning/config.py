"""Every setting of networks trained by a local learning scheme."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jaxgen.energy_learning.depth import sweeps_for_depth
from jaxgen.energy_learning.energies import hopfield
from jaxgen.energy_learning.energies.cost import COSTS
from jaxgen.energy_learning.energies.minimiser import Minimiser
from jaxgen.energy_learning.energies.model import Model
from jaxgen.energy_learning.energies.network import (
    Network,
    Params,
    PooledConvolution,
    dense_network,
    layer_names,
)
from jaxgen.energy_learning.energies.predictive_coding import PredictiveCoding
from jaxgen.energy_learning.estimators.equilibrium import Phases
from jaxgen.energy_learning.schemes import SCHEMES, Settings
from jaxgen.errors import UserError
from jaxgen.runs import option, seed_option

ENERGIES = ("clipped", "sigmoid", "predictive_coding")
ACTIVATIONS = {"tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "gelu": jax.nn.gelu}


@dataclasses.dataclass(frozen=True)
class EnergyLearningConfig:
    """The defaults learn XOR; `experiments/flags` holds settings for XOR and MNIST."""

    seed: int = seed_option("seed of parameters and order of batches", group="run")
    seeds: int = option(
        10, "networks trained side by side, from different initial parameters", group="run", low=1, high=1000
    )
    faithful: bool = option(
        False, "run the four schemes of the original notebook on XOR and compare with the label-free truth", group="run"
    )

    dataset: str = option("xor", "what to learn", group="data", choices=("xor", "mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the IDX files of the dataset, instead of the usual places", group="data")
    shift: int = option(
        0, "largest shift of a training image, drawn anew at every step, in pixels", group="data", low=0, high=8
    )

    energy: str = option(
        "sigmoid",
        "Hopfield energy with clipped or sigmoid units, or predictive coding",
        group="model",
        choices=ENERGIES,
    )
    convolutions: str = option(
        "",
        "convolutional layers below the dense ones, as CHANNELSxKERNEL separated by commas, each followed by 2 x 2 "
        "max-pooling; for images",
        group="model",
    )
    widths: str = option(
        "8",
        "units of the dense hidden layers, separated by commas; may be empty where there are convolutions",
        group="model",
    )
    activation: str = option(
        "tanh", "activation of hidden layers, for predictive coding", group="model", choices=tuple(ACTIVATIONS)
    )
    residual: bool = option(
        False,
        "skip connections between the hidden layers, with the scales of muPC; for predictive coding",
        group="model",
    )
    cost: str = option("squared_error", "cost of the output", group="model", choices=tuple(COSTS))
    weight_scale: float = option(
        1.0, "scale of the initial weights, in units of Glorot's", group="model", low=0.0, high=1000.0
    )
    bias_offset: float = option(0.0, "initial bias of hidden units", group="model", low=-100.0, high=100.0)

    scheme: str = option("ep_centred", "how gradients are estimated", group="scheme", choices=tuple(SCHEMES))
    beta: float = option(0.1, "weight of the cost in nudged phases", group="scheme", low=0.0, high=1e6)
    points: int = option(4, "nudged phases of ep_n_point", group="scheme", low=2, high=64)

    free_sweeps: int = option(
        20, "sweeps of the free phase, or their maximum with a tolerance", group="relaxation", low=0, high=100_000
    )
    nudged_sweeps: int | None = option(
        20,
        "sweeps of each nudged phase, or their maximum; none: for predictive coding, enough for the network's depth",
        group="relaxation",
        low=0,
        high=100_000,
    )
    tolerance: float | None = option(
        None, "residual at which an example stops; none: do all sweeps", group="relaxation", low=0.0, high=1.0
    )
    sweep: str = option(
        "asynchronous",
        "update layer after layer, all at once, or, in predictive coding, all errors downwards and then states upwards",
        group="relaxation",
        choices=("asynchronous", "synchronous", "errors"),
    )
    step_size: float = option(
        0.5, "step size of inference in predictive coding", group="relaxation", low=0.0, high=100.0
    )
    continuation: int = option(
        1, "number of equal stages in which the nudge grows to beta", group="relaxation", low=1, high=10_000
    )
    persistent: bool = option(
        False,
        "start the free phase of every example from its last equilibrium; mini-batches need one device",
        group="relaxation",
    )

    epochs: int = option(
        2000, "passes through the training examples", group="optimiser", low=1, high=1_000_000, grows=True
    )
    batch_size: int = option(4, "examples per step, over all devices", group="optimiser", low=1, high=60_000)
    learning_rate: float = option(0.02, "Adam learning rate", group="optimiser", low=0.0, high=10.0)
    schedule: str = option("constant", "learning-rate schedule", group="optimiser", choices=("constant", "cosine"))
    weight_decay: float = option(
        0.0, "decoupled weight decay, per unit of learning rate", group="optimiser", low=0.0, high=10.0
    )
    layer_rates: str = option(
        "",
        "factors on the learning rate of each layer, input first, separated by commas; empty: 1 for all",
        group="optimiser",
    )
    eval_every: int = option(1, "epochs between label-free evaluations", group="optimiser", low=1, high=2**31 - 1)


def hidden_widths(text: str) -> list[int]:
    """Return the integers that "256,256" names. UserError unless it names integers of 1 or more."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise UserError(f"widths is {text!r}; allowed: integers, each 1 or more, separated by commas")
    return [int(word) for word in words]


def convolution_sizes(text: str) -> list[tuple[int, int]]:
    """Return channels and kernel size of the layers that "16x5,32x3" names; none for "". UserError if it does not."""
    words = [word.strip().split("x") for word in text.split(",")] if text else []
    if not all(len(pair) == 2 and all(size.isdecimal() and int(size) >= 1 for size in pair) for pair in words):
        raise UserError(
            f"convolutions is {text!r}; allowed: empty, or CHANNELSxKERNEL separated by commas, each number 1 or more"
        )
    return [(int(channels), int(kernel)) for channels, kernel in words]


def dense_widths(config: EnergyLearningConfig) -> list[int]:
    """Return the widths of the dense hidden layers; none is allowed if there are convolutions."""
    return [] if config.convolutions and not config.widths else hidden_widths(config.widths)


def depth_of(config: EnergyLearningConfig) -> int:
    """Return the number of layers, the output among them."""
    return len(convolution_sizes(config.convolutions)) + len(dense_widths(config)) + 1


def check_sizes(config: EnergyLearningConfig, height: int, width: int) -> None:
    """Raise UserError unless every convolution leaves at least one unit of images of that height and width."""
    side = min(height, width)
    for _, kernel in convolution_sizes(config.convolutions):
        side = (side - kernel + 1) // 2
        if side < 1:
            raise UserError(
                f"convolutions is {config.convolutions!r}; allowed: what fits into {height} x {width} pixels, each "
                "layer taking a side n to (n - kernel + 1) / 2"
            )


def build_model(config: EnergyLearningConfig, n_outputs: int) -> Model:
    """Return the energy of the layers that a config describes. UserError naming the field that does not fit."""
    if config.residual and (config.energy != "predictive_coding" or len(set(hidden_widths(config.widths))) > 1):
        raise UserError("residual is true; allowed with energy predictive_coding and hidden layers of one width")
    if config.residual and config.convolutions:
        raise UserError("residual is true; allowed with convolutions: empty")
    scale, offset = config.weight_scale, config.bias_offset
    below = [PooledConvolution(*sizes, scale, offset) for sizes in convolution_sizes(config.convolutions)]
    dense = dense_network([*dense_widths(config), n_outputs], scale, offset)
    return energy_of(config, Network((*below, *dense.layers)))


def energy_of(config: EnergyLearningConfig, network: Network) -> Model:
    """Return the energy that a config describes, of any network. UserError if its sweeps are not for that energy."""
    synchronous, by_errors, cost = config.sweep == "synchronous", config.sweep == "errors", COSTS[config.cost]
    if config.energy == "predictive_coding":
        phi = ACTIVATIONS[config.activation]
        return PredictiveCoding(network, phi, cost, config.step_size, synchronous, config.residual, by_errors)
    if by_errors:
        raise UserError(f"sweep is errors; allowed with energy {config.energy}: asynchronous, synchronous")
    return hopfield.Hopfield(network, getattr(hopfield, config.energy), cost, synchronous)


def build_settings(config: EnergyLearningConfig) -> Settings:
    """Return beta, points and phases; the free phase of predictive coding is the forward pass, an equilibrium already.

    UserError if the sweeps are to follow from the depth of an energy other than predictive coding.
    """
    coding = config.energy == "predictive_coding"
    free, sweeps = 0 if coding else config.free_sweeps, config.nudged_sweeps
    if sweeps is None:
        if not coding:
            raise UserError(f"nudged_sweeps is none; allowed with energy {config.energy}: an integer, 0 or more")
        # By errors a force reaches every layer in one sweep, as in a network of one.
        depth = 1 if config.sweep == "errors" else depth_of(config)
        sweeps = sweeps_for_depth(depth, config.step_size, config.sweep == "synchronous")
    nudged = Minimiser(sweeps, config.tolerance)
    return Settings(config.beta, config.points, Phases(Minimiser(free, config.tolerance), nudged, config.continuation))


def build_optimiser(config: EnergyLearningConfig, steps: int) -> optax.GradientTransformation:
    """Return Adam with decoupled weight decay, a constant or cosine learning rate, and factors per layer, if any.

    UserError unless `layer_rates` is empty or holds one factor per layer.
    """
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(rate, steps)
    tx = optax.adamw(rate, weight_decay=config.weight_decay)
    return optax.chain(tx, scale_layers(layer_factors(config))) if config.layer_rates else tx


def layer_factors(config: EnergyLearningConfig) -> list[float]:
    """Return the factors that `layer_rates` names. UserError unless there is one per layer, each 0 or more."""
    depth = depth_of(config)
    try:
        factors = [float(word) for word in config.layer_rates.split(",")]
    except ValueError:
        factors = []
    if len(factors) != depth or not all(0 <= factor <= 1e6 for factor in factors):
        raise UserError(
            f"layer_rates is {config.layer_rates!r}; allowed: {depth} numbers from 0 to 1e6, one per layer, "
            "separated by commas"
        )
    return factors


def scale_layers(factors: Sequence[float]) -> optax.GradientTransformation:
    """Return the transformation that multiplies the updates of layer l by factors[l - 1]."""

    def scale(updates: Params, params: Params | None) -> Params:
        return {
            name: jax.tree.map(lambda u, factor=factor: factor * u, updates[name])
            for factor, name in zip(factors, layer_names(len(factors)), strict=True)
        }

    return optax.stateless(scale)
