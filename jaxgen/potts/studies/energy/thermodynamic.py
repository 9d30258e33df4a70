"""The energy of sampling on thermodynamic hardware, projected from published constants. Nothing here is measured.

    E = cycles + read + load
    cycles = K N E_cycle       K sweeps of N = H W (L - 1) p-bits, a pixel of L levels in thermometer code
    read   = N E_read          once per sample
    load   = N E_write         once per model: couplings and bias of every p-bit

E_cycle is the E_cell of E = T K L^2 E_cell (Jelincic et al. 2025, arXiv:2510.23972) with T = 1 and L^2 = N. Three
assumptions favour the hardware: a sweep of p-bits mixes as well as a sweep of pixels, although the L - 1 p-bits of a
pixel are coupled to keep the order of the thermometer code; the chip has N p-bits with all the couplings needed; and
the electronics that drive it use no energy. The claimed factor of 10,000 compares a chain of denoising models on the
chip with other kinds of models on a GPU; here both sides run the same sampler of the same model.
"""

from typing import NamedTuple

from jaxgen import gibbs

CLAIM = 10_000  # times less energy than a GPU: Jelincic et al. 2025, abstract; binarised Fashion-MNIST
CHIP_DEGREE = 16  # couplings of a p-bit, G16 of Jelincic et al. 2025, appendix


class Constant(NamedTuple):
    """A published number with its source."""

    value: float
    source: str


_SPICE = "SPICE, before silicon: arXiv:2608.01615, table IV"
CELL_JOULES = Constant(2e-15, "Jelincic et al. 2025, arXiv:2510.23972, E_cell")
CYCLE_JOULES = Constant(7.09e-15, f"{_SPICE}, a Gibbs cycle of a p-bit")
READ_JOULES = Constant(1.692e-12, f"{_SPICE}, reading a p-bit")
WRITE_JOULES = Constant(153.6e-12, f"{_SPICE}, writing a p-bit's parameters")
# Updates per second of binary spins, and the maximum power of the processors without the host.
PUBLISHED = {
    "THRML on eight B200, published": (
        Constant(186e9, "THRML, examples/02_spin_models"),
        Constant(8 * 1000.0, "NVIDIA: 1,000 W per B200"),
    ),
    "multi-spin CUDA on two V100, published": (
        Constant(766.26e9, "Romero et al. 2020, arXiv:1906.06297, code's README: Metropolis, one coupling for all"),
        Constant(2 * 300.0, "NVIDIA: 300 W per V100"),
    ),
}


class Projection(NamedTuple):
    """Projected joules: cycles and read of one sample, load of one model."""

    cycles: float
    read: float
    load: float


def p_bits(lattice: gibbs.Lattice, levels: int) -> int:
    """Return N = H W (L - 1)."""
    return lattice.n_sites * (levels - 1)


def p_bit_degree(lattice: gibbs.Lattice, levels: int) -> int:
    """Return the couplings per p-bit: to the p-bits of every neighbouring pixel and to the others of its own pixel."""
    return 2 * len(lattice.offsets) * (levels - 1) + levels - 2


def project(lattice: gibbs.Lattice, levels: int, sweeps: int, cycle: Constant = CYCLE_JOULES) -> Projection:
    """Return the projected joules of one sample of `sweeps` sweeps and of one load of the model."""
    n = p_bits(lattice, levels)
    return Projection(sweeps * n * cycle.value, n * READ_JOULES.value, n * WRITE_JOULES.value)


def project_bipartite(
    visible: int, hidden: int, levels: int, sweeps: int, cycle: Constant = CYCLE_JOULES
) -> Projection:
    """Return the formula above for a bipartite machine: V (L - 1) p-bits of the visible units and H hidden ones.

    Only the visible ones are read. Also taken for granted: every visible p-bit is coupled to every hidden one, which no
    published chip offers.
    """
    read = visible * (levels - 1)
    n = read + hidden
    return Projection(sweeps * n * cycle.value, read * READ_JOULES.value, n * WRITE_JOULES.value)


def published_joules(name: str, lattice: gibbs.Lattice, levels: int, sweeps: int) -> float:
    """Return the joules per sample at one of the PUBLISHED rates, with L - 1 spins per pixel."""
    flips, watts = PUBLISHED[name]
    return sweeps * p_bits(lattice, levels) * watts.value / flips.value
