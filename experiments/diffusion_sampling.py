"""Compare the guidance and the samplers of a trained diffusion model on held-out images.

  python -m experiments.diffusion_sampling --workdir=runs/compact

For every guidance w, then for every sampler and number of network evaluations at the best w: the Frechet distance of
2,000 samples to the held-out images, how many show the class asked for, and the error of the sampler with an exact
denoiser in place of the network. The numbers are in sampling.json in the run folder. The same command again resumes one
that was stopped.
"""

from pathlib import Path

from jaxgen import runs
from jaxgen.diffusion.studies.sampling import SamplingConfig, measure


def run(config: SamplingConfig, workdir: Path) -> None:
    """Restore, draw and measure every setting, write the record."""
    runs.add_record(config, Path(workdir) / "sampling.json", lambda: measure(config, Path(workdir)))


if __name__ == "__main__":
    runs.main(SamplingConfig, run)
