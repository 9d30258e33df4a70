"""The type checker that makes the jaxtyping annotations of jaxgen checks while tests run, and where they are off."""

import contextlib

import jax
import jaxtyping
import numpy as np
import pytest
from beartype import BeartypeConf, FrozenDict, beartype

# A NumPy scalar is as good as a Python one, and an integer as good as a float, as for every static checker.
_scalars = FrozenDict({int: int | np.integer, float: float | int | np.integer | np.floating})
typechecker = beartype(conf=BeartypeConf(hint_overrides=_scalars))
_raises = pytest.raises

# In the tests of a room that are not slow, the functions of all rooms are checked.
ROOMS = ["errors", "runs", "data", "gibbs", "visualization", "training", "evaluation"]
ROOMS += ["diffusion", "energy_learning", "information", "pmflow", "potts", "vae"]


def install() -> None:
    """Make every function of ROOMS that is imported from now on check the types and shapes in its signature.

    Where an array of JAX is asked for, one of NumPy will do, as it does for JAX itself.
    """
    jaxtyping.Array = jax.Array | np.ndarray
    jaxtyping.install_import_hook([f"jaxgen.{room}" for room in ROOMS], "shape_checks.typechecker")
    pytest.raises = raises


@contextlib.contextmanager
def raises(*errors, **match):
    """Like `pytest.raises`, with the checks off: what jaxgen is to refuse in its own words must reach it."""
    with _raises(*errors, **match) as error, unchecked():
        yield error


@contextlib.contextmanager
def unchecked():
    """Turn the checks off."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def for_test(item: pytest.Item) -> contextlib.AbstractContextManager:
    """Return the context of a test: with the checks, or without."""
    of_a_room = item.path.parent.name in ROOMS or item.path.stem == "test_shape_checks"
    return contextlib.nullcontext() if of_a_room and not item.get_closest_marker("slow") else unchecked()
