"""Compare the guidance and the last temperature of a trained denoising machine on held-out images.

  python -m experiments.ebm_guidance --workdir=runs/denoising
  python -m experiments.ebm_guidance --workdir=runs/denoising --guidances=1.3,1.5,1.7 --betas=1.2

For every pair: the Frechet distance of 2,000 samples to the validation images, and how many show the class asked for.
The numbers are in guidance.json in the run folder. The same command again resumes one that was stopped.
"""

from pathlib import Path

from jaxgen import runs
from jaxgen.potts.denoising.guidance import GuidanceConfig, measure


def run(config: GuidanceConfig, workdir: Path) -> None:
    """Restore, draw and measure every pair, write the record."""
    runs.add_record(config, Path(workdir) / "guidance.json", lambda: measure(config, Path(workdir)))


if __name__ == "__main__":
    runs.main(GuidanceConfig, run)
