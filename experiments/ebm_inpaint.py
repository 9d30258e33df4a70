"""Complete images with a trained Potts model (a run of ebm_cd) or denoising machine (a run of ebm_denoising).

  python -m experiments.ebm_inpaint --workdir=runs/digit3                     lower halves of test images
  python -m experiments.ebm_inpaint --workdir=runs/digit3 --mask=random --share=0.2
  python -m experiments.ebm_inpaint --workdir=runs/digit3 --images=mine.png --mask=hole.png   white pixels are given
  python -m experiments.ebm_inpaint --workdir=runs/digit3 --noise=0.2                         clean noisy images

Writes figures/NAME.png and samples/NAME.npz into the run folder; NAME holds the settings. In the figure, pixels that
the model did not know are blue. The archive holds the arrays states (completions, those of one image in a row), given,
known and originals. In a program, `potts.inpaint` and `potts.denoise` do the same.
"""

from jaxgen import runs
from jaxgen.potts.studies.inpainting import InpaintConfig, inpaint_files


def run(config: InpaintConfig, workdir) -> None:
    """Restore, complete, write."""
    runs.add_files(workdir, lambda: inpaint_files(config, workdir))


if __name__ == "__main__":
    runs.main(InpaintConfig, run)
