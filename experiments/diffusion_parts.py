"""Leave out the parts of the recipe of `compact` one at a time, over several seeds.

  python -m experiments.diffusion_parts --workdir=runs/parts                     18 trainings of 450 updates each
  python -m experiments.diffusion_parts --workdir=runs/parts --steps=200         the same, shorter

For every part: the Frechet distance of 1,000 samples to the held-out images, and the difference from the whole recipe
with its interval over seeds. The numbers are in result.json, the trained models under runs/. The same command again
goes on where one was stopped.
"""

from pathlib import Path

from jaxgen import runs
from jaxgen.diffusion.studies.parts import PartsConfig, measure


def run(config: PartsConfig, workdir: Path) -> None:
    """Train, draw and measure every part and seed, write the record."""
    runs.add_record(config, Path(workdir) / "result.json", lambda: measure(config, Path(workdir)))


if __name__ == "__main__":
    runs.main(PartsConfig, run)
