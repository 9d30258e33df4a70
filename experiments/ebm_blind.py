"""A blind sheet: can a person tell generated digits from real ones?

  python -m experiments.ebm_blind --samples=runs/digit3/samples/fresh.npz --digits=3 --workdir=runs/blind
  python -m experiments.ebm_blind --score=runs/blind/answers.csv --key=runs/blind/key.json --workdir=runs/blind

The first command writes sheet.png, generated images and as many real test images, mixed and numbered; answers.csv, to
be filled with "real" or "generated" (r, g; nothing for no answer); and key.json, which the person asked must not see.
The second one scores the answers into score.json. Real images have the classes of the generated ones (the labels of
the file, else what the accuracy network reads among --digits) and are coded with as many levels.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from jaxgen import data, evaluation, potts, runs
from jaxgen.errors import UserError
from jaxgen.potts.config import classes
from jaxgen.runs import option, seed_option


@dataclasses.dataclass(frozen=True)
class BlindConfig:
    samples: str = option("", "NPZ file as for experiments.evaluate", group="sheet")
    levels: int | None = option(
        None, "grey levels of the samples, if the file does not say", group="sheet", choices=data.ALLOWED_LEVELS
    )
    digits: str = option("all", "classes that samples without labels may show, such as '3' or '0,1'", group="sheet")
    each: int = option(40, "generated images, and as many real ones", group="sheet", low=1, high=500)
    seed: int = seed_option("seed of the choice and of the order", group="sheet")
    dataset: str = option("mnist", "what they imitate", group="sheet", choices=("mnist", "fashion_mnist"))
    data_dir: str = option("", "folder with the dataset's four IDX files", group="sheet")
    score: str = option("", "answers.csv to score", group="score")
    key: str = option("", "its key.json", group="score")


def run(config: BlindConfig, workdir: Path) -> None:
    """Make a sheet, or score one."""
    start = time.perf_counter()
    if bool(config.samples) == bool(config.score) or bool(config.score) != bool(config.key):
        raise UserError("samples, score and key do not go together so; allowed: --samples, or --score with --key")
    if config.samples:
        make(config, workdir)
        return
    key = evaluation.read_key(config.key)
    rows = evaluation.blind_rows(key, evaluation.read_answers(config.score, list(key)))
    runs.write_record(
        workdir / "score.json",
        title=f"blind sheet, {Path(config.score).stem}",
        family="Potts energy-based model",
        rows=rows,
        config=config,
        wall_time_s=time.perf_counter() - start,
    )
    print(*rows, sep="\n")
    print(workdir / "score.json")


def make(config: BlindConfig, workdir: Path) -> None:
    """Choose, mix and write."""
    samples = evaluation.load_samples(config.samples, config.levels)
    images, labels = data.split(data.load(config.dataset, data_dir=config.data_dir or None), "test")
    if samples.levels is not None:
        images = data.decode(data.encode(images, samples.levels), samples.levels)
    digits = samples.labels
    if digits is None:
        reference = evaluation.load_reference(config.dataset, samples.levels, data_dir=config.data_dir or None)
        logits, _ = evaluation.apply_network("accuracy", reference.params["accuracy"], samples.images)
        kept = classes(potts.PottsConfig(digits=config.digits))
        digits = np.asarray(kept)[np.asarray(logits)[:, kept].argmax(1)]
    sheet = evaluation.mixed((samples.images, digits), (images, labels), config.each, config.seed)
    evaluation.write_sheet(workdir, sheet, {"samples": Path(config.samples).name, "seed": config.seed})
    print("\n".join(str(workdir / name) for name in ("sheet.png", "answers.csv", "key.json")))


if __name__ == "__main__":
    runs.main(BlindConfig, run)
