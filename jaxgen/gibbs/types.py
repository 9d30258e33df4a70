"""What surrounds a Gibbs run besides the parameters, and what a run reports."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int, UInt32


class EngineName(str):
    """The name of an engine. Static under JAX's transformations, so a jitted function can return it."""

    __slots__ = ()


jax.tree_util.register_pytree_node(EngineName, lambda name: ((), str(name)), lambda name, _: EngineName(name))


class Conditions(NamedTuple):
    """Temperature, clamped sites, external field and the identity of every chain. Sites: (H, W) or (sites,).

    field: added to the bias of each chain; None for none.
    clamp: True sites never change; None if every site is free.
    chain_ids: global number of every chain. Noise is keyed by it, so a chain draws the same numbers in any batch, on
        any device.
    """

    beta: Float[Array, ""]
    clamp: Bool[Array, "n *sites"] | None
    field: Float[Array, "n *sites L"] | None
    chain_ids: UInt32[Array, "n"]


class SampleInfo(NamedTuple):
    """The work done, counted by the loop that does it.

    sweeps: sweeps run, each a visit to every free site of every chain. sites_per_sweep: free sites, over all chains.
    engine: the engine that ran.
    """

    sweeps: Int[Array, ""]
    sites_per_sweep: Int[Array, ""]
    engine: EngineName = EngineName("")

    @property
    def site_updates(self) -> int:
        """Return the number of site updates of the call."""
        return int(self.sweeps) * int(self.sites_per_sweep)


def free_sites(x: Array, clamp: Array | None) -> int | Int[Array, ""]:
    """Return how many sites of all chains may change."""
    return x.size if clamp is None else (~clamp).sum()
