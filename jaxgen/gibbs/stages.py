"""Long runs in stages: the same law as one call of `sample`, with the states in between."""

from collections.abc import Iterator

import jax
from jaxtyping import Array, PRNGKeyArray, UInt8

from jaxgen.gibbs.conditions import SampleInfo
from jaxgen.gibbs.couplings import Params
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.sample import sample


def sample_stages(
    key: PRNGKeyArray,
    lattice: Lattice,
    params: Params,
    x: UInt8[Array, "n H W"],
    n_sweeps: int,
    stage: int,
    **conditions,
) -> Iterator[tuple[int, UInt8[Array, "n H W"], SampleInfo]]:
    """Yield (sweeps so far, states, info of this stage) every `stage` sweeps and after the last of `n_sweeps`.

    conditions: the keyword arguments of `sample`. Stage m draws its noise with fold_in(key, m), so a run depends on
    the stage length. Raises ValueError as `sample` does, and for stage < 1.
    """
    if stage < 1:
        raise ValueError(f"stage: got {stage}, must be at least 1")
    done = 0
    while done < n_sweeps or done == 0:
        sweeps = min(stage, n_sweeps - done)
        x, info = sample(jax.random.fold_in(key, done // stage), lattice, params, x, sweeps, **conditions)
        done += sweeps
        yield done, x, info
