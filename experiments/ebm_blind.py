"""Make and score a blind sheet: can a person tell generated digits from real ones?

  python -m experiments.ebm_blind --samples=runs/digit3/samples/final.npz --classes=3 --workdir=runs/blind
  python -m experiments.ebm_blind --score=runs/blind/answers.csv --key=runs/blind/key.json --workdir=runs/blind

The first command writes three files: sheet.png with generated images and as many real test images, shuffled and
numbered; answers.csv, to be filled with "real" or "generated" (r, g; empty for no answer); and key.json, which the
person asked must not see. The second command scores the answers and writes score.json. The real images have the classes
of the generated ones (the labels of the file, otherwise those that the accuracy network reads, among --classes) and are
coded with as many levels.
"""

from jaxgen import runs
from jaxgen.potts.studies.blind import BlindConfig, check, make_sheet, score_sheet


def run(config: BlindConfig, workdir) -> None:
    """Make a sheet, or score one."""
    check(config)
    if config.samples:
        runs.add_files(workdir, lambda: make_sheet(config, workdir))
    else:
        runs.add_record(config, workdir / "score.json", lambda: score_sheet(config))


if __name__ == "__main__":
    runs.main(BlindConfig, run)
