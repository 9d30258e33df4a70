"""What a sample of a trained Potts energy-based model costs in operations, bytes and joules, here and on hardware.

  python -m experiments.ebm_energy --workdir=runs/digit3

Operations and bytes are the compiler's account of the sampler, beside a count by hand. Joules are read from NVML (GPU)
or RAPL (CPU) where possible; elsewhere CPU time is multiplied by --core_watts. The projection to thermodynamic hardware
rests on published constants alone; reading and loading are listed separately. energy.json holds the numbers with their
sources; figures/energy.png shows them beside the claim of a factor of 10,000.
"""

from jaxgen import runs
from jaxgen.potts.studies.energy.study import EnergyConfig, measure


def run(config: EnergyConfig, workdir) -> None:
    """Restore, count, measure, project, write."""
    runs.add_record(config, workdir / "energy.json", lambda: measure(config, workdir))


if __name__ == "__main__":
    runs.main(EnergyConfig, run)
