"""Information that a limited class of classifiers can use, in nats (Xu et al., 2020, V-information).

    I_V(X -> Y) = H(Y) - inf_{q in V} E[- log q(Y | X)]      at most I(X;Y), with equality if V holds p(y | x)

The class V is what a classifier of scikit-learn can represent. It is fitted to half of a sample and evaluated on the
other half.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import scipy.special
from jaxtyping import Float, Integer

from jaxgen.errors import UserError


@runtime_checkable
class Classifier(Protocol):
    """The part of a classifier of scikit-learn that is used here; once it is fitted, `classes_` lists its labels."""

    def fit(self, x, y): ...

    def predict_proba(self, x): ...


def limited_information(
    x: Float[np.ndarray, "n d"], labels: Integer[np.ndarray, "n"], classifier: Classifier | None = None
) -> float:
    """Return an estimate of I_V from the first half of a sample, evaluated on the second half.

    Args:
        x: points; scale the coordinates if the classifier needs it.
        labels: in random order.
        classifier: spans the class V; by default logistic regression.

    Raises:
        UserError: shapes that do not fit, or a label that the first half lacks.
    """
    from sklearn.linear_model import LogisticRegression  # here, as only some commands need it

    x, labels = np.asarray(x, np.float64), np.asarray(labels)
    half = len(x) // 2
    if x.ndim != 2 or labels.shape != (len(x),) or half < 1:
        raise UserError(f"x has shape {x.shape}, labels {labels.shape}; allowed: (n, d) and (n,), n >= 2")
    missing = set(labels[half:].tolist()) - set(labels[:half].tolist())
    if missing:
        raise UserError(f"label {min(missing)} is not in the first half of labels; allowed: every label in both halves")
    classifier = LogisticRegression(max_iter=1000) if classifier is None else classifier
    fitted = classifier.fit(x[:half], labels[:half])
    place = np.searchsorted(fitted.classes_, labels[half:])
    q = fitted.predict_proba(x[half:])[np.arange(len(place)), place]
    share = np.bincount(place) / len(place)
    loss = -np.log(np.maximum(q, np.finfo(np.float64).tiny)).mean()
    return float(scipy.special.entr(share).sum() - loss)
