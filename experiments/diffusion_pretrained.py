"""Write the weights of a trained diffusion model as the package ships them: float16, with config and SHA-256.

  python -m experiments.diffusion_pretrained --workdir=runs/compact --name=compact

The run folder then holds weights/compact.npz and weights/compact.json; copied to jaxgen/diffusion/weights they are what
`diffusion.load_pretrained("compact")` reads.
"""

import dataclasses
from pathlib import Path

from jaxgen import runs
from jaxgen.diffusion.pretrained import write_pretrained
from jaxgen.runs import option


@dataclasses.dataclass(frozen=True)
class PretrainedConfig:
    """The name of the files to write."""

    name: str = option("compact", "name of the two files", group="output")


def run(config: PretrainedConfig, workdir: Path) -> None:
    """Restore and write."""
    runs.add_files(workdir, lambda: write_pretrained(workdir, config.name))


if __name__ == "__main__":
    runs.main(PretrainedConfig, run)
