"""The models of a comparison by name: PMFlow's own, and the controls that isolate the effect of the flow."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.pmflow.classifiers import BNN, CNN, MLP, Flow, NeuralODE, Normalised, Residual
from jaxgen.pmflow.field import log_index_gradient, original_gradient
from jaxgen.pmflow.lateral import GAIN_LIMIT, coupling

N_REFERENCES = 64
ORIGINAL_GAIN = 0.05
_BNN_FLOW = {"n_centres": 16, "steps": 4, "dt": 0.15, "spread": 0.7}
# Latents of root mean square 1 are at first moved by about a third of their size, of which training takes away a part.
# The wider softening permits the longer steps: dt < softening^2.
_STRONG_FLOW = {"n_centres": 16, "steps": 10, "dt": 0.8, "spread": 0.5, "initial_mu": 4.0}
_STRONG_FIELD = functools.partial(log_index_gradient, softening=1.0)


class Model(NamedTuple):
    """An entry of the table of models.

    Attributes:
        label: the name in tables and figures.
        kind: "MLP", "BNN" or "CNN": the panel of a figure, and for a CNN how many seeds are trained at once.
        build: the module for a gain of the lateral coupling, which models without a coupling ignore.
    """

    label: str
    kind: str
    build: Callable[[float], nn.Module]


def _mlp(transform: Callable[[], Callable | None]) -> Callable[[float], nn.Module]:
    return lambda gain: MLP(transform())


def _bnn(flow: Flow | None, lateral: str) -> Callable[[float], nn.Module]:
    n_references = N_REFERENCES if lateral == "bank" else 0

    def build(gain: float) -> nn.Module:
        return BNN(
            flow, coupling(lateral, 32, n_references), ORIGINAL_GAIN if lateral == "batch" else gain, n_references
        )

    return build


MODELS = {
    "mlp": Model("MLP", "MLP", _mlp(lambda: nn.relu)),
    "mlp_linear": Model("MLP, no last ReLU = flow off", "MLP", _mlp(lambda: None)),
    "mlp_residual": Model("residual MLP", "MLP", _mlp(Residual)),
    "mlp_ode": Model("neural ODE", "MLP", _mlp(NeuralODE)),
    "mlp_normalised": Model("MLP, latents normalised", "MLP", _mlp(Normalised)),
    "pmflow_mlp_frozen": Model("PMFlow MLP, flow frozen", "MLP", _mlp(lambda: Flow(trained=False))),
    "pmflow_mlp": Model("PMFlow MLP", "MLP", _mlp(Flow)),
    "pmflow_mlp_strong": Model(
        "PMFlow MLP, strong flow", "MLP", _mlp(lambda: Normalised(Flow(**_STRONG_FLOW, gradient=_STRONG_FIELD)))
    ),
    "leaky": Model("leaky readout, no flow, no lateral", "BNN", _bnn(None, "none")),
    "bnn_off": Model("BNN, flow off", "BNN", _bnn(None, "units")),
    "pmflow_bnn_frozen": Model("PMFlow BNN, flow frozen", "BNN", _bnn(Flow(**_BNN_FLOW, trained=False), "units")),
    "pmflow_bnn": Model("PMFlow BNN, lateral units", "BNN", _bnn(Flow(**_BNN_FLOW), "units")),
    "pmflow_bnn_none": Model("PMFlow BNN, lateral none", "BNN", _bnn(Flow(**_BNN_FLOW), "none")),
    "pmflow_bnn_bank": Model("PMFlow BNN, lateral bank", "BNN", _bnn(Flow(**_BNN_FLOW), "bank")),
    "pmflow_bnn_batch": Model("PMFlow BNN, lateral batch", "BNN", _bnn(Flow(**_BNN_FLOW), "batch")),
    "cnn": Model("CNN, flow off", "CNN", lambda gain: CNN(None)),
    "pmflow_cnn": Model("PMFlow CNN", "CNN", lambda gain: CNN(Flow())),
}

# The forms of the original notebook: radii that differ in field and index, mu of any sign, the batch coupled.
_ORIGINAL_FLOW = {"gradient": original_gradient, "positive": False}
FAITHFUL = {
    "mlp": MODELS["mlp"],
    "pmflow_mlp": Model("PMFlow MLP", "MLP", lambda gain: MLP(Flow(**_ORIGINAL_FLOW))),
    "pmflow_cnn": Model("PMFlow CNN", "CNN", lambda gain: CNN(Flow(**_ORIGINAL_FLOW))),
    "pmflow_bnn": Model("PMFlow BNN, lateral batch", "BNN", lambda gain: _original_bnn()),
}
SMALL = tuple(name for name, model in MODELS.items() if model.kind != "CNN")


class Contrast(NamedTuple):
    """Two models that differ in one component, the name of the contrast, and whether that component is the flow."""

    model: str
    control: str
    question: str
    about_flow: bool = True


CONTRASTS = (
    Contrast("pmflow_mlp", "mlp_linear", "flow learned - flow off (MLP)"),
    Contrast("pmflow_mlp", "pmflow_mlp_frozen", "flow learned - flow frozen (MLP)"),
    Contrast("pmflow_mlp", "mlp_ode", "flow - neural ODE of equal size"),
    Contrast("pmflow_mlp", "mlp_residual", "flow - residual block of equal size"),
    Contrast("pmflow_mlp_strong", "mlp_normalised", "strong flow learned - flow off (MLP, latents normalised)"),
    Contrast("pmflow_bnn", "bnn_off", "flow learned - flow off (BNN)"),
    Contrast("pmflow_bnn", "pmflow_bnn_frozen", "flow learned - flow frozen (BNN)"),
    Contrast("pmflow_cnn", "cnn", "flow learned - flow off (CNN)"),
    Contrast("pmflow_mlp", "mlp", "PMFlow MLP - MLP, as in the original notebook", False),
    Contrast("mlp_linear", "mlp", "no last ReLU - last ReLU", False),
    Contrast("bnn_off", "leaky", "lateral units - none (no flow)", False),
    Contrast("pmflow_bnn", "pmflow_bnn_none", "lateral units - none", False),
    Contrast("pmflow_bnn_bank", "pmflow_bnn_none", "lateral bank - none", False),
    Contrast("pmflow_bnn_batch", "pmflow_bnn_none", "lateral batch - none", False),
)


def find_model(name: str, faithful: bool = False) -> Model:
    """Return the entry of a name in MODELS, or in FAITHFUL if `faithful`. UserError for an unknown name."""
    table = FAITHFUL if faithful else MODELS
    if name not in table:
        where = " with faithful" * faithful
        raise UserError(f"models has {name!r}; allowed{where}: {', '.join(table)}")
    return table[name]


def build_model(name: str, gain: float = 0.1, faithful: bool = False) -> nn.Module:
    """Return the module of a name.

    Args:
        name: a key of MODELS, or of FAITHFUL if `faithful`.
        gain: gain of the normalised lateral coupling, 0 <= gain < 2; `batch` has the original notebook's 0.05.
        faithful: build the form of the original notebook.

    Raises:
        UserError: an unknown name, or a gain out of range.
    """
    model = find_model(name, faithful)
    if not 0.0 <= gain < GAIN_LIMIT:
        raise UserError(f"gain is {gain}; allowed: 0 <= gain < {GAIN_LIMIT}, 2 / lambda_max of a normalised kernel")
    return model.build(gain)


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters of a model, frozen ones included."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1 + n_references(model), 28, 28)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def n_references(model: nn.Module) -> int:
    """Return how many reference images a model stores: more than 0 only for a BNN with lateral coupling "bank"."""
    return model.n_references if isinstance(model, BNN) else 0


def _original_bnn() -> BNN:
    # Its field is the gradient of its index: r = sqrt(|z - c|^2 + 1e-4).
    gradient = functools.partial(log_index_gradient, softening=1e-2)
    flow = Flow(**_BNN_FLOW, gradient=gradient, positive=False, bound=3.0)
    return BNN(flow, coupling("batch", 32), ORIGINAL_GAIN)
