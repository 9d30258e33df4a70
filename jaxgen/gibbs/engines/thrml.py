"""Block Gibbs sampling by THRML: the parameter arrays are the weights of its factors.

    theta_i[a] = b_i[a] + sum_j W_ij[a, x_j]          one SquareCategoricalEBMFactor for the biases, one for each offset
    x_i ~ softmax(beta theta_i)                       CategoricalGibbsConditional, all sites of a colour together

The program is built while the caller is traced: THRML copies weights into a program when it makes one, so only a
program made inside the step sees the parameters of that step. Jelincic et al. 2025, "An efficient probabilistic
hardware architecture for diffusion-like models"; https://github.com/extropic-ai/thrml.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, UInt8
from thrml import Block, BlockGibbsSpec, CategoricalNode, FactorSamplingProgram, sample_single_block
from thrml.models import CategoricalGibbsConditional, SquareCategoricalEBMFactor

from jaxgen.gibbs.couplings import Params, edge_couplings, n_levels
from jaxgen.gibbs.lattice import Lattice
from jaxgen.gibbs.types import Conditions, SampleInfo, free_sites

_FORBIDDEN = -1e30  # in place of -inf: THRML multiplies by masks of zeros, which makes -inf NaN


class TemperedConditional(CategoricalGibbsConditional):
    """THRML's categorical conditional at inverse temperature `beta`, so that factor weights stay the parameters."""

    beta: Float[ArrayLike, ""]

    def compute_parameters(self, *args):
        theta, state = super().compute_parameters(*args)
        return jnp.where(theta < _FORBIDDEN / 2, theta, self.beta * theta), state


def potts_factors(lattice: Lattice, params: Params, nodes: list[CategoricalNode]) -> list[SquareCategoricalEBMFactor]:
    """Return the THRML factors of a Potts model: biases, then one factor per offset, each a reshaped array."""
    levels = n_levels(params)
    factors = [SquareCategoricalEBMFactor([Block(nodes)], params["bias"].reshape(-1, levels))]
    for offset, coupling in edge_couplings(lattice, params):
        ends = [Block([nodes[i] for i in end]) for end in lattice.edges(offset)]
        factors.append(SquareCategoricalEBMFactor(ends, coupling.reshape(-1, levels, levels)))
    return factors


def potts_program(
    lattice: Lattice,
    params: Params,
    beta: Float[ArrayLike, ""] = 1.0,
    field: Float[Array, "H W L"] | None = None,
) -> FactorSamplingProgram:
    """Return a THRML program with one free block per colour, in the order of the colours; `field` is another factor."""
    nodes = [CategoricalNode() for _ in range(lattice.n_sites)]
    levels = n_levels(params)
    factors = potts_factors(lattice, params, nodes)
    if field is not None:
        factors.append(SquareCategoricalEBMFactor([Block(nodes)], field.reshape(-1, levels)))
    blocks = [Block([nodes[i] for i in sites]) for sites in colour_sites(lattice)]
    samplers = [TemperedConditional(levels, beta) for _ in blocks]
    return FactorSamplingProgram(BlockGibbsSpec(blocks, []), samplers, factors, [])


def colour_sites(lattice: Lattice) -> list[np.ndarray]:
    """Return the flat site numbers of every colour."""
    return [np.flatnonzero(lattice.colouring == colour) for colour in range(lattice.n_colours)]


def run(
    key: PRNGKeyArray, lattice: Lattice, params: Params, x: UInt8[Array, "n H W"], n_sweeps: int, conditions: Conditions
) -> tuple[UInt8[Array, "n H W"], SampleInfo]:
    """Return the states after `n_sweeps` sweeps of every chain by THRML. Noise is keyed by (chain, sweep, colour)."""
    beta, clamp, field, chain_ids = conditions
    params, field = jax.tree.map(lambda a: jnp.where(a == -jnp.inf, _FORBIDDEN, a), (params, field))
    blocks = colour_sites(lattice)

    def chain(chain_id, x, clamp, field):
        program = potts_program(lattice, params, beta, field)
        chain_key = jax.random.fold_in(key, chain_id)
        held = None if clamp is None else [clamp.ravel()[sites] for sites in blocks]

        def sweep(carry, _):
            states, done = carry
            states = list(states)
            keys = jax.random.split(jax.random.fold_in(chain_key, done), len(blocks))
            for colour, key_colour in enumerate(keys):
                drawn, _ = sample_single_block(key_colour, states, [], program, colour, None)
                states[colour] = drawn if held is None else jnp.where(held[colour], states[colour], drawn)
            return (tuple(states), done + 1), None

        start = tuple(x.ravel()[sites] for sites in blocks)
        (states, done), _ = jax.lax.scan(sweep, (start, jnp.int32(0)), length=n_sweeps)
        order = np.argsort(np.concatenate(blocks))
        return jnp.concatenate(states)[order].reshape(x.shape), done

    axes = (0, 0, None if clamp is None else 0, None if field is None else 0)
    x_new, sweeps = jax.vmap(chain, axes, (0, None))(chain_ids, x, clamp, field)
    return x_new, SampleInfo(sweeps, free_sites(x, clamp))
