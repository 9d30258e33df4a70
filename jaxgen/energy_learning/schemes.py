"""The learning schemes by name.

| name | energy | gradient of |
| --- | --- | --- |
| ep_positive, ep_negative | equilibrium | the cost at the free equilibrium, up to O(beta) |
| ep_centred | equilibrium | the same, up to O(beta^2) |
| ep_n_point | equilibrium, sigmoid units | the same, up to O(beta^N) |
| first_step | equilibrium | the same, of the first nudged sweep alone |
| coupled_learning | equilibrium, squared error | (E_held - E_free) / beta |
| contrastive_hebbian | equilibrium, squared error | E_clamped - E_free |
| recurrent_backprop | equilibrium | the cost at the free equilibrium, exactly |
| pc_equilibrium, pc_hard_nudge | predictive coding, squared error | the energy with the output held |
| pc_soft_nudge | predictive coding | the cost of the forward pass, up to O(beta^2) |
| z_il, fixed_prediction | predictive coding | the cost of the forward pass, exactly |
| backprop | any | the cost of the forward pass, exactly |

"equilibrium" is every energy but that of predictive coding: Hopfield, an energy function, your own.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxgen.energy_learning.energies.minimiser import Minimiser
from jaxgen.energy_learning.energies.model import Model
from jaxgen.energy_learning.energies.predictive_coding import PredictiveCoding
from jaxgen.energy_learning.estimators import equilibrium, predictive, reference
from jaxgen.energy_learning.estimators.equilibrium import Phases
from jaxgen.errors import UserError
from jaxgen.training.step import GradFn


class Settings(NamedTuple):
    """beta > 0 where a scheme has one, the number of points of ep_n_point, and how phases are relaxed."""

    beta: float
    points: int
    phases: Phases


class Scheme(NamedTuple):
    """A learning scheme.

    Attributes:
        build: makes the gradient function of a model.
        equilibrium: whether it is for energies with feedback from the output, such as Hopfield's.
        predictive: whether it is for predictive coding.
        held: whether the output is held at a target, so that it must be a state.
        feedback: whether inference uses feedback; otherwise what is trained is the forward pass, and the cold start is
            the prediction.
        relaxes: whether it relaxes a nudged phase.
    """

    build: Callable[[Model, Settings], GradFn]
    equilibrium: bool = True
    predictive: bool = False
    held: bool = False
    feedback: bool = True
    relaxes: bool = True

    def accepts(self, model: Model) -> bool:
        """Return whether the scheme is for this kind of energy."""
        return self.predictive if isinstance(model, PredictiveCoding) else self.equilibrium


def _propagation(points: Callable[[Settings], list]) -> Callable[[Model, Settings], GradFn]:
    return lambda model, settings: equilibrium.equilibrium_propagation(model, points(settings), settings.phases)


def _first_step(model: Model, settings: Settings) -> GradFn:
    # Sweeps start at the output, so one sweep carries the nudge through all layers.
    phases = settings.phases._replace(nudged=Minimiser(1))
    return equilibrium.equilibrium_propagation(model, equilibrium.positive(settings.beta), phases)


def _predictive(build: Callable[[PredictiveCoding, Settings], GradFn], **options: bool) -> Scheme:
    return Scheme(build, equilibrium=False, predictive=True, feedback=False, **options)


SCHEMES = {
    "ep_positive": Scheme(_propagation(lambda settings: equilibrium.positive(settings.beta))),
    "ep_negative": Scheme(_propagation(lambda settings: equilibrium.negative(settings.beta))),
    "ep_centred": Scheme(_propagation(lambda settings: equilibrium.centred(settings.beta))),
    "ep_n_point": Scheme(_propagation(lambda settings: equilibrium.roots_of_unity(settings.beta, settings.points))),
    "first_step": Scheme(_first_step),
    "coupled_learning": Scheme(
        lambda model, settings: equilibrium.coupled_learning(model, settings.beta, settings.phases), held=True
    ),
    "contrastive_hebbian": Scheme(
        lambda model, settings: equilibrium.contrastive_hebbian(model, settings.phases), held=True
    ),
    "recurrent_backprop": Scheme(lambda model, settings: reference.recurrent_backprop(model, settings.phases)),
    "pc_equilibrium": _predictive(
        lambda model, settings: predictive.pc_equilibrium(model, settings.phases.nudged), held=True
    ),
    "pc_hard_nudge": _predictive(
        lambda model, settings: predictive.hard_nudge(model, settings.beta, settings.phases.nudged), held=True
    ),
    "pc_soft_nudge": _predictive(_propagation(lambda settings: equilibrium.centred(settings.beta))),
    "z_il": _predictive(lambda model, settings: predictive.z_il(model), relaxes=False),
    "fixed_prediction": _predictive(lambda model, settings: predictive.fixed_prediction(model, settings.phases.nudged)),
    "backprop": Scheme(
        lambda model, settings: reference.backprop(model), predictive=True, feedback=False, relaxes=False
    ),
}


def build_scheme(name: str, model: Model, settings: Settings) -> GradFn:
    """Return the gradient function of a scheme.

    Raises:
        UserError: an unknown name, or a scheme that is not for this energy or cost.
    """
    if name not in SCHEMES:
        raise UserError(f"scheme is {name!r}; allowed: {', '.join(SCHEMES)}")
    scheme = SCHEMES[name]
    if not scheme.accepts(model):
        allowed = ", ".join(key for key, other in SCHEMES.items() if other.accepts(model))
        raise UserError(f"scheme is {name}; allowed with the energy {type(model).__name__}: {allowed}")
    if scheme.held and model.cost.logits:
        raise UserError(f"cost is cross_entropy; allowed with scheme {name}: squared_error, whose output are states")
    return scheme.build(model, settings)
