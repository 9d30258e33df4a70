"""The learning schemes by name: what a configuration chooses once.

| name | energy | gradient of |
| --- | --- | --- |
| ep_positive, ep_negative | Hopfield | the cost at the free equilibrium, up to O(beta) |
| ep_centred | Hopfield | the same, up to O(beta^2) |
| ep_n_point | Hopfield, sigmoid units | the same, up to O(beta^N) |
| first_step | Hopfield | the same, of the first nudged sweep alone |
| coupled_learning | Hopfield, squared error | (E_held - E_free) / beta |
| contrastive_hebbian | Hopfield, squared error | E_clamped - E_free |
| recurrent_backprop | Hopfield | the cost at the free equilibrium, exactly |
| pc_equilibrium, pc_hard_nudge | predictive coding, squared error | the energy with the output held |
| pc_soft_nudge | predictive coding | the cost of the forward pass, up to O(beta^2) |
| z_il, fixed_prediction | predictive coding | the cost of the forward pass, exactly |
| backprop | any | the cost of the forward pass, exactly |
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxgen.energy_learning import estimators as equilibrium
from jaxgen.energy_learning import predictive_estimators as predictive
from jaxgen.energy_learning import reference_estimators as reference
from jaxgen.energy_learning.estimators import Model, Phases
from jaxgen.energy_learning.hopfield import Hopfield
from jaxgen.energy_learning.minimiser import Minimiser
from jaxgen.energy_learning.predictive_coding import PredictiveCoding
from jaxgen.errors import UserError
from jaxgen.training.step import GradFn


class Settings(NamedTuple):
    """beta > 0 where a scheme has one, the number of points of ep_n_point, and how phases are relaxed."""

    beta: float
    points: int
    phases: Phases


class Scheme(NamedTuple):
    """Makes a grad_fn; of which energies, whether the target must be a state, and whether inference uses feedback.

    Where `feedback` is False, what is trained is the forward pass, and the cold start is the prediction.
    """

    build: Callable[[Model, Settings], GradFn]
    energies: tuple[type, ...] = (Hopfield,)
    held: bool = False
    feedback: bool = True


def _propagation(points: Callable[[Settings], list]) -> Callable[[Model, Settings], GradFn]:
    return lambda model, settings: equilibrium.equilibrium_propagation(model, points(settings), settings.phases)


def _first_step(model: Hopfield, settings: Settings) -> GradFn:
    # Output first: one sweep carries the nudge through all layers.
    phases = settings.phases._replace(nudged=Minimiser(1))
    return equilibrium.equilibrium_propagation(model, equilibrium.positive(settings.beta), phases)


_PREDICTIVE = (PredictiveCoding,)

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
    "pc_equilibrium": Scheme(
        lambda model, settings: predictive.pc_equilibrium(model, settings.phases.nudged), _PREDICTIVE, True, False
    ),
    "pc_hard_nudge": Scheme(
        lambda model, settings: predictive.hard_nudge(model, settings.beta, settings.phases.nudged),
        _PREDICTIVE,
        True,
        False,
    ),
    "pc_soft_nudge": Scheme(
        _propagation(lambda settings: equilibrium.centred(settings.beta)), _PREDICTIVE, False, False
    ),
    "z_il": Scheme(lambda model, settings: predictive.z_il(model), _PREDICTIVE, False, False),
    "fixed_prediction": Scheme(
        lambda model, settings: predictive.fixed_prediction(model, settings.phases.nudged), _PREDICTIVE, False, False
    ),
    "backprop": Scheme(lambda model, settings: reference.backprop(model), (Hopfield, PredictiveCoding), False, False),
}


def build_scheme(name: str, model: Model, settings: Settings) -> GradFn:
    """The grad_fn of a scheme.

    ValueError: an unknown name, or a scheme that this energy or cost does not have.
    """
    if name not in SCHEMES:
        raise UserError(f"scheme is {name!r}; allowed: {', '.join(SCHEMES)}")
    scheme = SCHEMES[name]
    if not isinstance(model, scheme.energies):
        allowed = ", ".join(key for key, other in SCHEMES.items() if isinstance(model, other.energies))
        raise UserError(f"scheme is {name}; allowed with the energy {type(model).__name__}: {allowed}")
    if scheme.held and model.cost.logits:
        raise UserError(f"cost is cross_entropy; allowed with scheme {name}: squared_error, whose output are states")
    return scheme.build(model, settings)
