"""Find ground states of spin glasses by simulated annealing, beside THRML in the same run.

  python -m experiments.ebm_ground_state --workdir=runs/ground_state
  python -m experiments.ebm_ground_state --side=16 --sweeps=10000 --nothrml --workdir=runs/ground_state_large

The instances are sums of frustrated loops on a Chimera graph (Hen et al. 2015), whose lowest energy is known by
construction. The folder then holds result.json and figures/ground_state.png: the energies of all chains by sweep, and
the share of chains that end in a ground state by the length of the annealing.
"""

from jaxgen import runs
from jaxgen.potts.studies.ground_states.study import GroundStateConfig, prepare


def run(config: GroundStateConfig, workdir) -> None:
    """Plant, anneal, measure."""
    runs.execute(config, workdir, prepare)


if __name__ == "__main__":
    runs.main(GroundStateConfig, run)
