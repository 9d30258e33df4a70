"""The annotations of jaxgen are checked while tests run."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shape_checks
from jaxtyping import TypeCheckError

from jaxgen import data, gibbs, training

LATTICE = gibbs.Lattice.grid(2, 3)
PARAMS = {"bias": jnp.zeros((2, 3, 2)), "coupling": jnp.zeros(len(LATTICE.offsets))}
X = jnp.zeros((4, 2, 3), jnp.uint8)


def test_every_module_of_the_checked_rooms_was_imported_through_the_hook():
    modules = [module for name, module in sys.modules.items() if name.split(".")[1:2] and name.startswith("jaxgen.")]
    checked = [module for module in modules if module.__name__.split(".")[1] in shape_checks.ROOMS]
    unhooked = [m.__name__ for m in checked if type(m.__spec__.loader).__name__ != "_JaxtypingLoader"]
    assert len(checked) > 50 and unhooked == []


@pytest.mark.parametrize(
    "name, call",
    [
        ("images", lambda: data.encode(np.zeros((1, 2), np.float32), 4)),
        ("x", lambda: gibbs.conditional_logits(LATTICE, PARAMS, X.astype(jnp.int32))),
        ("key", lambda: jax.jit(lambda key: gibbs.sample(key, LATTICE, PARAMS, X, 1))(jnp.zeros(2))),
        ("index", lambda: training.shard_index(np.zeros((4, 1), np.int32))),
    ],
)
def test_a_wrong_shape_or_type_is_refused_by_the_name_of_the_argument(name, call):
    with shape_checks._raises(TypeCheckError, match=f"argument '{name}'|parameter '{name}'|'{name}'"):
        call()


def test_what_jaxgen_refuses_itself_reaches_it():
    with pytest.raises(ValueError, match="images has dtype float32; allowed: uint8"):
        data.encode(np.zeros((1, 2), np.float32), 4)


def test_checks_cost_nothing_inside_a_compiled_function():
    """They run while it is traced."""
    calls = []
    traced = jax.jit(lambda x: calls.append(1) or gibbs.conditional_logits(LATTICE, PARAMS, x))
    for _ in range(3):
        traced(X)
    assert len(calls) == 1
