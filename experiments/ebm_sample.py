"""Sample from a trained Potts energy-based model.

  python -m experiments.ebm_sample --workdir=runs/digit3 --n=64 --sweeps=1000
  python -m experiments.ebm_sample --workdir=runs/digit3 --n=16 --clamp_top=14   inpaint the lower half of test images
  python -m experiments.ebm_sample --workdir=runs/digit3 --n=64 --gif            from noise to digit, as an animation

Writes figures/NAME.png, samples/NAME.npz and, with --gif, figures/NAME.gif into the run folder; NAME holds the
settings.
"""

from jaxgen import runs
from jaxgen.potts.studies.sampling_run import SampleConfig, sample_files


def run(config: SampleConfig, workdir) -> None:
    """Restore, sample, write."""
    runs.add_files(workdir, lambda: sample_files(config, workdir))


if __name__ == "__main__":
    runs.main(SampleConfig, run)
