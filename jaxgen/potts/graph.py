"""Energy-based models on any graph: the module, its sufficient statistics, and training with hidden sites.

    E(x) = - sum_i b_i[x_i] - sum_(i,j) W_ij[x_i, x_j]            levels, one matrix or one strength per edge
    E(s) = - sum_i b_i s_i  - sum_(i,j) J_ij s_i s_j              spins s = -1, 1
    - E = <params, s(x)>,     d log p(v) / d theta = beta (< s >_(v data, h ~ p(h | v)) - < s >_model)

`contrastive_divergence`, `persistent_chains`, `gibbs.log_pseudo_likelihood`, annealed importance sampling and parallel
tempering take a `GraphEBM` and its graph as they take a `PottsEBM` and its lattice.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from jaxgen import gibbs
from jaxgen.errors import UserError
from jaxgen.potts.contrastive import ContrastiveSettings, contrastive_divergence
from jaxgen.potts.model import check_below

KINDS = ("edge", "tied", "spin")


class GraphEBM(nn.Module):
    """Energy of states on a graph; `apply(variables, x)` returns (chains,) float32 energies.

    All parameters start at zero, the uniform distribution. Their shapes are those of `gibbs.graph_params`.

    Attributes:
        graph: sites, edges and levels.
        coupling: "edge" (one L x L matrix per edge), "tied" (one strength per edge, times delta), or "spin" (THRML's
            spins; every site has two levels).
    """

    graph: gibbs.Graph
    coupling: str = "edge"
    n_classes = 0

    @property
    def lattice(self) -> gibbs.Graph:
        """Return the graph, under the name that `PottsEBM` has for what `gibbs.sample` runs on."""
        return self.graph

    @property
    def levels(self) -> int:
        """Return the largest number of levels of a site."""
        return self.graph.max_levels

    @nn.compact
    def __call__(self, x: UInt8[Array, "chains n"]) -> Float[Array, "chains"]:
        if not isinstance(self.graph, gibbs.Graph):
            raise UserError(
                f"graph is a {type(self.graph).__module__}.{type(self.graph).__name__}; allowed: a gibbs.Graph"
            )
        if self.coupling not in KINDS:
            raise UserError(f"coupling is {self.coupling!r}; allowed: {', '.join(KINDS)}")
        n, edges, levels = self.graph.n_sites, self.graph.n_edges, self.levels
        if self.coupling == "spin" and levels > 2:
            raise UserError(f"coupling is 'spin' and a site has {levels} levels; allowed: 2 at every site")
        bias = (n,) if self.coupling == "spin" else (n, levels)
        coupling = (edges, levels, levels) if self.coupling == "edge" else (edges,)
        zeros = nn.initializers.zeros
        params = {"bias": self.param("bias", zeros, bias), "coupling": self.param("coupling", zeros, coupling)}
        energy = gibbs.graph_energy(self.graph, params, x)
        check_below("x", x, self.graph.levels)
        return energy


def with_hidden(visible: Bool[np.ndarray, "n"], v: UInt8[Array, "chains visible"]) -> UInt8[Array, "chains n"]:
    """Return states of all sites: `v` at the visible ones in their order and 0 at the hidden ones.

    UserError if `v` has another number of columns than there are visible sites.
    """
    sites = np.flatnonzero(visible)
    if v.shape[1] != len(sites):
        raise UserError(f"v has shape {v.shape}; allowed: (chains, {len(sites)}), the number of visible sites")
    return jnp.zeros((len(v), len(visible)), jnp.uint8).at[:, sites].set(v)


def draw_hidden(
    key: PRNGKeyArray,
    graph: gibbs.Graph,
    params: dict,
    x: UInt8[Array, "chains n"],
    visible: Bool[np.ndarray, "n"],
    sweeps: int = 1,
    *,
    beta: float = 1.0,
    chain_ids: Array | None = None,
) -> UInt8[Array, "chains n"]:
    """Return x with its hidden sites redrawn given the visible ones, by `sweeps` Gibbs sweeps.

    One sweep is an exact draw of h ~ p(h | v) if no edge joins two hidden sites, as in a restricted Boltzmann machine.
    """
    clamp = jnp.asarray(visible)
    return gibbs.sample(key, graph, params, x, sweeps, beta=beta, clamp=clamp, chain_ids=chain_ids)[0]


def hidden_contrastive_divergence(
    model: GraphEBM, settings: ContrastiveSettings, visible: Bool[np.ndarray, "n"], hidden_sweeps: int = 1
) -> Callable:
    """Return the `grad_fn` of `contrastive_divergence` with the hidden sites of the data drawn given the visible ones.

    Args:
        model: the model of all sites.
        settings: the settings of the negative phase.
        visible: True at visible sites.
        hidden_sweeps: Gibbs sweeps of the positive phase; more than one is needed where edges join hidden sites.

    Returns:
        The gradient function. Its batch is {"image": visible states uint8 (examples, visible), "position": global
        number of each example}; its carry holds chains of all sites, `persistent_chains(key, with_hidden(visible, v),
        n_chains)`, or is None for CD.

    Raises:
        UserError: a mask of another shape or dtype, hidden_sweeps < 1.
    """
    visible = np.asarray(visible)
    if visible.shape != (model.graph.n_sites,) or visible.dtype != bool:
        raise UserError(f"visible is {visible.dtype} {visible.shape}; allowed: bool ({model.graph.n_sites},)")
    if hidden_sweeps < 1:
        raise UserError(f"hidden_sweeps is {hidden_sweeps}; allowed: an integer, 1 or more")
    inner = contrastive_divergence(model, settings)

    def grad_fn(params, carry, key, batch):
        key_hidden, key_chains = jax.random.split(key)
        x = with_hidden(visible, batch["image"])
        options = {"beta": settings.beta, "chain_ids": batch["position"]}
        x = draw_hidden(key_hidden, model.graph, params, x, visible, hidden_sweeps, **options)
        return inner(params, carry, key_chains, batch | {"image": x})

    return grad_fn
