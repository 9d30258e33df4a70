"""The four schemes of the original notebook, as written there, to be compared with the label-free truth.

    units       h_k = n(sigma(h_{k-1} W_{k-1} + h_{k+1} W_k^T + b_k)),   n(h) = (h - min h) / (max h - min h) - mean h,
                minimum, maximum and mean over the batch, so that examples see each other
    output      o = sigma(h W + b);  in all but CHL then o - beta (o - y), already in the phase called free
    learning    W_i += alpha_i h_i^T (h+_{i+1} - h_{i+1}) / n,   h+ after sweeps with the output replaced by y

States persist between epochs and the reported error is read from them, after they have seen the label. Here the same
networks are also read without one. XOR, all four examples in one batch, numpy, float64.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxgen import runs
from jaxgen.energy_learning.config import EnergyLearningConfig
from jaxgen.energy_learning.report import FAMILY
from jaxgen.energy_learning.task import XOR_X, XOR_Y
from jaxgen.runs import Row

MARGIN = 1e-3  # an answer counts as right only if it wins by this much
TAIL = 4  # epochs over which the reported error is averaged
SETTLING = 50  # sweeps of a label-free reading

X, Y = XOR_X.astype(np.float64), np.eye(2)[XOR_Y]
States = list[np.ndarray]


class Setting(NamedTuple):
    """The hyper-parameters of the original notebook; the defaults are its own values."""

    hidden: tuple[int, ...] = (2, 1)
    epochs: int = 20
    sweeps: int = 1
    rates: tuple[float, ...] = (0.1, 0.1, 0.01)
    beta: float = 0.1


SETTINGS = (Setting(), Setting((2,), 2000, rates=(0.1, 0.1)), Setting((8,), 2000, rates=(0.1, 0.1)))


class Weights(NamedTuple):
    """weights[i] from layer i to i + 1, and biases[i] of layer i (that of the input is unused), updated in place."""

    weights: list[np.ndarray]
    biases: list[np.ndarray]


class OriginalScheme(NamedTuple):
    """A scheme of the original notebook.

    Attributes:
        free: (network, states, y, beta) -> states after one sweep of the phase called free; y None reads without label.
        learn: (network, states, setting) updates weights and biases in place.
    """

    free: Callable[[Weights, States, np.ndarray | None, float], States]
    learn: Callable[[Weights, States, Setting], None]


class Reading(NamedTuple):
    """Share of wrong answers: as reported, and without the label from the persistent states and from zero."""

    reported: float
    warm: float
    cold: float


def train(scheme: OriginalScheme, setting: Setting, seed: int) -> Reading:
    """Train on XOR as the original notebook does.

    Raises:
        ValueError: the shape error of the original code, which first_step has unless all widths are 2.
    """
    network, states = _initial(setting, seed)
    errors = []
    for _ in range(setting.epochs):
        for _ in range(setting.sweeps):
            states = scheme.free(network, states, Y, setting.beta)
        scheme.learn(network, states, setting)
        errors.append(_error(states))
    cold = [X] + [np.zeros_like(h) for h in states[1:]]
    return Reading(
        float(np.mean(errors[-TAIL:])), *(_error(_settled(scheme, network, start, setting)) for start in (states, cold))
    )


def readings(scheme: OriginalScheme, setting: Setting, seeds: Sequence[int]) -> Float[np.ndarray, "seeds 3"]:
    """Return the reported, warm and cold error of `train` for every seed."""
    return np.array([train(scheme, setting, seed) for seed in seeds])


def original_rows(config: EnergyLearningConfig) -> list[Row]:
    """Return what every scheme reports beside the truth, in the original setting and in two more favourable ones."""
    rows = []
    for setting in SETTINGS:
        where = "-".join(map(str, (2, *setting.hidden, 2))) + f", {setting.epochs} epochs"
        for name, scheme in ORIGINAL_SCHEMES.items():
            try:
                errors = readings(scheme, setting, range(config.seed, config.seed + config.seeds))
            except ValueError as error:  # of numpy
                rows.append(Row(f"{name}, {where}: error reported", "does not run", "", "", str(error).strip()))
                continue
            reported, warm, cold = 100 * errors.mean(0)
            note = (
                f"label-free error: warm {warm:.1f}, cold {cold:.1f} (per network, cold: {_percentages(errors[:, 2])})"
            )
            rows.append(Row(f"{name}, {where}: error reported", float(reported), "%", "", note))
    return rows


def prepare(config: EnergyLearningConfig) -> runs.Job:
    """Return the job that trains the four schemes and reads them with and without the label."""

    def job(folder: runs.RunFolder) -> runs.Report:
        return runs.Report("the schemes of the original notebook as written, XOR", FAMILY, original_rows(config))

    return job


def _percentages(shares: np.ndarray) -> str:
    return " ".join(f"{100 * share:.0f}" for share in shares)


def _initial(setting: Setting, seed: int) -> tuple[Weights, States]:
    rng = np.random.default_rng(seed)
    sizes = [2, *setting.hidden, 2]
    bounds = [np.sqrt(6 / (a + b)) for a, b in itertools.pairwise(sizes)]
    weights = [rng.uniform(-bound, bound, (a, b)) for bound, a, b in zip(bounds, sizes[:-1], sizes[1:], strict=True)]
    return Weights(weights, [np.zeros(size) for size in sizes]), [X] + [np.zeros((4, size)) for size in sizes[1:]]


def _settled(scheme: OriginalScheme, network: Weights, states: States, setting: Setting) -> States:
    for _ in range(SETTLING):
        states = scheme.free(network, states, None, setting.beta)
    return states


def _error(states: States) -> float:
    low, high = np.sort(states[-1], axis=1).T
    return float(1 - ((states[-1].argmax(1) == XOR_Y) & (high - low > MARGIN)).mean())


def _sigma(u: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-u))


def _normalised(h: np.ndarray) -> np.ndarray:
    return (h - h.min(0)) / (h.max(0) - h.min(0) + 1e-5) - h.mean(0)


def _hidden(network: Weights, below: np.ndarray, above: np.ndarray, k: int) -> np.ndarray:
    weights, biases = network
    return _normalised(_sigma(below @ weights[k - 1] + above @ weights[k].T + biases[k]))


def _output(network: Weights, below: np.ndarray) -> np.ndarray:
    return _sigma(below @ network.weights[-1] + network.biases[-1])


def _free_sweep(network: Weights, states: States, y: np.ndarray | None, beta: float) -> States:
    new = [states[0]]
    for k in range(1, len(states) - 1):
        new.append(_hidden(network, new[-1], states[k + 1], k))
    return [*new, _output(network, new[-1])]


def _nudged_sweep(network: Weights, states: States, y: np.ndarray | None, beta: float) -> States:
    return _towards(_free_sweep(network, states, y, beta), y, beta)


def _prediction_sweep(network: Weights, states: States, y: np.ndarray | None, beta: float) -> States:
    # Prediction plus (state minus prediction) is the state: hidden units never leave 0.
    new = [states[0], *(_normalised(h) for h in states[1:-1])]
    return _towards([*new, _output(network, new[-1])], y, beta)


def _towards(states: States, y: np.ndarray | None, beta: float) -> States:
    return states if y is None else [*states[:-1], states[-1] - beta * (states[-1] - y)]


def _learn_backwards(network: Weights, states: States, setting: Setting) -> None:
    above = [Y]
    for k in range(len(states) - 2, 0, -1):
        above.append(_hidden(network, states[k - 1], above[-1], k))
    # Every sweep restarts from the target and the same lower layers, so more than one changes nothing.
    _hebbian(network, states, [states[0], *above[::-1]], setting)


def _learn_forwards(network: Weights, states: States, setting: Setting) -> None:
    clamped = states
    for _ in range(setting.sweeps):
        clamped = [*_free_sweep(network, clamped, None, 0.0)[:-1], Y]
    _hebbian(network, states, clamped, setting)


def _learn_first_step(network: Weights, states: States, setting: Setting) -> None:
    net = states[-2] @ network.weights[-1] + network.biases[-1]
    delta = _sigma(net - setting.beta * (_sigma(net) - Y)) - _sigma(net)
    # The output's difference goes to every layer, whatever its width.
    _update(network, states, [delta] * len(network.weights), setting)


def _hebbian(network: Weights, states: States, clamped: States, setting: Setting) -> None:
    _update(network, states, [a - b for a, b in zip(clamped[1:], states[1:], strict=True)], setting)


def _update(network: Weights, states: States, deltas: list[np.ndarray], setting: Setting) -> None:
    for i, delta in enumerate(deltas):
        network.biases[i + 1] += setting.rates[i] * delta.mean(0)
        network.weights[i] += setting.rates[i] * states[i].T @ delta / len(X)


ORIGINAL_SCHEMES = {
    "CHL": OriginalScheme(_free_sweep, _learn_backwards),
    "EP": OriginalScheme(_nudged_sweep, _learn_forwards),
    "first step": OriginalScheme(_nudged_sweep, _learn_first_step),
    "PC nudge": OriginalScheme(_prediction_sweep, _learn_forwards),
}
