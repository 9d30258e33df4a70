"""The models that are compared, by name: PMFlow's own, and the controls that tell what the flow itself does."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.errors import UserError
from jaxgen.pmflow.classifiers import BNN, CNN, MLP, Flow, NeuralODE, Residual
from jaxgen.pmflow.field import log_index_gradient, source_gradient
from jaxgen.pmflow.lateral import GAIN_LIMIT, coupling

N_REFERENCES = 64
SOURCE_GAIN = 0.05
_BNN_FLOW = {"n_centres": 16, "steps": 4, "dt": 0.15, "spread": 0.7}

FAITHFUL = ("mlp", "pmflow_mlp", "pmflow_cnn", "pmflow_bnn")
LABELS = {
    "mlp": "MLP",
    "mlp_linear": "MLP, no last ReLU = flow off",
    "mlp_residual": "residual MLP",
    "mlp_ode": "neural ODE",
    "pmflow_mlp_frozen": "PMFlow MLP, flow frozen",
    "pmflow_mlp": "PMFlow MLP",
    "leaky": "leaky readout, no flow, no lateral",
    "bnn_off": "BNN, flow off",
    "pmflow_bnn_frozen": "PMFlow BNN, flow frozen",
    "pmflow_bnn": "PMFlow BNN, lateral units",
    "pmflow_bnn_none": "PMFlow BNN, lateral none",
    "pmflow_bnn_bank": "PMFlow BNN, lateral bank",
    "pmflow_bnn_batch": "PMFlow BNN, lateral batch",
    "cnn": "CNN, flow off",
    "pmflow_cnn": "PMFlow CNN",
}
SMALL = tuple(name for name in LABELS if "cnn" not in name)


class Contrast(NamedTuple):
    """Two models that differ in one thing, what that is, and whether it is the flow."""

    model: str
    control: str
    question: str
    about_flow: bool = True


CONTRASTS = (
    Contrast("pmflow_mlp", "mlp_linear", "flow learned - flow off (MLP)"),
    Contrast("pmflow_mlp", "pmflow_mlp_frozen", "flow learned - flow frozen (MLP)"),
    Contrast("pmflow_mlp", "mlp_ode", "flow - neural ODE of equal size"),
    Contrast("pmflow_mlp", "mlp_residual", "flow - residual block of equal size"),
    Contrast("pmflow_bnn", "bnn_off", "flow learned - flow off (BNN)"),
    Contrast("pmflow_bnn", "pmflow_bnn_frozen", "flow learned - flow frozen (BNN)"),
    Contrast("pmflow_cnn", "cnn", "flow learned - flow off (CNN)"),
    Contrast("pmflow_mlp", "mlp", "PMFlow MLP - MLP, as in the source", False),
    Contrast("mlp_linear", "mlp", "no last ReLU - last ReLU", False),
    Contrast("bnn_off", "leaky", "lateral units - none (no flow)", False),
    Contrast("pmflow_bnn", "pmflow_bnn_none", "lateral units - none", False),
    Contrast("pmflow_bnn_bank", "pmflow_bnn_none", "lateral bank - none", False),
    Contrast("pmflow_bnn_batch", "pmflow_bnn_none", "lateral batch - none", False),
)


def build_model(name: str, gain: float = 0.1, faithful: bool = False) -> nn.Module:
    """The module of a name.

    Args:
        name: one of LABELS; of FAITHFUL if `faithful`.
        gain: of the normalised lateral coupling, 0 <= gain < 2; `batch` has the source's 0.05.
        faithful: the source's own forms: radii that differ in field and index, mu of any sign, the batch coupled.

    Raises:
        ValueError: another name or gain.
    """
    allowed = FAITHFUL if faithful else tuple(LABELS)
    if name not in allowed:
        where = " with faithful" * faithful
        raise UserError(f"models has {name!r}; allowed{where}: {', '.join(allowed)}")
    if not 0.0 <= gain < GAIN_LIMIT:
        raise UserError(f"gain is {gain}; allowed: 0 <= gain < {GAIN_LIMIT}, 2 / lambda_max of a normalised kernel")
    if faithful:
        return _faithful(name)
    if "bnn" in name or name == "leaky":
        return _bnn(name, gain)
    trained = not name.endswith("_frozen")
    transforms = {"mlp": nn.relu, "mlp_residual": Residual(), "mlp_ode": NeuralODE()}
    transform = Flow(trained=trained) if name.startswith("pmflow") else transforms.get(name)
    return CNN(transform) if "cnn" in name else MLP(transform)


def model_label(name: str, faithful: bool = False) -> str:
    """What a model is called in tables and figures; the source's BNN couples its batch."""
    return LABELS["pmflow_bnn_batch" if faithful and name == "pmflow_bnn" else name]


def parameter_count(model: nn.Module) -> int:
    """Numbers in the model's parameters, frozen ones included."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1 + getattr(model, "n_references", 0), 28, 28)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def _bnn(name: str, gain: float) -> BNN:
    words = name.split("_")
    kind = words[-1] if words[-1] in ("none", "bank", "batch") else "none" if name == "leaky" else "units"
    n_references = N_REFERENCES if kind == "bank" else 0
    flow = Flow(**_BNN_FLOW, trained=words[-1] != "frozen") if words[0] == "pmflow" else None
    gain = SOURCE_GAIN if kind == "batch" else gain
    return BNN(flow, coupling(kind, 32, n_references), gain, n_references)


def _faithful(name: str) -> nn.Module:
    flow = Flow(gradient=source_gradient, positive=False)
    if name == "pmflow_bnn":
        # Its field is the gradient of its index: r = sqrt(|z - c|^2 + 1e-4).
        gradient = functools.partial(log_index_gradient, softening=1e-2)
        flow = Flow(**_BNN_FLOW, gradient=gradient, positive=False, bound=3.0)
        return BNN(flow, coupling("batch", 32), SOURCE_GAIN)
    return {"mlp": MLP(nn.relu), "pmflow_mlp": MLP(flow), "pmflow_cnn": CNN(flow)}[name]
