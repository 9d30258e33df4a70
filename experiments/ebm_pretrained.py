"""Write the weights of a trained denoising machine as the package ships them: float16, with config and SHA-256.

  python -m experiments.ebm_pretrained --workdir=runs/denoising --name=denoising_digits

The run folder then holds weights/denoising_digits.npz and weights/denoising_digits.json; copied to
jaxgen/potts/denoising/weights they are what `potts.load_pretrained("denoising_digits")` reads.
"""

import dataclasses
from pathlib import Path

from jaxgen import runs
from jaxgen.potts.denoising.pretrained import write_pretrained
from jaxgen.runs import option


@dataclasses.dataclass(frozen=True)
class PretrainedConfig:
    name: str = option("denoising_digits", "name of the two files", group="output")


def run(config: PretrainedConfig, workdir: Path) -> None:
    """Restore and write."""
    runs.add_files(workdir, lambda: write_pretrained(workdir, config.name))


if __name__ == "__main__":
    runs.main(PretrainedConfig, run)
