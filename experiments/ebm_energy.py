"""Measure the operations, bytes and joules of a sample of a trained Potts model, and project them to hardware.

  python -m experiments.ebm_energy --workdir=runs/digit3

Operations and bytes of the sampler are counted by the compiler, and beside it by hand. Joules are read from NVML (GPU)
or RAPL (CPU) where possible; elsewhere CPU time is multiplied by --core_watts. The projection to thermodynamic hardware
uses published constants only; reading and loading are listed separately. energy.json holds the numbers with their
sources; figures/energy.png shows them beside the claim of a factor of 10,000.
"""

from jaxgen import runs
from jaxgen.potts.studies.energy.study import EnergyConfig, measure


def run(config: EnergyConfig, workdir) -> None:
    """Restore, count, measure, project, write."""
    runs.add_record(config, workdir / "energy.json", lambda: measure(config, workdir))


if __name__ == "__main__":
    runs.main(EnergyConfig, run)
