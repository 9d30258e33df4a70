"""Write the weights of a trained model as the package ships them: float16, with config and SHA-256.

  python -m experiments.ebm_pretrained --workdir=runs/denoising --name=denoising_digits
  python -m experiments.ebm_pretrained --workdir=runs/digit3 --name=digit3

The run folder, of experiments.ebm_denoising or experiments.ebm_cd, then holds weights/NAME.npz and weights/NAME.json;
copied to jaxgen/potts/weights they are what `potts.load_pretrained(NAME)` reads.
"""

import dataclasses
from pathlib import Path

from jaxgen import runs
from jaxgen.potts.pretrained import write_pretrained
from jaxgen.runs import option


@dataclasses.dataclass(frozen=True)
class PretrainedConfig:
    """The name of the files to write."""

    name: str = option("denoising_digits", "name of the two files", group="output")


def run(config: PretrainedConfig, workdir: Path) -> None:
    """Restore and write."""
    runs.add_files(workdir, lambda: write_pretrained(workdir, config.name))


if __name__ == "__main__":
    runs.main(PretrainedConfig, run)
